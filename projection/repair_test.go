package projection_test

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/lease"
	"github.com/tidemark-es/tidemark/projection"
	"github.com/tidemark-es/tidemark/snapshot"
)

// follows is a process that applies, and saves nothing: it hasn't the lease.
func follows(told func(*projection.DivergedError)) projection.Config {
	c := projection.Config{Snapshots: projection.Policy{Events: 1, MinInterval: time.Millisecond, NotOnClose: true}}
	c.CompareEvery, c.Diverged = 10*time.Millisecond, told
	return c
}

// Two processes come to different states. Both Healthy and the log of the one
// that finds it say so. With the mended program the state is derived from the
// log anew, by Config.Replay, while nobody else runs the unit: after that all
// processes have the state of a plain fold, from a snapshot, and nothing is
// reported any more.
func TestRepairOfADivergedState(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	wrong := b.start(t, often(1), b.daybooks(1)) // the release that isn't deterministic
	for i := range 5 {
		b.append(t, "ada", deposited{int64(i)})
		awaitStatus(t, wrong, "saved", func(s projection.SnapshotStatus) bool { return s.Saves > uint64(i) })
	}
	told := make(chan *projection.DivergedError, 100)
	cfg, lines := logged(follows(func(d *projection.DivergedError) { told <- d }))
	cfg.NoSnapshots = false
	empty := newTrickyStore(t, b) // it replays, and compares with what is stored then
	cfg.Store = &firstReplays{Store: empty}
	right := b.start(t, cfg, b.daybooks(0))
	if err := right.CompareSnapshots(ctx); !errors.Is(err, projection.ErrDiverged) {
		t.Fatal(err)
	}
	err := awaitHealth(t, right, projection.ErrDiverged)
	d, _ := errors.AsType[*projection.DivergedError](err)
	if got := <-told; got.Snapshot.IsZero() || d == nil {
		t.Errorf("told %v, healthy %v", got, err)
	}
	if n := lines.Count(`"level":"error"`, "projection: diverged", "daybooks"); n == 0 {
		t.Errorf("not logged:\n%s", lines)
	}
	if err := errors.Join(wrong.Close(), right.Close()); err != nil {
		t.Fatal(err)
	}

	repair := projection.Config{Replay: []string{"daybooks"}}
	table := b.daybooks(0)
	rt := must(repair.Start(ctx, b.log, table))(t)
	if r := status(t, rt, "daybooks").Recovery; r.Source != projection.FromReplay || r.Replayed != 5 {
		t.Errorf("recovery %+v", r)
	}
	_, want, err := rt.Digest(ctx, "daybooks")
	if err != nil {
		t.Fatal(err)
	}
	if err := rt.Close(); err != nil { // saves
		t.Fatal(err)
	}
	store := must(snapshot.Open(ctx, snapshot.Options{App: b.log.App(), JetStream: b.log.JetStream()}))(t)
	found := must(store.Candidates(ctx, "daybooks"))(t)
	for _, c := range found {
		if m, ok := c.Manifest.Member("daybooks"); !ok || !bytes.Equal(m.Digest, want.Bytes()) {
			t.Errorf("an older snapshot is left: %s", c.ID)
		}
	}
	if len(found) != 1 {
		t.Errorf("%d snapshots are left", len(found))
	}

	cfg, lines = logged(follows(func(d *projection.DivergedError) { t.Errorf("told %v", d) }))
	for range 2 {
		rt := b.start(t, cfg, b.daybooks(0))
		if r := status(t, rt, "daybooks").Recovery; r.Source != projection.FromSnapshot || r.Replayed != 0 {
			t.Errorf("after the repair: %+v", r)
		}
		if _, got, err := rt.Digest(ctx, "daybooks"); err != nil || got != want {
			t.Errorf("digest %s, want %s: %v", got, want, err)
		}
		if err := errors.Join(rt.CompareSnapshots(ctx), rt.Healthy(ctx)); err != nil {
			t.Error(err)
		}
	}
	if n := lines.Count("diverged"); n > 0 {
		t.Errorf("told after the repair:\n%s", lines)
	}
}

// firstReplays finds no snapshots while its runtime starts, so that it replays.
type firstReplays struct {
	projection.Store
	asked bool
}

func (s *firstReplays) Candidates(ctx context.Context, unit string) ([]snapshot.Candidate, error) {
	if !s.asked {
		s.asked = true
		return nil, nil
	}
	return s.Store.Candidates(ctx, unit)
}

// A log that was trimmed can't be replayed: nothing is removed then, and the
// next start has its snapshot.
func TestReplayOfATrimmedLogRemovesNothing(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	rt := b.start(t, often(1), b.balances())
	var at eventlog.Position
	for range 6 {
		at = b.append(t, "ada", deposited{1})
	}
	if err := rt.Wait(ctx, at); err != nil {
		t.Fatal(err)
	}
	if err := rt.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.accounts.Trim(ctx, at.Seq); err != nil {
		t.Fatal(err)
	}
	if _, err := (projection.Config{Replay: []string{"balances"}}).Start(ctx, b.log, b.balances()); !errors.Is(err, eventlog.ErrTrimmed) {
		t.Fatalf("replayed: %v", err)
	}
	table := b.balances()
	rt = b.start(t, projection.Config{}, table)
	if r := status(t, rt, "balances").Recovery; r.Source != projection.FromSnapshot {
		t.Errorf("recovery %+v", r)
	}
	equal(t, "restored", table, map[string]int64{"ada": 6})
}

// A name that is no unit's, and a store that removes nothing, are refused.
func TestReplayInvalid(t *testing.T) {
	b := openBank(t, inMemory(t))
	ctx := logtest.Context(t)
	if _, err := (projection.Config{Replay: []string{"other"}}).Start(ctx, b.log, b.balances()); !errors.Is(err, projection.ErrInvalid) {
		t.Errorf("unknown: %v", err)
	}
	cfg := projection.Config{Replay: []string{"balances"}, Store: &firstReplays{Store: newTrickyStore(t, b)}}
	cfg.Leases = must(lease.New(lease.Options{App: b.log.App(), JetStream: b.log.JetStream()}))(t)
	if _, err := cfg.Start(ctx, b.log, b.balances()); !errors.Is(err, projection.ErrInvalid) {
		t.Errorf("a store without Delete: %v", err)
	}
}
