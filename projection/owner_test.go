package projection_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/lease"
	"github.com/tidemark-es/tidemark/projection"
	"github.com/tidemark-es/tidemark/snapshot"
)

// reachable is a bank whose server takes further connections.
func reachable(t *testing.T) (*bank, func() *nats.Conn) {
	t.Helper()
	o := logtest.Options(t)
	if o.URL == "" {
		o.Listen = "127.0.0.1:-1"
	}
	b := openBank(t, o)
	return b, func() *nats.Conn {
		url := b.log.ClientURL()
		if url == "" {
			url = o.URL
		}
		nc := must(nats.Connect(url))(t)
		t.Cleanup(nc.Close)
		return nc
	}
}

// peer is a configuration as of a process of its own, saving often, with
// leases on a connection that can be cut.
func peer(t *testing.T, b *bank, nc *nats.Conn, ttl time.Duration) (projection.Config, *trickyStore) {
	t.Helper()
	cfg := often(1)
	s := newTrickyStore(t, b)
	cfg.Store = s
	cfg.Leases = must(lease.New(lease.Options{
		App: b.log.App(), JetStream: must(jetstream.New(nc))(t), TTL: ttl, Owner: fmt.Sprintf("peer %p", s),
	}))(t)
	return cfg, s
}

// Claim is the wrapped store's.
func (s *trickyStore) Claim(ctx context.Context, unit string, epoch uint64) error {
	return s.Store.(*snapshot.Store).Claim(ctx, unit, epoch)
}

func awaitStatus(t *testing.T, rt *projection.Runtime, what string, ok func(projection.SnapshotStatus) bool) {
	t.Helper()
	deadline := time.After(patience)
	for {
		s := rt.Metrics()[0].Snapshots
		if ok(s) {
			return
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-deadline:
			t.Fatalf("%s: %+v", what, s)
		}
	}
}

func isOwner(s projection.SnapshotStatus) bool { return s.Owner }

// R2.8: of two processes that run a unit, one saves, and the other follows and
// serves. When the owner ends, the other one goes on from its last snapshot,
// which is of the very state, and what is restored is right.
func TestOwnerAndFollower(t *testing.T) {
	ctx := logtest.Context(t)
	b, dial := reachable(t)
	cfg1, s1 := peer(t, b, dial(), 5*time.Second)
	cfg2, s2 := peer(t, b, dial(), 5*time.Second)
	one, two := b.balances(), b.balances()
	rt1 := b.start(t, cfg1, one)
	awaitStatus(t, rt1, "the first one owns", isOwner)
	b.append(t, "gone", deposited{1})
	s1.await(t, 1)
	rt2 := b.start(t, cfg2, two) // restores a row that it will delete without saving that
	want := map[string]int64{}
	for i := range int64(50) {
		key := string(rune('a' + i%7))
		want[key] += i
		at := b.append(t, key, deposited{i})
		if err := errors.Join(rt1.Wait(ctx, at), rt2.Wait(ctx, at)); err != nil {
			t.Fatal(err)
		}
	}
	at := b.append(t, "gone", closed{})
	if err := errors.Join(rt1.Wait(ctx, at), rt2.Wait(ctx, at)); err != nil {
		t.Fatal(err)
	}
	equal(t, "the follower", two, want)
	awaitStatus(t, rt2, "the follower knows whose it is", func(s projection.SnapshotStatus) bool { return s.Holder != "" && !s.Owner && s.Failures == 0 })
	if len(s2.cuts()) != 0 || len(s1.cuts()) == 0 {
		t.Errorf("saves: %d by the owner, %d by the follower", len(s1.cuts()), len(s2.cuts()))
	}
	epoch := rt1.Metrics()[0].Snapshots.Epoch
	if err := rt1.Close(); err != nil {
		t.Fatal(err)
	}
	awaitStatus(t, rt2, "the follower takes over", func(s projection.SnapshotStatus) bool {
		return s.Owner && s.Epoch > epoch && s.At.String() == "accounts=52"
	})
	if n := rt2.Metrics()[0].Snapshots.Saves; n != 0 {
		t.Errorf("%d saves of a state that is stored", n)
	}
	b.append(t, "z", deposited{1})
	want["z"] = 1
	if err := rt2.Wait(ctx, b.append(t, "z", deposited{1})); err != nil {
		t.Fatal(err)
	}
	want["z"]++
	if err := rt2.Close(); err != nil {
		t.Fatal(err)
	}
	three := b.balances()
	rt := b.start(t, projection.Config{}, three)
	equal(t, "restored", three, want)
	if r := status(t, rt, "balances").Recovery; r.Source != projection.FromSnapshot || r.Replayed != 0 {
		t.Errorf("recovery %+v", r)
	}
}

