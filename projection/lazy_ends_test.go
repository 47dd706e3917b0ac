package projection_test

import (
	"errors"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
	"github.com/tidemark-es/tidemark/timeframe"
)

// R2.32: who needs a lazy table while it is saved to be let go gets it when it
// is back, and not the rows that go.
func TestLazyNeededWhileItEnds(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	b.append(t, "a", deposited{5})
	s := newTrickyStore(t, b)
	s.hold = make(chan struct{})
	lazy := b.balances(projection.Lazy(time.Millisecond))
	rt := b.start(t, projection.Config{Store: s}, lazy)
	must(rt.Need(ctx, lazy))(t)()
	s.awaitHeld(t) // nobody needs it: it is saved before it goes
	needed := make(chan error, 1)
	var release func()
	go func() {
		var err error
		release, err = rt.Need(ctx, lazy)
		needed <- err
	}()
	early := false
	select {
	case err := <-needed:
		early = true
		t.Errorf("needed while its rows are about to go: %v", err)
	case <-time.After(50 * time.Millisecond): // that it waits can't be seen
	}
	close(s.hold)
	if !early {
		if err := <-needed; err != nil {
			t.Fatal(err)
		}
	}
	defer release()
	equal(t, "needed", lazy, map[string]int64{"a": 5})
	if s := status(t, rt, "balances"); s.State != projection.Live || s.Recovery.Source != projection.FromSnapshot {
		t.Errorf("%+v", s)
	}
}

// R2.32: what command asks of a table, its state at a position, is a need too.
func TestLazyDecidedOn(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	at := b.append(t, "a", deposited{5})
	lazy := b.balances(projection.Lazy(0))
	b.start(t, projection.Config{}, lazy)
	for {
		v, ok, seq, err := lazy.GetAt("a", "accounts")
		if err != nil || (ok && v != 5) || ok != (seq > 0) {
			t.Fatal(v, ok, seq, err)
		}
		if ok {
			break
		}
		if ctx.Err() != nil {
			t.Fatal("GetAt doesn't wake it")
		}
	}
	other := b.notes(projection.Lazy(0))
	b.start(t, projection.Config{}, other)
	if err := other.WaitFor(ctx, at); err != nil {
		t.Errorf("a wait for what is dormant: %v", err)
	}
	equal(t, "waited for", other, map[string]int{"a": 1000})
}

// Lazy tables that nothing runs, those of AsOf and of a Rehearsal, are there to
// be read.
func TestLazyOfThePast(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	at := b.append(t, "a", deposited{5})
	past := b.balances(projection.Lazy(0))
	tf := must(timeframe.FromMap(map[string]uint64{"accounts": at.Seq}))(t)
	must(projection.AsOf(ctx, b.log, tf, past))(t)
	tried := b.balances(projection.Lazy(0))
	r := must(projection.Rehearse(tried))(t)
	c, err := b.accounts.Rehearse(eventlog.Draft{Key: "a", Events: []any{deposited{5}}}, 1, time.Now())
	must(r.Apply(c))(t)
	for what, table := range map[string]*projection.Table[string, int64]{"past": past, "tried": tried} {
		var v int64
		viewed := projection.View(func(s *projection.Snapshot) error {
			v = table.In(s).Value("a")
			return nil
		}, table)
		if err := errors.Join(err, viewed); err != nil || v != 5 {
			t.Errorf("%s: %d, %v", what, v, err)
		}
	}
}
