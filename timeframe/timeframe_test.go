package timeframe

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestValidName(t *testing.T) {
	for _, name := range []string{"a", "0", "-", "orders-2", strings.Repeat("z", MaxName)} {
		if err := ValidName(name); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"", "A", "a_b", "a.b", "a b", "ä", "a=", "a,", "a\x00", strings.Repeat("z", MaxName+1)} {
		bad, ok := errors.AsType[*NameError](ValidName(name))
		if !ok || bad.Name != name {
			t.Errorf("%q: got %v", name, bad)
		}
		if text := bad.Error(); !strings.Contains(text, "a-z, 0-9 and '-'") || len(text) > 250 {
			t.Errorf("%q: the message doesn't help: %s", name, text)
		}
	}
	if text := (&NameError{Name: strings.Repeat("x", 1<<20)}).Error(); len(text) > 250 {
		t.Errorf("a long name makes a message of %d bytes", len(text))
	}
}

func TestOf(t *testing.T) {
	given := []Entry{{"b", 2}, {"a", 1}}
	got, err := Of(given...)
	if err != nil || got.String() != "a=1,b=2" {
		t.Fatalf("got %s, %v", got, err)
	}
	if given[0].Feed != "b" {
		t.Error("the caller's entries were sorted in place")
	}
	given[0], given[1] = Entry{"x", 7}, Entry{"y", 7}
	if got.String() != "a=1,b=2" {
		t.Error("the timeframe shares the caller's entries")
	}
	_, err = Of(Entry{"b", 1}, Entry{"a", 1}, Entry{"b", 1})
	if dup, ok := errors.AsType[*DuplicateError](err); !ok || dup.Feed != "b" || !strings.Contains(err.Error(), `"b"`) {
		t.Errorf("duplicate: got %v", err)
	}
	if _, err = Of(Entry{"B", 1}); !isNameError(err) {
		t.Errorf("bad name: got %v", err)
	}
	if _, err = FromMap(map[string]uint64{"": 1}); !isNameError(err) {
		t.Errorf("bad name in a map: got %v", err)
	}
}

func TestAbsentIsNotZero(t *testing.T) { // invariant 4
	zero := tf(t, "a=0")
	if seq, ok := zero.Get("a"); seq != 0 || !ok {
		t.Error("a known feed at 0 isn't reported")
	}
	if seq, ok := zero.Get("b"); seq != 0 || ok {
		t.Error("an absent feed is reported")
	}
	var empty Timeframe
	if zero.IsEmpty() || !empty.IsEmpty() || zero.Equal(empty) || empty.Covers(zero) || !zero.Covers(empty) {
		t.Error("absent and zero are mixed up")
	}
	if got := zero.Without("a"); !got.Equal(empty) {
		t.Errorf("got %s", got)
	}
}

func TestAdvance(t *testing.T) {
	at := tf(t, "b=5")
	for _, seq := range []uint64{0, 4, 5} {
		got, err := at.Advance("b", seq)
		stuck, ok := errors.AsType[*NotAdvancing](err)
		if !ok || *stuck != (NotAdvancing{"b", 5, seq}) || !got.Equal(at) {
			t.Errorf("to %d: got %s, %v", seq, got, err)
		}
	}
	if text := (&NotAdvancing{"b", 5, 4}).Error(); text != `feed "b" stands at 5 and can't advance to 4` {
		t.Error(text)
	}
	for _, c := range []struct {
		feed string
		seq  uint64
		want string
	}{{"b", 6, "b=6"}, {"a", 0, "a=0,b=5"}, {"c", 9, "b=5,c=9"}} {
		got, err := at.Advance(c.feed, c.seq)
		if err != nil || got.String() != c.want || got.Compare(at) != After {
			t.Errorf("%s to %d: got %s, %v", c.feed, c.seq, got, err)
		}
	}
	if got, err := at.Advance("B", 1); !isNameError(err) || !got.Equal(at) {
		t.Errorf("bad name: got %s, %v", got, err)
	}
	if got, err := at.With("B", 1); !isNameError(err) || !got.Equal(at) {
		t.Errorf("bad name: got %s, %v", got, err)
	}
}

// Random edits give what a map gives, and leave every earlier value as it was.
func TestEditsAreCopies(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type version struct {
			tf   Timeframe
			want map[string]uint64
		}
		versions := []version{{Timeframe{}, map[string]uint64{}}}
		for range rapid.IntRange(1, 20).Draw(t, "edits") {
			from := rapid.SampledFrom(versions).Draw(t, "from")
			feed, seq := feedGen.Draw(t, "feed"), seqGen.Draw(t, "seq")
			next := version{want: maps.Clone(from.want)}
			if rapid.Bool().Draw(t, "remove") {
				next.tf = from.tf.Without(feed)
				delete(next.want, feed)
			} else {
				var err error
				if next.tf, err = from.tf.With(feed, seq); err != nil {
					t.Fatal(err)
				}
				next.want[feed] = seq
			}
			versions = append(versions, next)
		}
		for _, v := range versions {
			if !mapsEqual(v.tf, v.want) || v.tf.Len() != len(v.want) {
				t.Fatalf("got %s, want %v", v.tf, v.want)
			}
			var feeds []string
			for feed, seq := range v.tf.All() {
				if v.want[feed] != seq {
					t.Fatalf("%s: %d, want %d", feed, seq, v.want[feed])
				}
				feeds = append(feeds, feed)
			}
			if !slices.IsSorted(feeds) || len(feeds) != len(v.want) {
				t.Fatalf("All yields %v", feeds)
			}
		}
	})
}

func TestAllStopsEarly(t *testing.T) {
	n := 0
	for range tf(t, "a=1,b=2").All() {
		n++
		break
	}
	if n != 1 {
		t.Errorf("%d rounds", n)
	}
}

func isNameError(err error) bool {
	_, ok := errors.AsType[*NameError](err)
	return ok
}
