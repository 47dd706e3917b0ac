package utc_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/internal/utc"
)

var la = time.FixedZone("LA", -8*3600)

type node struct {
	At   time.Time
	Next *node
}

type inner struct {
	At time.Time
	N  int
}

type embedded struct{ Seen time.Time }

type everything struct {
	embedded
	At      time.Time
	Pointer *time.Time
	List    []inner
	Array   [2]time.Time
	Map     map[string]inner
	Any     any
	Deep    map[string][]*inner
	Node    *node
	Raw     []byte
	hidden  time.Time
}

func filled(at time.Time) everything {
	return everything{
		embedded: embedded{at}, At: at, Pointer: &at, List: []inner{{at, 1}, {at, 2}}, Array: [2]time.Time{at, at},
		Map: map[string]inner{"a": {at, 1}}, Any: map[string]any{"a": at, "b": []any{at, 5}},
		Deep: map[string][]*inner{"a": {{at, 1}, nil}}, Node: &node{at, &node{at, nil}}, Raw: []byte("raw"), hidden: at,
	}
}

// Wherever a value holds times in exported fields, they come out in UTC, the
// same instants, without a monotonic reading.
func TestTimesAreFoundEverywhere(t *testing.T) {
	at := time.Now()
	for name, from := range map[string]time.Time{"local": at, "zone": at.In(la), "zero": {}} {
		v, want := filled(from), filled(from.Round(0).UTC())
		want.hidden = from
		utc.Settle(&v)
		if !reflect.DeepEqual(v, want) {
			t.Errorf("%s:\n%+v\n%+v", name, v, want)
		}
	}
}

// What somebody else may use stays as it was: it is copied where its times
// aren't right, and shared where they are.
func TestOwnCopiesWhatIsShared(t *testing.T) {
	at := time.Date(2020, 1, 1, 0, 0, 0, 0, la)
	x := utc.Of(reflect.TypeFor[everything]())
	before := filled(at)
	v := before
	x.Own(&v)
	if want := filled(at); !reflect.DeepEqual(before, want) {
		t.Errorf("what was given was changed:\n%+v\n%+v", before, want)
	}
	want := filled(at.UTC())
	want.hidden = at
	if !reflect.DeepEqual(v, want) {
		t.Errorf("%+v\n%+v", v, want)
	}
	again := v
	x.Own(&again)
	if &again.List[0] != &v.List[0] || again.Node != v.Node {
		t.Error("what was right was copied")
	}
}

type zoned struct{ At time.Time }

func (z zoned) MarshalText() ([]byte, error)     { return z.At.MarshalText() }
func (z *zoned) UnmarshalText(text []byte) error { return z.At.UnmarshalText(text) }

type generatedType struct{ At time.Time }

func (generatedType) MarshalMsg([]byte) ([]byte, error)    { return nil, nil }
func (*generatedType) UnmarshalMsg([]byte) ([]byte, error) { return nil, nil }

// The fields of types that encode themselves are theirs, but for generated
// methods; and types without times cost nothing.
func TestTypesThatEncodeThemselves(t *testing.T) {
	at := time.Date(2020, 1, 1, 0, 0, 0, 0, la)
	z, g := zoned{at}, generatedType{at}
	utc.Settle(&z)
	utc.Settle(&g)
	if z.At != at || g.At != at.UTC() {
		t.Errorf("%v, %v", z, g)
	}
	if utc.Of(reflect.TypeFor[struct{ A []string }]()) != nil || utc.Of(reflect.TypeFor[zoned]()) != nil {
		t.Error("types without times of their own are walked")
	}
	for _, odd := range []any{nil, 5, at, (*int)(nil), new(any)} {
		utc.Settle(odd)
	}
}

// Values that contain themselves are walked once.
func TestCycles(t *testing.T) {
	n := &node{At: time.Date(2020, 1, 1, 0, 0, 0, 0, la)}
	n.Next = &node{n.At, n}
	utc.Settle(n)
	if n.At.Location() != time.UTC || n.Next.At.Location() != time.UTC {
		t.Errorf("%v, %v", n.At, n.Next.At)
	}
	n.At = n.At.In(la)
	v := *n
	utc.Of(reflect.TypeFor[node]()).Own(&v) // ends
	type twice struct {
		At   time.Time
		L, R *twice
	}
	x := &twice{}
	for range 200 {
		x = &twice{L: x, R: x}
	}
	utc.Settle(x) // ends
	v2 := *x
	utc.Of(reflect.TypeFor[twice]()).Own(&v2)
}
