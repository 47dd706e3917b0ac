package projectiontest_test

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/effect"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/projection"
	"github.com/tidemark-es/tidemark/projectiontest"
)

type (
	added struct {
		Item string
		N    int
	}
	cart struct{ Lines []added }
)

// carts has a table of carts, which a handler changes by add.
func carts(t testing.TB, add func(tx *projection.Tx[string, cart], e eventlog.Event, d added)) (*eventlog.Feed, *projection.Table[string, cart]) {
	feed := projectiontest.Feed(t, "orders", eventlog.Type[added]("added"))
	tab := projection.NewTable[string, cart]("carts")
	projection.On(tab, feed, func(tx *projection.Tx[string, cart], e eventlog.Event, d added) error {
		add(tx, e, d)
		return nil
	})
	return feed, tab
}

// told runs a case by a test that only notes what it is told.
func told(t *testing.T, run func(r *recorder)) string {
	r := &recorder{TB: t}
	run(r)
	if r.atEnd != nil {
		r.atEnd()
	}
	return strings.Join(r.said, "\n")
}

// Whatever way a handler takes to change a value in place, the row and the
// commit are named, once.
func TestValuesChangedInPlace(t *testing.T) {
	var kept []added
	for name, c := range map[string]struct {
		add  func(tx *projection.Tx[string, cart], e eventlog.Event, d added)
		want string
	}{
		"an element, and Put": {func(tx *projection.Tx[string, cart], e eventlog.Event, d added) {
			c := tx.Value(e.Key)
			if i := slices.IndexFunc(c.Lines, func(l added) bool { return l.Item == d.Item }); i >= 0 {
				c.Lines[i].N += d.N
			} else {
				c.Lines = append(slices.Clone(c.Lines), d)
			}
			tx.Put(e.Key, c)
		}, `row "ada" was changed in place while orders@2 (added) was handled: .Lines[0].N 1 is 3 now`},
		"an element, without Put": {func(tx *projection.Tx[string, cart], e eventlog.Event, d added) {
			if c, ok := tx.Get(e.Key); ok {
				c.Lines[0].Item = "milk"
				return
			}
			tx.Put(e.Key, cart{[]added{d}})
		}, `row "ada" was changed in place while orders@2 (added) was handled: .Lines[0].Item "tea" is "milk" now`},
		"another row's": {func(tx *projection.Tx[string, cart], e eventlog.Event, d added) {
			if d.N == 2 {
				tx.Value("bob").Lines[0].N = 5
			}
			tx.Put(e.Key, cart{[]added{d}})
			tx.Put("bob", cart{[]added{d}})
		}, `row "bob" was changed in place while orders@2`},
		"memory that the handler kept": {func(tx *projection.Tx[string, cart], e eventlog.Event, d added) {
			kept = append(kept[:0], d)
			tx.Put(fmt.Sprint(e.Key, e.Seq), cart{kept})
		}, `row "ada1" was changed in place while orders@2`},
		"the event's bytes": {func(tx *projection.Tx[string, cart], e eventlog.Event, d added) {
			if d.N == 2 {
				e.Data()[0]++
			}
		}, "an event's bytes were changed in place while orders@2 (added)"},
		"healthy: copied": {func(tx *projection.Tx[string, cart], e eventlog.Event, d added) {
			tx.Put(e.Key, cart{append(slices.Clone(tx.Value(e.Key).Lines), d)})
		}, ""},
		"healthy: appended beyond what is there": {func(tx *projection.Tx[string, cart], e eventlog.Event, d added) {
			tx.Put(e.Key, cart{append(tx.Value(e.Key).Lines, d)})
		}, ""},
		"healthy: deleted": {func(tx *projection.Tx[string, cart], e eventlog.Event, d added) {
			tx.Delete(e.Key)
			tx.Put(e.Key, cart{[]added{d}})
			tx.Delete(e.Key)
		}, ""},
	} {
		kept = make([]added, 0, 1)
		said := told(t, func(r *recorder) {
			feed, tab := carts(t, c.add)
			k := projectiontest.New(r, tab)
			k.Given(feed, "ada", added{"tea", 1})
			k.When(feed, "ada", added{"tea", 2}).Then()
			k.Given(feed, "eve", added{"tea", 3})
		})
		if (said == "") != (c.want == "") || !strings.Contains(said, c.want) || strings.Count(said, "orders@2") > 1 {
			t.Errorf("%s: told %q, want %q", name, said, c.want)
		}
	}
}

// What a handler of another table's changes does to these, and rows beyond those
// that are looked at after each commit, at the end of the case at the latest.
func TestValuesChangedInPlaceElsewhere(t *testing.T) {
	said := told(t, func(r *recorder) {
		feed, tab := carts(t, func(tx *projection.Tx[string, cart], e eventlog.Event, d added) { tx.Put(e.Key, cart{[]added{d}}) })
		seen := projection.NewTable[string, int]("seen")
		projection.OnChange(seen, tab, func(tx *projection.Tx[string, int], c projection.Change[string, cart]) error {
			c.New.Lines[0].N = 7
			tx.Put(c.Key, 1)
			return nil
		})
		projectiontest.New(r, tab, seen).Given(feed, "ada", added{"tea", 1}).Given(feed, "bob", added{"tea", 1})
	})
	if !strings.Contains(said, `"carts": row "ada" was changed in place while orders@1 (added) was handled: .Lines[0].N 1 is 7 now`) || strings.Count(said, "ada") != 1 {
		t.Errorf("told %q", said)
	}
	said = told(t, func(r *recorder) {
		feed, tab := carts(t, func(tx *projection.Tx[string, cart], e eventlog.Event, d added) {
			if d.N == 500 {
				tx.Value("k250").Lines[0].N = -1
			}
			tx.Put(e.Key, cart{[]added{d}})
		})
		k := projectiontest.New(r, tab)
		for i := range 501 {
			k.Given(feed, fmt.Sprint("k", i), added{"tea", i})
		}
	})
	if !strings.Contains(said, `row "k250" was changed in place while orders@501`) {
		t.Errorf("told %q", said)
	}
	said = told(t, func(r *recorder) {
		feed, _ := carts(t, nil)
		p := projection.NewPartitioned[cart]("carts", 2)
		projection.OnRow(p, feed, func(r projection.Row[cart], e eventlog.Event, d added) error {
			c := r.Value()
			if len(c.Lines) > 0 {
				c.Lines[0].N++
			}
			r.Put(cart{append(slices.Clone(c.Lines), d)})
			return nil
		})
		projectiontest.New(r, p).Given(feed, "ada", added{"tea", 1}).Given(feed, "ada", added{"tea", 1})
	})
	if !strings.Contains(said, `"carts": row "ada" was changed in place while orders@2`) {
		t.Errorf("told %q", said)
	}
}

