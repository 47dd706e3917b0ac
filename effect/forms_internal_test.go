package effect

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/projection"
	"github.com/tidemark-es/tidemark/timeframe"
)

// What is said of the forms of IDs is read as it was written, and decides as it
// did.
func TestFormsText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := &forms{known: rapid.Bool().Draw(t, "known")}
		if f.known && rapid.Bool().Draw(t, "upgraded") {
			f.until = time.Unix(0, rapid.Int64Range(0, 1e18).Draw(t, "until")).UTC()
			for _, feed := range rapid.SliceOfDistinct(rapid.SampledFrom([]string{"a", "b-c", "d"}), rapid.ID).Draw(t, "feeds") {
				f.upto, _ = f.upto.With(feed, rapid.Uint64Range(0, 9).Draw(t, "upto"))
			}
		}
		got, err := parseForms(f.String())
		if err != nil {
			t.Fatal(err)
		}
		for _, feed := range []string{"a", "b-c", "d", "e"} {
			upto, has := f.upto.Get(feed)
			for seq := uint64(1); seq < 10; seq++ {
				for _, at := range []time.Time{f.until.Add(-1), f.until, f.until.Add(1)} {
					want := !f.known || has && seq <= upto && !at.After(f.until)
					if got.first(feed, seq, at) != want || f.first(feed, seq, at) != want {
						t.Fatalf("%q: %s@%d at %s: %v", f, feed, seq, at, !want)
					}
				}
			}
		}
	})
	for _, s := range []string{"3", "2 x a=1", "2 7", "2 7 a", "2 7 a=1 b=2", " ", "orders=1"} {
		if f, err := parseForms(s); err == nil {
			t.Errorf("%q is %+v", s, f)
		}
	}
}

// Which cause an ID names is read from it, whatever the intent's name is.
func TestPartsOfIDs(t *testing.T) {
	o := &Outbox[string]{name: "mails"}
	hash := causeHash("shop", "orders", "ada", "form-7")
	for _, id := range []string{"mails:" + hash + ".0", "mails:" + hash + ".3~1/orders@7.0", "mails:" + hash + "/sums/a@1/b"} {
		if got, ok := o.hashIn(id); !ok || got != hash {
			t.Errorf("%s: got %q", id, got)
		}
	}
	for id, want := range map[string]timeframe.Entry{
		"orders@7.0": {Feed: "orders", Seq: 7}, "orders@12/sums/ada": {Feed: "orders", Seq: 12}, "a-b@1.0~2/mails:x": {Feed: "a-b", Seq: 1},
		"marks": {}, "orders@x.0": {}, "orders@7": {}, "mails:" + hash[:5]: {},
	} {
		if _, ok := o.hashIn(id); ok {
			t.Errorf("%s has a hash", id)
		}
		if at, ok := position(id); ok != (want.Feed != "") || ok && (at.Feed != want.Feed || at.Seq != want.Seq) {
			t.Errorf("%s is at %v, %v", id, at, ok)
		}
	}
	long := strings.Repeat("x", 64)
	longest := (&Outbox[string]{name: long}).name + ":" + hash + "/" + long + "/" + token(long) + "/" + token(long+long)
	if len(longest) > 250 {
		t.Errorf("%d bytes", len(longest))
	}
}

// Each part counts, and none can take a byte of another.
func TestHashesOfCauses(t *testing.T) {
	seen := make(map[string]string)
	for _, parts := range [][4]string{
		{"a", "b", "c", "d"}, {"ab", "", "c", "d"}, {"a", "bc", "", "d"}, {"a", "b", "cd", ""}, {"a", "b", "c", "e"}, {"", "ab", "c", "d"},
		{"a", "b", "c", "d\x00"}, {"a", "b", "c\x01", "d"},
	} {
		h := causeHash(parts[0], parts[1], parts[2], parts[3])
		if was, ok := seen[h]; ok || len(h) != hashChars {
			t.Errorf("%q and %q have %s", parts, was, h)
		}
		seen[h] = strings.Join(parts[:], "|")
	}
}

// Whenever a table handles the mark that fixes the forms, before, between or
// after the events that it is about, its rows are the same, and have the IDs
// that the mark gives them.
func TestFormsAreFixedAtAnyTime(t *testing.T) {
	payments, err := eventlog.Offline("payments", eventlog.Type[paid]("paid"))
	if err != nil {
		t.Fatal(err)
	}
	fixed := &forms{known: true, until: time.Unix(2, 0)}
	fixed.upto, _ = fixed.upto.With("payments", 2)
	want := ""
	for mark := range 5 { // so many payments come before it
		o, err := Offline[string]("ship", 1)
		if err != nil {
			t.Fatal(err)
		}
		o.forms.Store(&forms{}) // as of an outbox of a first release
		On(o, payments, func(tx *Tx[string], e eventlog.Event, _ paid) error {
			tx.Want("", "send it")
			return nil
		})
		re, err := projection.Rehearse(o)
		if err != nil {
			t.Fatal(err)
		}
		apply := func(f *eventlog.Feed, key string, seq int, event any) {
			c, err := f.Rehearse(eventlog.Draft{Key: key, Events: []any{event}}, uint64(seq), time.Unix(int64(seq), 0))
			if err == nil {
				_, err = re.Apply(c)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		for i := range 5 {
			if i == mark {
				apply(o.outcomes, markKey, 1, Marked{IDs: fixed.String()})
			}
			if i < 4 {
				apply(payments, "ada", i+1, paid{})
			}
		}
		for _, id := range []string{"payments@1.0", "payments@2.0", idOf(3), idOf(4)} {
			if r, ok := o.table.Get(id); !ok || !r.Stated {
				t.Errorf("after %d: %s isn't stated", mark, id)
			}
		}
		dump, err := re.Dump()
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(dump); want == "" {
			want = got
		} else if got != want {
			t.Errorf("after %d: %s, want %s", mark, got, want)
		}
	}
}
