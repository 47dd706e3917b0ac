package effect_test

import (
	"context"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/effect"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
)

// marks reads what the outcomes' feed has from a position on until a mark says
// that this version's effects are ended up to an order, and returns the types.
func (s *shop) marks(after, order uint64) (types []string) {
	s.t.Helper()
	for e, err := range s.mails.Outcomes().Read(logtest.Context(s.t), eventlog.Follow(), eventlog.After(after)) {
		if err != nil {
			s.t.Fatal(err)
		}
		types = append(types, e.Type)
		if e.Type != "marked" {
			continue
		}
		v, err := e.Value()
		if err != nil {
			s.t.Fatal(err)
		}
		if m := v.(effect.Marked); m.At["orders"] == order {
			return types
		}
	}
	return nil
}

// T2.17: another process has taken over, which shows by its mark. Run doesn't
// end by that: it has the lease again, takes in what the other one has
// recorded, and goes on.
func TestRunGoesOnBehindAnotherOne(t *testing.T) {
	s, p := openShop(t, logtest.Fresh(t), 1), newPost()
	s.run(p, effect.Options{MarkEvery: time.Millisecond})
	s.order("ada")
	s.marks(0, 1)
	for order := uint64(2); order < 4; order++ {
		at, err := s.mails.Outcomes().Append(logtest.Context(t), "marks", eventlog.ExpectAny, effect.Marked{Version: 1, At: map[string]uint64{"orders": order - 1}})
		if err != nil {
			t.Fatal(err)
		}
		s.order("bob")
		if types := s.marks(at.Seq, order); types[len(types)-1] != "marked" {
			t.Errorf("behind %d came %q", at.Seq, types)
		}
	}
	s.stop() // Run has gone on all the time
	wantList(t, "sent", p.ids(), "orders@1.0", "orders@2.0", "orders@3.0")
}

// When Run ends, what is being carried out is waited for, recorded, and counted
// in the last mark; what was interrupted isn't an attempt.
func TestEndWaitsForWhatIsUnderWay(t *testing.T) {
	s, p := openShop(t, logtest.Fresh(t), 1), newPost()
	under := make(chan context.Context)
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		ended <- s.mails.Run(ctx, func(ctx context.Context, e effect.Effect[mail]) error {
			under <- ctx
			<-ctx.Done()
			if e.Key == "bob" {
				return context.Cause(ctx)
			}
			return nil
		}, effect.Options{Backoff: time.Millisecond})
	}()
	s.order("ada", "bob")
	<-under
	<-under
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if types := s.marks(0, 1); len(types) < 2 || types[len(types)-2] != "done" {
		t.Errorf("the outcomes are %q", types)
	}
	s.run(p, effect.Options{Attempts: 1})
	wantList(t, "outcomes", s.outcomes(2), "orders@1.0 done", "orders@2.0 done")
	wantList(t, "sent", p.ids(), "orders@2.0")
}
