package timeframe

import (
	"maps"
	"testing"

	"pgregory.net/rapid"
)

// The laws that make Merge and Meet a lattice, and each against a plain map.
func TestLatticeLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := timeframes().Draw(t, "a"), timeframes().Draw(t, "b"), timeframes().Draw(t, "c")
		same := func(law string, x, y Timeframe) {
			if !x.Equal(y) {
				t.Fatalf("%s: %s and %s differ", law, x, y)
			}
		}
		same("merge commutes", Merge(a, b), Merge(b, a))
		same("meet commutes", Meet(a, b), Meet(b, a))
		same("merge is associative", Merge(Merge(a, b), c), Merge(a, Merge(b, c)))
		same("meet is associative", Meet(Meet(a, b), c), Meet(a, Meet(b, c)))
		same("merge is idempotent", Merge(a, a), a)
		same("meet is idempotent", Meet(a, a), a)
		same("merge absorbs meet", Merge(a, Meet(a, b)), a)
		same("meet absorbs merge", Meet(a, Merge(a, b)), a)
		same("merge with the bottom", Merge(a, Timeframe{}), a)
		same("meet with the bottom", Meet(a, Timeframe{}), Timeframe{})

		if want := oracleMerge(a.Map(), b.Map()); !mapsEqual(Merge(a, b), want) {
			t.Fatalf("merge of %s and %s is %s, want %v", a, b, Merge(a, b), want)
		}
		if want := oracleMeet(a.Map(), b.Map()); !mapsEqual(Meet(a, b), want) {
			t.Fatalf("meet of %s and %s is %s, want %v", a, b, Meet(a, b), want)
		}
	})
}

func oracleMerge(a, b map[string]uint64) map[string]uint64 {
	m := maps.Clone(a)
	for feed, seq := range b {
		m[feed] = max(m[feed], seq)
	}
	return m
}

func oracleMeet(a, b map[string]uint64) map[string]uint64 {
	m := map[string]uint64{}
	for feed, seq := range a {
		if other, ok := b[feed]; ok {
			m[feed] = min(seq, other)
		}
	}
	return m
}

// Covers is a partial order, Merge and Meet are its bounds, and Compare and
// Missing agree with it.
func TestOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := timeframes().Draw(t, "a"), timeframes().Draw(t, "b"), timeframes().Draw(t, "c")
		holds := func(law string, ok bool) {
			if !ok {
				t.Fatalf("%s: a=%s b=%s c=%s", law, a, b, c)
			}
		}
		holds("reflexive", a.Covers(a))
		holds("antisymmetric", a.Covers(b) && b.Covers(a) == a.Equal(b) || !a.Covers(b))
		holds("transitive", !a.Covers(b) || !b.Covers(c) || a.Covers(c))
		holds("merge bounds", Merge(a, b).Covers(a) && Merge(a, b).Covers(b))
		holds("merge is least", !c.Covers(a) || !c.Covers(b) || c.Covers(Merge(a, b)))
		holds("meet bounds", a.Covers(Meet(a, b)) && b.Covers(Meet(a, b)))
		holds("meet is greatest", !a.Covers(c) || !b.Covers(c) || Meet(a, b).Covers(c))

		holds("missing", a.Missing(b).IsEmpty() == a.Covers(b))
		holds("missing fills", Merge(a, a.Missing(b)).Equal(Merge(a, b)))

		want := map[[2]bool]Ordering{
			{true, true}: Equal, {true, false}: After, {false, true}: Before, {false, false}: Concurrent,
		}[[2]bool{a.Covers(b), b.Covers(a)}]
		holds("compare", a.Compare(b) == want)
		holds("equal", a.Equal(b) == (a.Compare(b) == Equal) && a.Equal(b) == mapsEqual(a, b.Map()))
		mirror := map[Ordering]Ordering{Equal: Equal, After: Before, Before: After, Concurrent: Concurrent}
		holds("compare mirrors", b.Compare(a) == mirror[a.Compare(b)])
	})
}

func TestMergeTakesTheMaximumPerFeed(t *testing.T) { // T0.11
	got := Merge(tf(t, "a=1,b=1"), tf(t, "a=2,c=1"))
	if want := "a=2,b=1,c=1"; got.String() != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestMissing(t *testing.T) { // T0.12
	for _, c := range []struct{ has, need, want string }{
		{"a=10,b=9", "a=10,b=10,c=10", "b=10,c=10"},
		{"a=10,b=10,c=10", "a=10,b=10,c=10", "empty"},
		{"a=10,b=10,c=10", "a=10,b=9", "empty"},
		{"empty", "a=0", "a=0"}, // absent isn't zero
		{"a=0", "a=0", "empty"},
		{"a=0", "empty", "empty"},
		{"empty", "empty", "empty"},
	} {
		if got := tf(t, c.has).Missing(tf(t, c.need)).String(); got != c.want {
			t.Errorf("%s, missing of %s: got %s, want %s", c.has, c.need, got, c.want)
		}
	}
}

func TestCompare(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want Ordering
	}{
		{"empty", "empty", Equal},
		{"empty", "a=0", Before}, // absent isn't zero
		{"a=0", "empty", After},
		{"a=0", "a=1", Before},
		{"a=1,b=1", "a=1", After},
		{"a=1,b=0", "a=0,b=1", Concurrent},
		{"a=0", "b=0", Concurrent},
		{"a=18446744073709551615", "a=18446744073709551614", After},
	} {
		if got := tf(t, c.a).Compare(tf(t, c.b)); got != c.want {
			t.Errorf("%s to %s: got %s, want %s", c.a, c.b, got, c.want)
		}
	}
	for o, want := range map[Ordering]string{
		Equal: "equal", Before: "before", After: "after", Concurrent: "concurrent", 9: "unknown",
	} {
		if o.String() != want {
			t.Errorf("got %s, want %s", o, want)
		}
	}
}

func TestCoversAllocatesNothing(t *testing.T) {
	a, b := tf(t, "a=1,b=2,c=3"), tf(t, "a=1,c=3")
	if n := testing.AllocsPerRun(100, func() { _ = a.Covers(b) && Merge(a, b).Len() == 3 }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
