package equal_test

import (
	"math"
	"math/big"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/internal/equal"
)

type part struct {
	Name string
	Cost float64
}

// lossy encodes itself, and has a field that nobody sees.
type lossy struct {
	Shown  int
	hidden int
}

func (lossy) MarshalText() ([]byte, error) { return nil, nil }

// cached says itself what counts of it.
type cached struct {
	Shown int
	hash  int
}

func (cached) MarshalText() ([]byte, error) { return nil, nil }
func (c cached) Equal(other cached) bool    { return c.Shown == other.Shown }

type ring struct {
	N    int
	Next *ring
}

func ringOf(n int) *ring {
	r := &ring{N: n}
	r.Next = &ring{N: n, Next: r}
	return r
}

type tagged struct {
	A     int
	Cache int   `msgpack:"-" json:"-"`
	index []int `json:"-"`
}

func verdict(a, b any) (equal.Verdict, string) {
	pa, pb := reflect.New(reflect.TypeOf(a)).Elem(), reflect.New(reflect.TypeOf(b)).Elem()
	pa.Set(reflect.ValueOf(a))
	pb.Set(reflect.ValueOf(b))
	t := equal.Of(pa.Type(), "msgpack")
	v, d := t.Compare(pa, pb), t.Difference(pa, pb)
	if d == nil {
		return v, ""
	}
	return v, d.String()
}

func TestRelation(t *testing.T) {
	at := time.Date(2020, 1, 1, 0, 0, 0, 0, time.FixedZone("LA", -8*3600))
	now := time.Now()
	nan2 := math.Float64frombits(math.Float64bits(math.NaN()) ^ 1<<63)
	one := 1
	for name, c := range map[string]struct {
		a, b any
		want equal.Verdict
		diff string
	}{
		"ints":                  {1, 1, equal.Identical, ""},
		"other ints":            {1, 2, equal.Different, "1, and 2"},
		"strings":               {"a", "b", equal.Different, `"a", and "b"`},
		"NaN":                   {math.NaN(), math.NaN(), equal.Identical, ""},
		"another NaN":           {math.NaN(), nan2, equal.Alike, ""},
		"NaN and a number":      {part{Cost: math.NaN()}, part{}, equal.Different, ".Cost: NaN, and 0"},
		"minus zero":            {part{Cost: math.Copysign(0, -1)}, part{}, equal.Alike, ""},
		"complex":               {complex(0, math.NaN()), complex(math.Copysign(0, -1), math.NaN()), equal.Alike, ""},
		"other complex":         {complex(0, 1), complex(math.Copysign(0, -1), 2), equal.Different, "(0+1i), and (-0+2i)"},
		"zones":                 {at, at.UTC(), equal.Alike, ""},
		"monotonic":             {now, now.Round(0), equal.Alike, ""},
		"other instants":        {at, at.Add(1), equal.Different, "2020-01-01T00:00:00-08:00, and 2020-01-01T00:00:00.000000001-08:00"},
		"nil slice":             {[]int(nil), []int{}, equal.Alike, ""},
		"nil map":               {map[string]int(nil), map[string]int{}, equal.Alike, ""},
		"bytes":                 {[]byte("a"), []byte("a"), equal.Identical, ""},
		"other bytes":           {[]byte("a"), []byte("b"), equal.Different, "[97], and [98]"},
		"lists":                 {[]part{{"a", 1}, {"b", 1}}, []part{{"a", 1}, {"b", 2}}, equal.Different, "[1].Cost: 1, and 2"},
		"lengths":               {[]int{1}, []int{1, 2}, equal.Different, "1 elements, and 2"},
		"maps":                  {map[string]part{"a": {"b", 0}}, map[string]part{"a": {"b", math.Copysign(0, -1)}}, equal.Alike, ""},
		"other maps":            {map[string]part{"a": {}}, map[string]part{"b": {}}, equal.Different, `["a"]: an entry, and none`},
		"pointers":              {&one, new(int), equal.Different, "1, and 0"},
		"nil and a pointer":     {(*int)(nil), new(int), equal.Different, ""},
		"any":                   {[]any{1, "a"}, []any{1, "a"}, equal.Identical, ""},
		"any of another type":   {[]any{1}, []any{int8(1)}, equal.Different, "[0]: int 1, and int8 1"},
		"any that is nil":       {[]any{1}, []any{nil}, equal.Different, "[0]: int 1, and nil"},
		"arrays":                {[2]part{}, [2]part{{}, {"a", 0}}, equal.Different, `[1].Name: "", and "a"`},
		"unexported":            {lossy{1, 2}, lossy{1, 3}, equal.Different, ".hidden: 2, and 3"},
		"unexported in a map":   {map[int]lossy{1: {1, 2}}, map[int]lossy{1: {1, 3}}, equal.Different, "[1].hidden: 2, and 3"},
		"its own Equal":         {cached{1, 2}, cached{1, 3}, equal.Alike, ""},
		"its own Equal, inside": {[]*cached{{1, 2}}, []*cached{{2, 2}}, equal.Different, "[0]: {Shown:1 hash:2}, and {Shown:2 hash:2}"},
		"excluded on purpose":   {tagged{1, 2, []int{1}}, tagged{1, 3, nil}, equal.Identical, ""},
		"big ints":              {big.NewInt(5), new(big.Int).SetBytes([]byte{0, 0, 5}), equal.Identical, ""},
		"addresses":             {netip.MustParseAddr("::1"), netip.MustParseAddr("::1"), equal.Identical, ""},
		"rings":                 {ringOf(1), ringOf(1), equal.Identical, ""},
		"other rings":           {ringOf(1), ringOf(2), equal.Different, ".N: 1, and 2"},
	} {
		got, diff := verdict(c.a, c.b)
		if got != c.want || (diff != c.diff && c.diff != "") || (diff == "") != (got != equal.Different) {
			t.Errorf("%s: %d %q, want %d %q", name, got, diff, c.want, c.diff)
		}
		if back, _ := verdict(c.b, c.a); back != got {
			t.Errorf("%s: %d, and the other way round %d", name, got, back)
		}
		if self, diff := verdict(c.a, c.a); self == equal.Different {
			t.Errorf("%s isn't like itself: %s", name, diff)
		}
	}
}

