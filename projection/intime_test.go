package projection_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/bubble"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/lease"
	"github.com/tidemark-es/tidemark/projection"
)

// quietly is a bank in fake time, and a store that tells what is saved.
func quietly(t *testing.T) (*bank, *trickyStore) {
	t.Helper()
	b := openBank(t, eventlog.Options{App: "app", Memory: true})
	return b, newTrickyStore(t, b)
}

// deposits appends n deposits of 1, and waits until rt has applied them.
func (b *bank) deposits(t *testing.T, rt *projection.Runtime, n int) {
	t.Helper()
	drafts := make([]any, n)
	for i := range drafts {
		drafts[i] = deposited{1}
	}
	for chunk := range slices.Chunk(drafts, 100) {
		if err := rt.Wait(logtest.Context(t), b.append(t, "k", chunk...)); err != nil {
			t.Fatal(err)
		}
	}
}

// R0.13: the zero policy saves after 1,000 events, not after 999.
func TestDefaultPolicy(t *testing.T) {
	bubble.Run(t, func(t *testing.T) {
		b, s := quietly(t)
		rt := b.start(t, projection.Config{Store: s}, b.balances())
		bubble.Pass(time.Minute) // so that MinInterval is over
		b.deposits(t, rt, 999)
		bubble.Pass(time.Minute)
		if n := len(s.cuts()); n != 0 {
			t.Errorf("%d saves after 999 events", n)
		}
		b.deposits(t, rt, 1)
		bubble.Pass(time.Minute)
		if n := len(s.cuts()); n != 1 {
			t.Errorf("%d saves after 1,000 events", n)
		}
	})
}

// R0.13: between two saves is MinInterval at least, however much comes; what
// waits for its end is saved then, though nothing more comes.
func TestMinInterval(t *testing.T) {
	bubble.Run(t, func(t *testing.T) {
		b, s := quietly(t)
		cfg := projection.Config{Store: s, Snapshots: projection.Policy{Events: 1, MinInterval: time.Minute}}
		rt := b.start(t, cfg, b.balances())
		for minute := range 3 {
			for range 5 {
				b.deposits(t, rt, 1)
				bubble.Pass(10 * time.Second)
			}
			if n := len(s.cuts()); n != minute {
				t.Errorf("%d saves before the end of minute %d", n, minute+1)
			}
			bubble.Pass(10*time.Second + 100*time.Millisecond)
			if n := len(s.cuts()); n != minute+1 {
				t.Errorf("%d saves after minute %d", n, minute+1)
			}
		}
	})
}

// R2.23: a store that refuses is asked again, ever more seldom, up to once a
// minute, and soon again once it has taken a save.
func TestFailedSavesBackOff(t *testing.T) {
	bubble.Run(t, func(t *testing.T) {
		b, s := quietly(t)
		s.mu.Lock()
		s.fail = slices.Repeat([]error{errors.New("no")}, 10_000)
		s.mu.Unlock()
		cfg := projection.Config{Store: s, Snapshots: projection.Policy{Events: 1, MinInterval: time.Second}}
		rt := b.start(t, cfg, b.balances())
		b.deposits(t, rt, 1)
		var within []int // saves so far, after each minute
		for range 10 {
			bubble.Pass(time.Minute)
			within = append(within, len(s.cuts()))
		}
		if within[0] < 5 || within[0] > 6 || within[9]-within[4] != 5 { // 1, 3, 7, 15, 31 s, 63 s, then each minute
			t.Errorf("tries after each minute: %v", within)
		}
		s.mu.Lock()
		s.fail = nil
		s.mu.Unlock()
		bubble.Pass(time.Minute)
		n := len(s.cuts())
		b.deposits(t, rt, 1)
		bubble.Pass(2 * time.Second)
		if got := len(s.cuts()); got != n+1 {
			t.Errorf("%d saves within 2 s of an event, after one that succeeded", got-n)
		}
	})
}

// R1.18, R2.8: a log that is smaller than the policy's size is left as it is,
// and only the process that saves a unit compacts, not one that follows.
func TestWhoCompactsBySize(t *testing.T) {
	bubble.Run(t, func(t *testing.T) {
		b, _ := quietly(t)
		process := func(owner string, limit uint64) *projection.Runtime {
			leases := must(lease.New(lease.Options{App: "app", JetStream: must(jetstream.New(b.log.Conn()))(t), Owner: owner, Memory: true}))(t)
			return b.start(t, projection.Config{
				Leases: leases, Snapshots: projection.Policy{Events: 10, MinInterval: time.Second},
				Compaction: projection.CompactPolicy{Bytes: limit, Every: 10 * time.Second},
			}, b.balances())
		}
		owner := process("owner", 1<<40)
		bubble.Pass(time.Minute)
		follower := process("follower", 1)
		for range 5 {
			b.deposits(t, owner, 20)
			b.deposits(t, follower, 20)
			bubble.Pass(30 * time.Second)
		}
		if o, f := owner.Metrics()[0].Snapshots, follower.Metrics()[0].Snapshots; !o.Owner || o.Saves == 0 || f.Owner {
			t.Fatalf("owner %+v, follower %+v", o, f)
		}
		if first := b.first(t); first != 1 {
			t.Fatalf("begins at %d, though its owner lets it grow", first)
		}
		if err := owner.Close(); err != nil {
			t.Fatal(err)
		}
		b.deposits(t, follower, 20)
		bubble.Pass(2 * time.Minute)
		if f := follower.Metrics()[0].Snapshots; !f.Owner || b.first(t) == 1 {
			t.Errorf("begins at %d: what took over doesn't compact: %+v", b.first(t), f)
		}
	})
}
