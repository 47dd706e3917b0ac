package projection_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
)

// T3.14, while it runs: the stream is deleted and created again under a
// projection, with a higher head than before. The projection stops, loudly, at
// what it had; nothing of the other log is mixed in, and what was saved is
// refused by the next start, which derives the new log's state.
func TestRecreatedWhileRunning(t *testing.T) {
	d := newDirBank(t)
	d.with(t, func(b *bank) {
		balances := b.balances()
		rt := b.start(t, often(5), balances)
		if err := rt.Wait(logtest.Context(t), b.fill(t, 30)); err != nil {
			t.Fatal(err)
		}
		was := map[string]int64{"k0": 10, "k1": 10, "k2": 10}
		equal(t, "before", balances, was)
		b.recreate(t, 3)
		// A wait for what only the new log has ends with the reason.
		err := rt.Wait(logtest.Context(t), eventlog.Position{Feed: "accounts", Seq: 90})
		if !errors.Is(err, eventlog.ErrLostTail) || !errors.Is(err, projection.ErrStopped) {
			t.Errorf("wait: %v", err)
		}
		if s := status(t, rt, "balances"); !errors.Is(s.Err, eventlog.ErrLostTail) {
			t.Errorf("status: %v", s.Err)
		}
		equal(t, "behind it", balances, was)
		if err := rt.Close(); err != nil {
			t.Logf("close: %v", err) // it may say that its last snapshot wasn't saved
		}
	})
	d.log(t, func(log *eventlog.Log) {
		if _, err := log.Feed(t.Context(), "accounts"); !errors.Is(err, eventlog.ErrRecreated) {
			t.Fatalf("opened: %v", err)
		}
		must(log.Feed(t.Context(), "accounts", eventlog.Recreate()))(t)
	})
	d.with(t, func(b *bank) {
		balances := b.balances()
		rt := b.start(t, projection.Config{}, balances)
		r := status(t, rt, "balances").Recovery
		if r.Source != projection.FromReplay || !strings.Contains(strings.Join(r.Skipped, "\n"), "created again") {
			t.Errorf("recovery %+v", r)
		}
		equal(t, "the new log", balances, map[string]int64{"k0": 30, "k1": 30, "k2": 30})
		if err := rt.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// recreate puts another stream in the place of the accounts', which holds what
// that one held, so many times.
func (b *bank) recreate(t *testing.T, times int) {
	t.Helper()
	ctx := logtest.Context(t)
	js := b.log.JetStream()
	old := must(js.Stream(ctx, b.accounts.Stream()))(t)
	cfg := old.CachedInfo().Config
	var held []*jetstream.RawStreamMsg
	for seq := uint64(1); seq <= old.CachedInfo().State.LastSeq; seq++ {
		held = append(held, must(old.GetMsg(ctx, seq))(t))
	}
	if err := js.DeleteStream(ctx, cfg.Name); err != nil {
		t.Fatal(err)
	}
	cfg.Metadata["tidemark-incarnation"] = "another"
	logtest.CreateStream(t, js, cfg)
	for range times {
		for _, m := range held {
			m.Header.Del(nats.MsgIdHdr)
			for name := range m.Header {
				if strings.HasPrefix(name, "Nats-Expected") {
					m.Header.Del(name)
				}
			}
			must(js.PublishMsg(ctx, &nats.Msg{Subject: m.Subject, Header: m.Header, Data: m.Data}))(t)
		}
	}
}
