package projection_test

import (
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
)

// A log that ends in markers of tags: projections reach its head, are caught
// up there, and start again from there.
func TestLogEndsInMarkers(t *testing.T) {
	ctx := logtest.Context(t)
	o := logtest.Options(t)
	tagged := func(b *bank) (head eventlog.Position) {
		_, err := b.accounts.AppendDraft(ctx, eventlog.Draft{Key: "ada", Tags: []string{"red", "blue"}, Events: []any{deposited{1}}})
		if err != nil {
			t.Fatal(err)
		}
		return eventlog.Position{Feed: "accounts", Seq: must(b.accounts.State(ctx))(t).Last}
	}
	func() {
		log := must(eventlog.Open(ctx, o))(t)
		defer log.Close()
		b := bankOf(t, log)
		tagged(b) // before the start: catching up ends at a marker
		balances := b.balances()
		rt := must(often(1).Start(ctx, log, balances))(t)
		if err := rt.Ready(ctx, 0); err != nil {
			t.Error(err)
		}
		for range 3 { // while following
			if err := rt.Wait(ctx, tagged(b)); err != nil {
				t.Fatal(err)
			}
			if err := rt.Ready(ctx, 0); err != nil {
				t.Error(err)
			}
		}
		if err := rt.Close(); err != nil {
			t.Fatal(err)
		}
	}()
	for _, below := range []uint64{0, 10, 11} { // of 12: from its last commit, and its last markers alone
		func() {
			log := must(eventlog.Open(ctx, o))(t)
			defer log.Close()
			b := bankOf(t, log)
			if below > 0 {
				s := must(log.JetStream().Stream(ctx, b.accounts.Stream()))(t)
				if err := s.Purge(ctx, jetstream.WithPurgeSequence(below)); err != nil {
					t.Fatal(err)
				}
			}
			balances := b.balances()
			rt := must(projection.Start(ctx, log, balances))(t)
			defer rt.Close()
			s := status(t, rt, "balances")
			if r := s.Recovery; r.Source != projection.FromSnapshot || len(r.Skipped) > 0 || r.Replayed != 0 {
				t.Errorf("below %d: %+v", below, r)
			}
			if s.At.String() != "accounts=12" || s.Lag["accounts"] != 0 || s.State != projection.Live {
				t.Errorf("below %d: %+v", below, s)
			}
			equal(t, "restored", balances, map[string]int64{"ada": 4})
		}()
	}
}
