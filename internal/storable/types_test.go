package storable_test

import (
	"bytes"
	"container/list"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vmihailenco/msgpack/v5"
)

// Fields that nothing but a codec looks at.
var (
	_ = array{}._msgpack
	_ = withMu{}
)

// The types of the tests: each is a way to lose something, or a healthy one that
// looks like it.
type (
	base    struct{ ID, Name string }
	Base    struct{ ID, Name string }
	hidden  struct{ cents int64 }
	celsius float64
	octet   byte
	word    string

	excluded struct {
		Kept int
		gone int `msgpack:"-"`
	}
	shadowed struct {
		Base
		ID string
	}
	shadowing struct {
		ID string
		Base
	}
	twice struct {
		A int `msgpack:"x"`
		B int `msgpack:"x"`
	}
	array struct {
		_msgpack struct{} `msgpack:",as_array"`
		A        int      `msgpack:"x"`
		B        int      `msgpack:"x"`
	}
	inlined struct {
		ID   string
		Base `msgpack:",inline"`
	}
	embedsUnexported        struct{ base }
	embedsPointer           struct{ *Base }
	embedsUnexportedPointer struct{ *base }
	embedsScalar            struct{ word }
	embedsTime              struct {
		time.Time
		Note string
	}
	onlyTime struct{ time.Time }
	ownTime  struct {
		time.Time
		Note string
	}
	instants time.Time
	tree     struct {
		Name     string
		Children []*tree
	}
	itself   struct{ *itself }
	withMu   struct{ Mu sync.Mutex }
	oneWay   struct{ s string }
	otherWay int
	mixed    struct{ s string }
	money    struct{ cents int64 }
	uuid     [16]byte
	pointed  struct{ s string }
	omits    struct {
		Big  big.Int   `msgpack:",omitempty"`
		Time time.Time `msgpack:",omitempty"`
	}
	omitsOwn struct {
		M money `msgpack:",omitempty"`
	}
	omitsZeroer struct {
		M zeroMoney `msgpack:",omitempty"`
	}
	zeroMoney      struct{ cents int64 }
	generic[T any] struct{ Value T }
	point          struct{ X, Y int }
	aliased        struct {
		New int `msgpack:"new,alias:old"`
	}
	internedInt struct {
		N int `msgpack:",intern"`
	}
	interned struct {
		A, B string `msgpack:",intern"`
	}
	halfGenerated struct{ N int }
	tagged        struct {
		A int `msgpack:"a,omitempty" json:"a,omitempty"`
		B *int
		C []string       `msgpack:",omitempty" json:",omitempty"`
		D map[string]int `json:"d,omitzero"`
	}
)

func (o oneWay) MarshalText() ([]byte, error)    { return []byte(o.s), nil }
func (o *otherWay) UnmarshalText(b []byte) error { *o = otherWay(len(b)); return nil }

func (m mixed) MarshalBinary() ([]byte, error)    { return []byte(m.s), nil }
func (m *mixed) UnmarshalText(b []byte) error     { m.s = "text:" + string(b); return nil }
func (m mixed) MarshalJSON() ([]byte, error)      { return json.Marshal(m.s) }
func (m money) MarshalBinary() ([]byte, error)    { return fmt.Append(nil, m.cents), nil }
func (m *money) UnmarshalBinary(b []byte) error   { _, err := fmt.Sscan(string(b), &m.cents); return err }
func (m money) MarshalJSON() ([]byte, error)      { return fmt.Append(nil, m.cents), nil }
func (m *money) UnmarshalJSON(b []byte) error     { return json.Unmarshal(b, &m.cents) }
func (m zeroMoney) MarshalText() ([]byte, error)  { return money(m).MarshalBinary() }
func (m *zeroMoney) UnmarshalText(b []byte) error { return (*money)(m).UnmarshalBinary(b) }
func (m zeroMoney) IsZero() bool                  { return m.cents == 0 }
func (u uuid) MarshalText() ([]byte, error)       { return fmt.Appendf(nil, "%x", u[:]), nil }
func (u *uuid) UnmarshalText(b []byte) error {
	_, err := fmt.Sscanf(string(b), "%x", u)
	return uuidFrom(u, b, err)
}
func (p *pointed) EncodeMsgpack(e *msgpack.Encoder) error { return e.EncodeString(p.s) }
func (p *pointed) DecodeMsgpack(d *msgpack.Decoder) (err error) {
	p.s, err = d.DecodeString()
	return err
}
func (p *pointed) MarshalJSON() ([]byte, error)           { return json.Marshal(p.s) }
func (p *pointed) UnmarshalJSON(b []byte) error           { return json.Unmarshal(b, &p.s) }
func (halfGenerated) MarshalMsg(b []byte) ([]byte, error) { return append(b, 0x80), nil }