// T2.14: an owner that is held up in the middle of a save, for longer than its
// lease, is refused when it goes on, though the next one hasn't saved since;
// it follows then, and takes over again when that one is gone.
func TestPausedOwnerIsRefused(t *testing.T) {
	ctx := logtest.Context(t)
	b, dial := reachable(t)
	nc := dial()
	cfg1, s1 := peer(t, b, nc, 300*time.Millisecond)
	cfg2, s2 := peer(t, b, dial(), 5*time.Second)
	one, two := b.balances(), b.balances()
	rt1 := b.start(t, cfg1, one)
	awaitStatus(t, rt1, "the first one owns", isOwner)
	b.append(t, "ada", deposited{1})
	s1.await(t, 1)
	s1.mu.Lock()
	s1.hold = make(chan struct{})
	s1.mu.Unlock()
	at := b.append(t, "ada", deposited{2})
	if err := rt1.Wait(ctx, at); err != nil {
		t.Fatal(err)
	}
	s1.awaitHeld(t)
	nc.Close() // what a pause is to the lease
	cfg2.Snapshots = projection.Policy{Events: 1 << 40}
	rt2 := b.start(t, cfg2, two)
	awaitStatus(t, rt2, "the second one takes over", isOwner)
	close(s1.hold)
	awaitStatus(t, rt1, "the first one is refused", func(s projection.SnapshotStatus) bool { return s.Failures > 0 && !s.Owner })
	if e := rt1.Metrics()[0].Snapshots.LastError; len(s2.cuts()) != 0 || !strings.Contains(e, snapshot.ErrFenced.Error()) {
		t.Errorf("%d saves by the second, refused with %q", len(s2.cuts()), e)
	}
	at = b.append(t, "ada", deposited{4})
	if err := errors.Join(rt1.Wait(ctx, at), rt2.Wait(ctx, at)); err != nil {
		t.Fatal(err)
	}
	equal(t, "the first one", one, map[string]int64{"ada": 7})
	if err := errors.Join(rt1.Close(), rt2.Close()); err != nil {
		t.Fatal(err)
	}
	three := b.balances()
	rt := b.start(t, projection.Config{}, three)
	equal(t, "restored", three, map[string]int64{"ada": 7})
	if r := status(t, rt, "balances").Recovery; r.Source != projection.FromSnapshot || r.Replayed != 0 {
		t.Errorf("recovery %+v", r)
	}
}

// The bucket of leases is lost, so that epochs begin anew: the next owner's
// are above what the snapshots have seen all the same, and it saves.
func TestLeasesLost(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	for range 3 {
		saved(t, b, 3)
	}
	if err := b.log.JetStream().DeleteKeyValue(ctx, b.log.App()+"_leases"); err != nil {
		t.Fatal(err)
	}
	at := saved(t, b, 3)
	rt := b.start(t, projection.Config{}, b.balances(projection.Version(1)))
	s := status(t, rt, "balances")
	if from, _ := s.Recovery.From.Get("accounts"); from != at.Seq || s.Recovery.Replayed != 0 {
		t.Errorf("recovery %+v", s.Recovery)
	}
	awaitStatus(t, rt, "epochs go on", func(s projection.SnapshotStatus) bool { return s.Owner && s.Epoch == 5 })
}

// unclaimable is a store that doesn't let a new owner write.
type unclaimable struct {
	projection.Store
	claims atomic.Int64
}

func (s *unclaimable) Claim(context.Context, string, uint64) error {
	s.claims.Add(1)
	return errors.New("no permission")
}

// An owner that can't claim the head tries again in its own time, and not
// without a pause; what it follows goes on.
func TestClaimFails(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	s := &unclaimable{Store: newTrickyStore(t, b)}
	cfg := projection.Config{Store: s}
	cfg.Leases = must(lease.New(lease.Options{App: b.log.App(), JetStream: b.log.JetStream(), TTL: time.Hour}))(t)
	balances := b.balances()
	rt := b.start(t, cfg, balances)
	awaitStatus(t, rt, "refused", func(s projection.SnapshotStatus) bool { return s.Holder == "no permission" })
	for range 100 {
		if err := rt.Wait(ctx, b.append(t, "a", deposited{1})); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.claims.Load(); n != 1 {
		t.Errorf("%d claims within a heartbeat", n)
	}
	equal(t, "followed", balances, map[string]int64{"a": 100})
}
