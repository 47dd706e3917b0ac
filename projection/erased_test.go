package projection_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
)

// runBalances starts the bank's balances over a log that is opened again, and
// stops them, with a save.
func runBalances(t *testing.T, o eventlog.Options, want map[string]int64, opts ...projection.TableOption) projection.Status {
	t.Helper()
	log := must(eventlog.Open(t.Context(), o))(t)
	defer log.Close()
	b := bankOf(t, log)
	balances := b.balances(opts...)
	rt := must(projection.Start(t.Context(), log, balances))(t)
	s := status(t, rt, "balances")
	if err := rt.Healthy(t.Context()); err != nil {
		t.Errorf("healthy: %v", err)
	}
	if err := errors.Join(log.Healthy(t.Context()), rt.Close()); err != nil {
		t.Errorf("healthy: %v", err)
	}
	equal(t, "balances", balances, want)
	return s
}

// withBank does something to a log that nothing else has open.
func withBank(t *testing.T, o eventlog.Options, do func(b *bank)) {
	t.Helper()
	log := must(eventlog.Open(t.Context(), o))(t)
	defer log.Close()
	do(bankOf(t, log))
}

// A key is erased whose last commit is where a snapshot stands: the snapshot is
// still proved, by what the register has of it, also where the erased commits
// were the log's beginning. A projection that is built anew comes to a state
// without the key, past the gap.
func TestErasedUnderSnapshots(t *testing.T) {
	for name, first := range map[string]string{"inside": "ada", "at the beginning": "bob"} {
		t.Run(name, func(t *testing.T) {
			o := logtest.Options(t)
			withBank(t, o, func(b *bank) {
				b.append(t, first, deposited{1})
				b.append(t, "ada", deposited{10})
				b.append(t, "bob", deposited{5})
			})
			want := map[string]int64{"ada": 10, "bob": 5}
			want[first]++
			runBalances(t, o, want)
			withBank(t, o, func(b *bank) {
				b.append(t, "ada", deposited{100})
				if n, err := b.accounts.Erase(t.Context(), eventlog.Note{Reason: "Art. 17"}, "bob", 0); err != nil || n == 0 {
					t.Fatalf("%d, %v", n, err)
				}
			})
			want["ada"] += 100
			if s := runBalances(t, o, want); s.Recovery.Source != projection.FromSnapshot || s.Recovery.From.String() != "accounts=3" || len(s.Recovery.Skipped)+len(s.Recovery.Notes) > 0 {
				t.Errorf("%+v", s.Recovery)
			}
			delete(want, "bob")
			if s := runBalances(t, o, want, projection.Version(2)); s.Recovery.Source != projection.FromReplay {
				t.Errorf("%+v", s.Recovery)
			}
		})
	}
}

// A key is purged by hand: its events stay in what was derived, health says at
// once that they are missing, what is built anew stops there, and goes past them
// once they are registered.
func TestPurgedByHandUnderProjections(t *testing.T) {
	o := logtest.Options(t)
	withBank(t, o, func(b *bank) {
		b.append(t, "ada", deposited{1})
		b.append(t, "bob", deposited{5})
		b.append(t, "ada", deposited{10})
	})
	runBalances(t, o, map[string]int64{"ada": 11, "bob": 5})
	withBank(t, o, func(b *bank) {
		s := must(b.log.JetStream().Stream(t.Context(), b.accounts.Stream()))(t)
		if err := s.Purge(t.Context(), jetstream.WithPurgeSubject(b.log.App()+".accounts.bob")); err != nil {
			t.Fatal(err)
		}
		if err := b.log.Healthy(t.Context()); !errors.Is(err, eventlog.ErrGap) || !strings.Contains(err.Error(), "AcceptGap") {
			t.Errorf("healthy: %v", err)
		}
		anew := b.balances(projection.Version(2))
		rt := b.start(t, projection.Config{}, anew)
		if err := anew.Err(); !errors.Is(err, eventlog.ErrGap) || !strings.Contains(err.Error(), "AcceptGap") {
			t.Errorf("built anew: %v", err)
		}
		_ = rt.Close()
		if n, err := b.accounts.AcceptGap(t.Context(), eventlog.Note{Reason: "purged by hand"}, 0, 0); n != 1 || err != nil {
			t.Errorf("accepted %d, %v", n, err)
		}
	})
	if s := runBalances(t, o, map[string]int64{"ada": 11, "bob": 5}); s.Recovery.Source != projection.FromSnapshot {
		t.Errorf("%+v", s.Recovery)
	}
	runBalances(t, o, map[string]int64{"ada": 11}, projection.Version(2))
}