func (o ownTime) MarshalBinary() ([]byte, error) { return o.MarshalJSON() }
func (o ownTime) MarshalJSON() ([]byte, error) {
	return json.Marshal([]string{o.Format(time.RFC3339Nano), o.Note})
}
func (o *ownTime) UnmarshalBinary(b []byte) error { return o.UnmarshalJSON(b) }
func (o *ownTime) UnmarshalJSON(b []byte) (err error) {
	var parts []string
	if err := json.Unmarshal(b, &parts); err != nil || len(parts) != 2 {
		return errors.Join(err, errors.New("no two parts"))
	}
	o.Note = parts[1]
	o.Time, err = time.Parse(time.RFC3339Nano, parts[0])
	return err
}

func uuidFrom(u *uuid, b []byte, _ error) error {
	if len(b) != 2*len(u) {
		return fmt.Errorf("%d digits", len(b))
	}
	for i := range u {
		if _, err := fmt.Sscanf(string(b[2*i:2*i+2]), "%02x", &u[i]); err != nil {
			return err
		}
	}
	return nil
}

type both int

const (
	onMsgPack both = 1 << iota
	onJSON
)

// refused are values that don't come back, of types that the walk refuses, with
// a part of what it has to say.
var refused = []struct {
	on    both
	value any // a pointer
	says  string
}{
	{onMsgPack | onJSON, &hidden{5}, "hidden.cents is not exported"},
	{onMsgPack | onJSON, &generic[[]hidden]{[]hidden{{5}}}, "Value[].cents"},
	{onMsgPack | onJSON, &generic[map[string]hidden]{map[string]hidden{"a": {5}}}, "Value[].cents"},
	{onMsgPack | onJSON, &generic[*hidden]{&hidden{5}}, "Value.cents"},
	{onMsgPack | onJSON, &shadowed{Base{"a", "b"}, "c"}, "shadowed.Base.ID"},
	{onJSON, &shadowing{"a", Base{"b", "c"}}, "shadowing.Base.ID"},
	{onMsgPack | onJSON, &inlined{"a", Base{"b", "c"}}, "inlined.Base.ID"},
	{onMsgPack, &twice{1, 2}, "twice.A"},
	{onJSON, filled(twiceInJSON), "A is not stored"},
	{onMsgPack | onJSON, &embedsUnexportedPointer{&base{"a", "b"}}, "embedsUnexportedPointer.base"},
	{onMsgPack | onJSON, &embedsScalar{"a"}, "embedsScalar.word"},
	{onMsgPack | onJSON, &embedsTime{time.Unix(5, 0), "note"}, "Note is not stored"},
	{onMsgPack | onJSON, new(instants(time.Unix(5, 0))), "instants.wall"},
	{onMsgPack | onJSON, &generic[atomic.Int64]{}, "atomic.Int64"},
	{onMsgPack | onJSON, &generic[*bytes.Buffer]{bytes.NewBufferString("a")}, "bytes.Buffer"},
	{onMsgPack | onJSON, &generic[*list.List]{filledList()}, "list.List"},
	{onMsgPack | onJSON, &generic[fmt.Stringer]{ptr(time.Second)}, "interface with methods"},
	{onMsgPack | onJSON, &generic[error]{fmt.Errorf("a: %w", errors.ErrUnsupported)}, "interface with methods"},
	{onMsgPack | onJSON, &generic[func()]{func() {}}, "can't be stored"},
	{onMsgPack | onJSON, &generic[chan int]{make(chan int)}, "can't be stored"},
	{onMsgPack | onJSON, &generic[complex128]{1i}, "can't be stored"},
	{onMsgPack, &generic[uintptr]{1}, "can't be stored"},
	{onMsgPack | onJSON, &generic[map[time.Time]int]{map[time.Time]int{time.Unix(5, 0).In(time.FixedZone("x", 60)): 1}}, "locations"},
	{onMsgPack | onJSON, &generic[map[any]int]{map[any]int{5: 1}}, "other types"},
	{onMsgPack | onJSON, &generic[map[*int]int]{map[*int]int{new(1): 1}}, "another process"},
	{onJSON, &generic[map[point]int]{map[point]int{{1, 2}: 3}}, "can't be a key in JSON"},
	{onJSON, &generic[map[bool]int]{map[bool]int{true: 3}}, "can't be a key in JSON"},
	{onMsgPack | onJSON, &generic[**int]{new((*int)(nil))}, "pointer to a ptr"},
	{onMsgPack | onJSON, &generic[oneWay]{oneWay{"a"}}, "UnmarshalText"},
	{onMsgPack | onJSON, &generic[otherWay]{5}, "MarshalText"},
	{onMsgPack, &generic[mixed]{mixed{"a"}}, "mixed"},
	{onMsgPack | onJSON, &generic[map[string]pointed]{map[string]pointed{"a": {"b"}}}, "value receiver"},
	{onMsgPack, &generic[map[string][4]octet]{map[string][4]octet{"a": {1}}}, "array of"},
	{onMsgPack, &omits{Big: *big.NewInt(5)}, "omits.Big"},
	{onMsgPack, &omitsOwn{money{5}}, "omitsOwn.M"},
	{onMsgPack, &struct {
		A any `msgpack:",omitempty"`
	}{0}, "omitempty"},
	{onMsgPack, &internedInt{5}, "intern"},
}

