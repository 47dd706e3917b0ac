package projection_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
	"github.com/tidemark-es/tidemark/snapshot"
)

// trickyStore is the real store with failures on demand.
type trickyStore struct {
	projection.Store
	mu    sync.Mutex
	fail  []error // of the next saves
	saves []snapshot.Cut
	saved chan struct{} // capacity enough
	hold  chan struct{} // where set, a save waits for it
	held  chan struct{} // has an entry when one does; capacity 1
}

func newTrickyStore(t *testing.T, b *bank) *trickyStore {
	t.Helper()
	s := must(snapshot.Open(t.Context(), snapshot.Options{App: b.log.App(), JetStream: b.log.JetStream()}))(t)
	return &trickyStore{Store: s, saved: make(chan struct{}, 1000), held: make(chan struct{}, 1)}
}

func (s *trickyStore) Save(ctx context.Context, unit string, base *snapshot.Manifest, cut snapshot.Cut) (*snapshot.Manifest, error) {
	s.mu.Lock()
	hold := s.hold
	s.mu.Unlock()
	if hold != nil {
		select {
		case s.held <- struct{}{}:
		default:
		}
		<-hold
	}
	s.mu.Lock()
	s.saves = append(s.saves, cut)
	var err error
	if len(s.fail) > 0 {
		err, s.fail = s.fail[0], s.fail[1:]
	}
	s.mu.Unlock()
	defer func() { s.saved <- struct{}{} }()
	if err != nil {
		return nil, err
	}
	return s.Store.Save(ctx, unit, base, cut)
}

func (s *trickyStore) await(t *testing.T, n int) {
	t.Helper()
	for range n {
		select {
		case <-s.saved:
		case <-time.After(patience):
			t.Fatal("no save")
		}
	}
}

// awaitHeld waits until a save waits for hold.
func (s *trickyStore) awaitHeld(t *testing.T) {
	t.Helper()
	select {
	case <-s.held:
	case <-time.After(patience):
		t.Fatal("no save was held")
	}
}

// T1.6: a save that fails loses nothing: the next one has its changes too,
// deletions included. The table is so large that its changes aren't all of it:
// then they would be saved as a whole, whatever had failed.
func TestSaveFailsOnce(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	want := map[string]int64{"ada": 3}
	for i := range 50 {
		key := fmt.Sprint("k", i)
		b.append(t, key, deposited{1})
		want[key] = 1
	}
	b.append(t, "gone", deposited{1})
	b.append(t, "ada", deposited{1})
	s := newTrickyStore(t, b)
	s.fail = []error{nil, errors.New("no"), errors.New("no")}
	cfg := often(1)
	cfg.Store, cfg.Snapshots.NotOnClose = s, true
	rt := must(cfg.Start(ctx, b.log, b.balances()))(t)
	s.await(t, 1)
	b.append(t, "gone", closed{})
	s.await(t, 1)
	if err := rt.Wait(ctx, b.append(t, "ada", deposited{2})); err != nil {
		t.Fatal(err)
	}
	awaitStatus(t, rt, "saved after all", func(s projection.SnapshotStatus) bool { return s.At.String() == "accounts=54" })
	if st := status(t, rt, "balances").Snapshots; st.Failures != 2 || st.LastError != "" {
		t.Errorf("failures aren't told: %+v", st)
	}
	if err := rt.Close(); err != nil {
		t.Fatal(err)
	}
	deleted := false
	for _, c := range s.cuts()[3:] { // behind those that failed
		for _, ch := range c.Members[0].Changes {
			deleted = deleted || ch.Deleted
		}
		if c.Members[0].Reset {
			t.Error("saved whole: this test shows nothing")
		}
	}
	if !deleted {
		t.Error("the deletion that wasn't stored isn't in any later save")
	}
	balances := b.balances()
	rt = b.start(t, projection.Config{}, balances)
	if r := status(t, rt, "balances").Recovery; r.Source != projection.FromSnapshot || r.Replayed != 0 {
		t.Errorf("recovery %+v", r)
	}
	equal(t, "restored", balances, want)
}

