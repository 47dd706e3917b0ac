package effect_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/effect"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
)

type (
	// both is what was ordered when an order had two items.
	both struct{ One, Two string }
	// stock is a key whose text doesn't tell it from others.
	stock struct{ Shop, Item string }
	// item is another one.
	item string
)

func (item) String() string { return "an item" }

func idsOf(t *testing.T, o *effect.Outbox[mail]) (ids []string) {
	t.Helper()
	due, err := o.Due(time.Now(), effect.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range due {
		ids = append(ids, e.ID)
	}
	return ids
}

// namesOf are the IDs for people (named).
func namesOf(t *testing.T, o *effect.Outbox[mail]) (names []string) {
	t.Helper()
	due, err := o.Due(time.Now(), effect.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range due {
		names = append(names, named(e.ID, e.Cause.String()))
	}
	return names
}

// An effect keeps its ID when another event of its commit is read as two from
// now on: else it would be carried out again, and a new one never.
func TestIDsOutliveUpcasters(t *testing.T) {
	opts, ctx := logtest.Options(t), logtest.Context(t)
	split := eventlog.UpcastMany("both", func(b both) ([]any, error) { return []any{Placed{b.One}, Placed{b.Two}}, nil }, eventlog.Into[Placed]())
	var kept string // the ID of the event that is read as it was stored
	for _, c := range []struct {
		opt  eventlog.FeedOption
		want []string
	}{
		{eventlog.Type[both]("both"), []string{"orders@1.1"}},
		{split, []string{"orders@1.0", "orders@1.0~1", "orders@1.1"}},
	} {
		log, err := eventlog.Open(ctx, opts)
		if err != nil {
			t.Fatal(err)
		}
		f, err := log.Feed(ctx, "orders", eventlog.Type[Placed]("placed"), c.opt)
		if err != nil {
			t.Fatal(err)
		}
		if len(c.want) == 1 {
			if _, err := f.Append(ctx, "ada", eventlog.ExpectNew, both{"tea", "milk"}, Placed{"jam"}); err != nil {
				t.Fatal(err)
			}
		}
		o, err := effect.New[mail](ctx, log, "mails", 1)
		if err != nil {
			t.Fatal(err)
		}
		effect.On(o, f, func(tx *effect.Tx[mail], _ eventlog.Event, _ Placed) error {
			tx.Want("", mail{})
			return nil
		})
		rt, err := (projection.Config{NoSnapshots: true}).Start(ctx, log, o)
		if err != nil {
			t.Fatal(err)
		}
		if got := namesOf(t, o); !slices.Equal(got, c.want) {
			t.Errorf("got %q, want %q", got, c.want)
		}
		ids := idsOf(t, o)
		if last := ids[len(ids)-1]; kept == "" {
			kept = last
		} else if last != kept {
			t.Errorf("the last one has the ID %q, and had %q", last, kept)
		}
		if err := errors.Join(rt.Close(), log.Close()); err != nil {
			t.Error(err)
		}
	}
}

// Changes of several keys by one commit have IDs of their own, whatever the
// keys are.
func TestIDsOfKeys(t *testing.T) {
	orders, err := eventlog.Offline("orders", eventlog.Type[Placed]("placed"))
	if err != nil {
		t.Fatal(err)
	}
	o, err := effect.Offline[mail]("mails", 0)
	if err != nil {
		t.Fatal(err)
	}
	shops, items := projection.NewTable[stock, int]("shops"), projection.NewTable[item, int]("items")
	numbers := projection.NewTable[uint8, int]("numbers")
	projection.On(shops, orders, func(tx *projection.Tx[stock, int], _ eventlog.Event, _ Placed) error {
		tx.Put(stock{"a b", "c"}, 1)
		tx.Put(stock{"a", "b c"}, 1)
		return nil
	})
	projection.On(items, orders, func(tx *projection.Tx[item, int], _ eventlog.Event, _ Placed) error {
		tx.Put("tea", 1)
		tx.Put("sha-1/2", 1)
		return nil
	})
	projection.On(numbers, orders, func(tx *projection.Tx[uint8, int], _ eventlog.Event, _ Placed) error {
		tx.Put(7, 1)
		return nil
	})
	onChange(o, shops)
	onChange(o, items)
	onChange(o, numbers)
	r, err := projection.Rehearse(shops, items, numbers, o)
	if err != nil {
		t.Fatal(err)
	}
	c, err := orders.Rehearse(eventlog.Draft{Key: "ada", Events: []any{Placed{}}}, 1, time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Apply(c); err != nil {
		t.Fatal(err)
	}
	ids := namesOf(t, o)
	if len(ids) != 5 {
		t.Errorf("got %q", ids)
	}
	for _, want := range []string{"orders@1/items/tea", "orders@1/numbers/7"} {
		if !slices.Contains(ids, want) {
			t.Errorf("%q isn't among %q", want, ids)
		}
	}
}

func onChange[K comparable](o *effect.Outbox[mail], t *projection.Table[K, int]) {
	effect.OnChange(o, t, func(tx *effect.Tx[mail], _ projection.Change[K, int]) error {
		tx.Want("", mail{})
		return nil
	})
}
