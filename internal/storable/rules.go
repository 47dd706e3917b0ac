package storable

// Rules are those by which a codec stores a type.
type Rules int

// The rules that are known.
const (
	// Custom: a codec of the user's own. Nothing is known of it, so every type
	// passes, and values have to show by a round trip that they come back.
	Custom Rules = iota
	// MsgPack: eventlog.MsgPack, which is vmihailenco/msgpack, and the methods
	// that tinylib/msgp generates for the outermost type.
	MsgPack
	// JSON: eventlog.JSON, which is encoding/json.
	JSON
	// Bytes: eventlog.Bytes, which stores slices of bytes as they are.
	Bytes
)

func (r Rules) String() string {
	return [...]string{"custom", "msgpack", "json", "bytes"}[r]
}

// tag is the key of the struct tags that the codec reads.
func (r Rules) tag() string {
	if r == JSON {
		return "json"
	}
	return "msgpack"
}

// RulesOf returns a codec's rules: those that it says it has, by a method
// StorageRules, else Custom.
func RulesOf(codec any) Rules {
	if c, ok := codec.(interface{ StorageRules() Rules }); ok {
		return c.StorageRules()
	}
	return Custom
}