// R0.18: after the first one, a save holds the changed keys alone; and none
// is made where nothing came.
func TestSavesAreIncremental(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	for i := range 100 {
		b.append(t, string(rune('a'+i%26))+string(rune('a'+i/26)), deposited{1})
	}
	s := newTrickyStore(t, b)
	cfg := projection.Config{Store: s, Snapshots: projection.Policy{Events: 1 << 40}}
	for run, want := range []int{100, 1, 0} {
		rt := must(cfg.Start(ctx, b.log, b.balances()))(t)
		if run == 1 {
			if err := rt.Wait(ctx, b.append(t, "aa", deposited{1})); err != nil {
				t.Fatal(err)
			}
		}
		if err := rt.Close(); err != nil {
			t.Fatal(err)
		}
		got := 0
		for _, c := range s.saves {
			got += len(c.Members[0].Changes)
		}
		if got != want || (run == 2) != (len(s.saves) == 0) {
			t.Errorf("run %d: %d changes in %d saves, want %d", run, got, len(s.saves), want)
		}
		s.saves = nil
	}
}

// R0.17: a store that is slow or stuck delays saves, not events.
func TestSlowStoreDoesNotStopEvents(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	s := newTrickyStore(t, b)
	s.hold = make(chan struct{})
	cfg := often(1)
	cfg.Store = s
	balances := b.balances()
	rt := must(cfg.Start(ctx, b.log, balances))(t)
	for range 200 {
		if err := rt.Wait(ctx, b.append(t, "ada", deposited{1})); err != nil {
			t.Fatal(err)
		}
	}
	close(s.hold)
	if err := rt.Close(); err != nil {
		t.Fatal(err)
	}
	if n := len(s.saves); n < 1 || n > 3 {
		t.Errorf("%d saves, want one in flight and those after it", n)
	}
	balances = b.balances()
	rt = b.start(t, projection.Config{}, balances)
	equal(t, "restored", balances, map[string]int64{"ada": 200})
	if r := status(t, rt, "balances").Recovery; r.Replayed != 0 {
		t.Errorf("recovery %+v", r)
	}
}

// A unit that two runtimes save: the one that is late yields, both states
// are right, and what is stored is one of theirs, whole.
func TestTwoRuntimesOneUnit(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	cfg := often(1)
	one, two := b.balances(), b.balances()
	rt1, rt2 := b.start(t, cfg, one), b.start(t, cfg, two)
	want := map[string]int64{}
	for i := range int64(60) {
		key := string(rune('a' + i%7))
		want[key] += i
		at := b.append(t, key, deposited{i})
		if err := errors.Join(rt1.Wait(ctx, at), rt2.Wait(ctx, at)); err != nil {
			t.Fatal(err)
		}
	}
	equal(t, "one", one, want)
	equal(t, "two", two, want)
	if err := errors.Join(rt1.Close(), rt2.Close()); err != nil {
		t.Logf("a close that could not save, which is allowed: %v", err)
	}
	three := b.balances()
	rt := b.start(t, cfg, three)
	equal(t, "restored", three, want)
	if r := status(t, rt, "balances").Recovery; r.Source != projection.FromSnapshot {
		t.Errorf("recovery %+v", r)
	}
}

// R0.13, in the open: what the policy leaves out is not saved.
func TestPolicy(t *testing.T) {
	ctx := logtest.Context(t)
	for _, c := range []struct {
		name   string
		policy projection.Policy
		events int
		want   bool
	}{
		{"on close", projection.Policy{Events: 100}, 5, true},
		{"not on close", projection.Policy{Events: 100, NotOnClose: true}, 5, false},
		{"after so many events", projection.Policy{Events: 5, NotOnClose: true, MinInterval: 1}, 5, true},
		{"after so many bytes", projection.Policy{Events: 100, Bytes: 20, NotOnClose: true, MinInterval: 1}, 5, true},
		{"not so soon", projection.Policy{Events: 1, NotOnClose: true, MinInterval: time.Hour}, 5, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := openBank(t, logtest.Options(t))
			s := newTrickyStore(t, b)
			rt := must(projection.Config{Store: s, Snapshots: c.policy}.Start(ctx, b.log, b.balances()))(t)
			for range c.events {
				if err := rt.Wait(ctx, b.append(t, "k", deposited{1})); err != nil {
					t.Fatal(err)
				}
			}
			if c.want && c.policy.NotOnClose {
				s.await(t, 1)
			}
			if err := rt.Close(); err != nil {
				t.Fatal(err)
			}
			if got := len(s.saves) > 0; got != c.want {
				t.Errorf("saved: %v, want %v", got, c.want)
			}
		})
	}
}

