package timeframe

import "fmt"

// MaxName is the greatest length of a feed's name, in bytes. Names become
// parts of stream names, subjects and buckets, and those are short by custom.
const MaxName = 64

// NameError says that a name is not one that a feed may have.
type NameError struct {
	Name string // as it was given; may be long or hold any bytes
}

// Error quotes the name (cut short where it is long) and states the rule.
func (e *NameError) Error() string {
	shown, cut := e.Name, ""
	if len(shown) > MaxName {
		shown, cut = shown[:MaxName], "…"
	}
	return fmt.Sprintf("invalid name %q%s (%d bytes): 1 to %d of the characters a-z, 0-9 and '-' are allowed",
		shown, cut, len(e.Name), MaxName)
}

// ValidName reports whether name may name a feed, an application or anything
// else that becomes part of a stream's name: 1 to [MaxName] bytes out of a-z,
// 0-9 and '-'. The set leaves out '_', '.' and upper case, so that scopes that
// are joined with '_' or '.' can't collide. The error is a *[NameError].
func ValidName(name string) error {
	if len(name) == 0 || len(name) > MaxName {
		return &NameError{Name: name}
	}
	for i := range len(name) {
		c := name[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return &NameError{Name: name}
		}
	}
	return nil
}
