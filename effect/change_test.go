package effect_test

import (
	"testing"

	"github.com/tidemark-es/tidemark/effect"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
)

// An effect of the state, not of an event: the third order of a customer.
func TestEffectOfAChange(t *testing.T) {
	log := logtest.Fresh(t)
	ctx := logtest.Context(t)
	s := &shop{t: t, ended: make(chan error, 1)}
	var err error
	if s.orders, err = log.Feed(ctx, "orders", eventlog.Type[Placed]("placed")); err != nil {
		t.Fatal(err)
	}
	counts := projection.NewTable[string, int]("counts")
	projection.On(counts, s.orders, func(tx *projection.Tx[string, int], e eventlog.Event, d Placed) error {
		tx.Put(e.Key, tx.Value(e.Key)+1)
		return nil
	})
	if s.mails, err = effect.New[mail](ctx, log, "mails", 1); err != nil {
		t.Fatal(err)
	}
	effect.OnChange(s.mails, counts, func(tx *effect.Tx[mail], c projection.Change[string, int]) error {
		if c.New == 3 {
			tx.Want("voucher", mail{To: c.Key, Text: "a voucher"})
		}
		return nil
	})
	if s.rt, err = (projection.Config{NoSnapshots: true}).Start(ctx, log, counts, s.mails); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	p := newPost()
	s.run(p, effect.Options{})
	s.order("ada", "bob", "ada", "ada", "ada")
	wantList(t, "outcomes", s.outcomes(1), "orders@4/counts/ada/voucher done")
	wantList(t, "sent", p.ids(), "orders@4/counts/ada/voucher")
}