// Catching up tells how far it is, and Background doesn't wait for it.
func TestProgressAndBackground(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	for range 500 {
		b.append(t, "k", deposited{1})
	}
	var last projection.Progress
	cfg := projection.Config{NoSnapshots: true, Progress: func(p projection.Progress) { last = p }}
	rt := b.start(t, cfg, b.balances())
	if last.Done != 500 || last.Total != 500 || last.Unit != "balances" {
		t.Errorf("progress %+v", last)
	}
	_ = rt.Close()
	release := make(chan struct{})
	cfg = projection.Config{NoSnapshots: true, Background: true, Progress: func(projection.Progress) { <-release }}
	rt = b.start(t, cfg, b.balances())
	if err := rt.Ready(ctx, 0); !errors.Is(err, projection.ErrNotReady) {
		t.Errorf("ready before it has caught up: %v", err)
	}
	close(release)
	if err := rt.Wait(ctx, b.append(t, "k", deposited{1})); err != nil {
		t.Fatal(err)
	}
	// It has caught up when the batch of that event is at its end, a moment later.
	for err := rt.Ready(ctx, 0); err != nil; err = rt.Ready(ctx, 0) {
		if !errors.Is(err, projection.ErrNotReady) || ctx.Err() != nil {
			t.Fatal(err)
		}
		runtime.Gosched()
	}
}

// Start gives up with its context, and leaves nothing running.
// A key that is too long for the store keeps its own table from being saved,
// and no other of the unit.
func TestKeyTooLongToStore(t *testing.T) {
	b := openBank(t, logtest.Options(t))
	tables := func() (fine *projection.Table[string, int64], long *projection.Table[string, int]) {
		long = projection.NewTable[string, int]("long")
		projection.On(long, b.accounts, func(tx *projection.Tx[string, int], e eventlog.Event, _ deposited) error {
			tx.Put(strings.Repeat(e.Key, 1<<16+1), 1)
			return nil
		})
		return b.balances(), long
	}
	fine, long := tables()
	rt := b.start(t, projection.Config{}, projection.NewUnit("unit", fine, long))
	if err := rt.Wait(logtest.Context(t), b.append(t, "a", deposited{1})); err != nil {
		t.Fatal(err)
	}
	if err := rt.Close(); err == nil || !strings.Contains(err.Error(), `aaa" has 65537 bytes, and 65536 can be stored`) {
		t.Error(err)
	}
	fine, long = tables()
	rt = b.start(t, projection.Config{Snapshots: projection.Policy{NotOnClose: true}}, projection.NewUnit("unit", fine, long))
	if got := sources(t, rt, "balances", "long"); got != "snapshot replay" || long.Len() != 1 {
		t.Errorf("restored from %s, %d rows", got, long.Len())
	}
}

func TestStartCancelled(t *testing.T) {
	b := openBank(t, logtest.Options(t))
	b.append(t, "k", deposited{1})
	ctx, cancel := context.WithCancel(t.Context())
	cfg := projection.Config{Progress: func(projection.Progress) { cancel() }, Snapshots: projection.Policy{Events: 1}}
	if rt, err := cfg.Start(ctx, b.log, b.balances()); err == nil {
		_ = rt.Close() // it had caught up before it looked
	} else if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	cancel()
	if _, err := projection.Start(ctx, b.log, b.balances()); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