// Where == decides, no comparison is compiled; a type that is tagged, says
// itself what counts, or holds references is none of these.
func TestPlainTypes(t *testing.T) {
	type plain struct {
		A int
		B [2]string
		C struct{ D bool }
	}
	for _, c := range []struct {
		v                 any
		plain, comparable bool
	}{
		{1, true, true}, {plain{}, true, true}, {part{}, false, true}, {[2]float32{}, false, true},
		{tagged{}, false, false}, {cached{}, false, false}, {lossy{}, true, true}, {time.Time{}, false, false},
		{[]int{}, false, false}, {[1]any{}, false, false}, {new(int), false, false}, {map[int]int{}, false, false},
	} {
		got := equal.Of(reflect.TypeOf(c.v), "msgpack")
		if got.Plain() != c.plain || got.Comparable() != c.comparable {
			t.Errorf("%T: plain %v, comparable %v", c.v, got.Plain(), got.Comparable())
		}
	}
}

// Values that share what they hold don't take for ever, and what is shown of a
// difference is short.
func TestSharedAndLong(t *testing.T) {
	type twice struct {
		N    int
		L, R *twice
	}
	deep := func(n int) *twice {
		x := &twice{N: n}
		for range 200 {
			x = &twice{L: x, R: x}
		}
		return x
	}
	if v, _ := verdict(deep(1), deep(1)); v != equal.Identical {
		t.Error(v)
	}
	if v, diff := verdict(deep(1), deep(2)); v != equal.Different || !strings.HasSuffix(diff, ".L.N: 1, and 2") {
		t.Error(v, diff)
	}
	if _, diff := verdict(strings.Repeat("a", 1000), "b"); len(diff) > 200 {
		t.Error(diff)
	}
}