// accepted are values that come back.
var accepted = []struct {
	on    both
	value any
}{
	{onMsgPack | onJSON, &excluded{Kept: 1, gone: 2}},
	{onMsgPack, &shadowing{"a", Base{"b", "c"}}},
	{onMsgPack, &array{A: 1, B: 2}},
	{onMsgPack | onJSON, &embedsUnexported{base{"a", "b"}}},
	{onMsgPack | onJSON, &embedsPointer{&Base{"a", "b"}}},
	{onMsgPack | onJSON, &onlyTime{time.Unix(5, 0)}},
	{onMsgPack | onJSON, &ownTime{time.Unix(5, 0), "note"}},
	{onMsgPack | onJSON, &tree{"a", []*tree{{Name: "b"}, {"c", []*tree{{Name: "d"}}}}}},
	{onMsgPack | onJSON, &generic[[]tree]{[]tree{{Name: "b"}}}},
	{onMsgPack | onJSON, new(int64(-5))},
	{onMsgPack | onJSON, new("a")},
	{onMsgPack | onJSON, &[]byte{1, 2}},
	{onMsgPack | onJSON, &generic[[]octet]{[]octet{1, 2}}},
	{onMsgPack | onJSON, &generic[[4]octet]{[4]octet{1, 2}}},
	{onMsgPack | onJSON, &generic[map[string][4]byte]{map[string][4]byte{"a": {1}}}},
	{onMsgPack | onJSON, &generic[celsius]{36.6}},
	{onMsgPack | onJSON, &generic[map[word]int]{map[word]int{"a": 1}}},
	{onMsgPack | onJSON, &generic[map[int32]point]{map[int32]point{-1: {1, 2}}}},
	{onMsgPack, &generic[map[point]int]{map[point]int{{1, 2}: 3}}},
	{onMsgPack, &generic[map[bool]int]{map[bool]int{true: 3}}},
	{onMsgPack | onJSON, &generic[map[string]time.Time]{map[string]time.Time{"a": time.Unix(5, 7)}}},
	{onMsgPack | onJSON, &generic[*time.Time]{new(time.Unix(5, 7))}},
	{onMsgPack | onJSON, &generic[time.Duration]{time.Hour}},
	{onMsgPack | onJSON, &generic[money]{money{5}}},
	{onMsgPack | onJSON, &generic[map[string]money]{map[string]money{"a": {5}}}},
	{onMsgPack | onJSON, &generic[map[string]*pointed]{map[string]*pointed{"a": {"b"}}}},
	{onMsgPack | onJSON, &generic[[]pointed]{[]pointed{{"b"}}}},
	{onMsgPack | onJSON, &generic[uuid]{uuid{1, 2, 3}}},
	{onMsgPack | onJSON, &generic[map[uuid]int]{map[uuid]int{{1, 2}: 3}}},
	{onMsgPack | onJSON, &generic[netip.Addr]{netip.MustParseAddr("10.0.0.1")}},
	{onMsgPack | onJSON, &generic[map[netip.Addr]int]{map[netip.Addr]int{netip.MustParseAddr("10.0.0.1"): 1}}},
	{onMsgPack | onJSON, &generic[big.Int]{*big.NewInt(5)}},
	{onMsgPack | onJSON, &generic[*big.Int]{big.NewInt(5)}},
	{onMsgPack | onJSON, &generic[json.RawMessage]{json.RawMessage(`{"a":1}`)}},
	{onMsgPack | onJSON, &generic[any]{map[string]any{"a": []any{"b", true, nil, 1.5}}}},
	{onMsgPack, &generic[map[string]any]{map[string]any{"a": []byte{1}, "b": int8(5), "c": uint16(300), "d": float32(1)}}},
	{onMsgPack | onJSON, &generic[point]{point{1, 2}}},
	{onMsgPack, &omitsZeroer{zeroMoney{5}}},
	{onMsgPack, &aliased{5}},
	{onMsgPack, &interned{"abcdef", "abcdef"}},
	{onMsgPack | onJSON, &tagged{1, new(2), []string{"a"}, map[string]int{"b": 1}}},
	{onMsgPack | onJSON, &tagged{}},
	{onMsgPack | onJSON, &struct{}{}},
}

// twiceInJSON is twice by other tags, which vet would complain of.
var twiceInJSON = reflect.StructOf([]reflect.StructField{
	{Name: "A", Type: reflect.TypeFor[int](), Tag: `json:"x"`},
	{Name: "B", Type: reflect.TypeFor[int](), Tag: `json:"x"`},
})

// filled is a pointer to a struct whose integers are 1, 2, and so on.
func filled(t reflect.Type) any {
	v := reflect.New(t)
	for i := range t.NumField() {
		v.Elem().Field(i).SetInt(int64(i + 1))
	}
	return v.Interface()
}

//go:fix inline
func ptr[T any](v T) *T { return new(v) }

func filledList() *list.List {
	l := list.New()
	l.PushBack(1)
	return l
}