// money encodes itself, and forgets its currency.
type money struct {
	Cents    int64
	Currency string
}

func (m money) MarshalText() ([]byte, error) { return fmt.Append(nil, m.Cents), nil }
func (m *money) UnmarshalText(text []byte) error {
	_, err := fmt.Sscan(string(text), &m.Cents)
	return err
}

type bill struct{ Sum money }

// tally is a model whose Restore forgets what Snapshot wrote.
type tally struct{ n map[string]int }

func (m *tally) Snapshot(w io.Writer) error {
	for _, k := range slices.Sorted(maps.Keys(m.n)) {
		fmt.Fprintln(w, k, m.n[k])
	}
	return nil
}

func (m *tally) Restore(io.Reader) error { return nil }

// What doesn't come back from where it is stored fails the test: events, rows,
// intents, and models that save themselves.
func TestWhatDoesntComeBack(t *testing.T) {
	euro := money{5, "EUR"}
	for name, c := range map[string]struct {
		run  func(r *recorder)
		want string
	}{
		"an event": {func(r *recorder) {
			feed := projectiontest.Feed(t, "payments", eventlog.Type[bill]("paid"))
			tab := projection.NewTable[string, int]("seen")
			projection.On(tab, feed, func(*projection.Tx[string, int], eventlog.Event, bill) error { return nil })
			projectiontest.New(r, tab).When(feed, "ada", bill{euro}).Then()
		}, `.Sum.Currency was "EUR", and comes back as ""`},
		"a row": {func(r *recorder) {
			feed, _ := carts(t, nil)
			tab := projection.NewTable[string, []money]("sums")
			projection.On(tab, feed, func(tx *projection.Tx[string, []money], e eventlog.Event, _ added) error {
				tx.Put(e.Key, []money{euro})
				return nil
			})
			projectiontest.New(r, tab).When(feed, "ada", added{}).Then()
		}, `projection "sums": what is stored doesn't come back: row "ada": [0].Currency is "EUR", and comes back as ""`},
		"an intent": {func(r *recorder) {
			feed, _ := carts(t, nil)
			bills := projectiontest.Outbox[bill](t, "bills")
			effect.On(bills, feed, func(tx *effect.Tx[bill], _ eventlog.Event, _ added) error {
				tx.Want("", bill{euro})
				return nil
			})
			projectiontest.New(r, bills).When(feed, "ada", added{}).Then()
		}, `.Intent.Sum.Currency is "EUR", and comes back as ""`},
		"a model": {func(r *recorder) {
			feed, _ := carts(t, nil)
			m := projection.NewModel("tally", func() *tally { return &tally{map[string]int{}} })
			projection.OnModel(m, feed, func(m *tally, e eventlog.Event, _ added) error { m.n[e.Key]++; return nil })
			projectiontest.New(r, m).When(feed, "ada", added{}).Then()
		}, `projection "tally": what is stored doesn't come back`},
		"healthy": {func(r *recorder) {
			feed, _ := carts(t, nil)
			type row struct {
				At  time.Time
				Any map[string]any
			}
			tab := projection.NewTable[string, row]("rows")
			projection.On(tab, feed, func(tx *projection.Tx[string, row], e eventlog.Event, _ added) error {
				tx.Put(e.Key, row{e.Time.Local(), map[string]any{"at": e.Time.Local(), "list": []any{}}})
				return nil
			})
			projectiontest.New(r, tab).When(feed, "ada", added{}).Then(
				projectiontest.Row(tab, "ada", row{projectiontest.Epoch.In(time.FixedZone("x", 3600)), map[string]any{"at": projectiontest.Epoch, "list": []any{}}}))
		}, ""},
	} {
		if said := told(t, c.run); (said == "") != (c.want == "") || !strings.Contains(said, c.want) {
			t.Errorf("%s: told %q, want %q", name, said, c.want)
		}
	}
}

// The laws find it, too.
func TestLawsFindInPlaceChanges(t *testing.T) {
	feed, tab := carts(t, func(tx *projection.Tx[string, cart], e eventlog.Event, d added) {
		c := tx.Value(e.Key)
		if len(c.Lines) > 0 {
			c.Lines[0].N = d.N
		}
		tx.Put(e.Key, cart{append(slices.Clone(c.Lines), d)})
	})
	commits := []projectiontest.Commit{projectiontest.On(feed, "ada", added{"tea", 1}), projectiontest.On(feed, "ada", added{"tea", 2})}
	said := told(t, func(r *recorder) { projectiontest.Recorded(r, t.TempDir()+"/history.txt", commits, tab) })
	if !strings.Contains(said, "changed in place while orders@2") {
		t.Errorf("told %q", said)
	}
}
