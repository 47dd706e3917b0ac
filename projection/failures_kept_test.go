package projection_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
)

func TestMoreFailuresThanMayBeKeptStop(t *testing.T) {
	b := openBank(t, logtest.Options(t))
	f := b.fragile(atPoison, projection.OnFailure(projection.FailurePolicy{Then: projection.ParkKey, MaxKept: 2}))
	stopped := make(chan *projection.StoppedError, 1)
	b.start(t, projection.Config{Stopped: func(e *projection.StoppedError) {
		if e.Projection == "fragile" {
			stopped <- e
		}
	}}, f)
	b.append(t, "ada", deposited{666})
	b.append(t, "ada", deposited{1})
	third := b.append(t, "ada", deposited{2})
	if e := <-stopped; !errors.Is(e, projection.ErrParkedFull) || e.Position.Seq != third.Seq {
		t.Errorf("stopped: %v", e)
	}
}

// The policy of a phase: what the log held at the start, and what came then.
func TestCatchingUpHasAPolicyOfItsOwn(t *testing.T) {
	b := openBank(t, logtest.Options(t))
	b.append(t, "ada", deposited{666})
	b.append(t, "ada", deposited{1})
	f := b.fragile(atPoison, projection.OnFailure(projection.FailurePolicy{}),
		projection.OnRebuildFailure(projection.FailurePolicy{Then: projection.ParkCommit}))
	rt := b.start(t, projection.Config{}, f)
	expect(t, f.Table, map[string]int64{"ada": 1})
	if p := rt.Parked(); len(p) != 1 {
		t.Errorf("parked: %+v", p)
	}
	bad := b.append(t, "ada", deposited{666})
	if err := rt.Wait(logtest.Context(t), bad); !errors.Is(err, projection.ErrStopped) {
		t.Errorf("live: %v", err)
	}
}

// A table gets a policy when it has snapshots: it keeps them.
func TestAPolicyCanComeLater(t *testing.T) {
	b := openBank(t, logtest.Options(t))
	first := b.fragile(never)
	rt := b.start(t, projection.Config{}, first)
	wait(t, rt, b.append(t, "ada", deposited{1}))
	if err := rt.Close(); err != nil {
		t.Fatal(err)
	}
	f := b.fragile(atPoison, projection.OnFailure(projection.FailurePolicy{Then: projection.ParkKey}))
	rt = b.start(t, projection.Config{}, f)
	if s := statusOf(t, rt, "fragile"); s.Recovery.Source != projection.FromSnapshot || f.calls.Load() != 0 {
		t.Errorf("recovery: %+v, %d calls", s.Recovery, f.calls.Load())
	}
	wait(t, rt, b.append(t, "ada", deposited{666}))
	if err := rt.Close(); err != nil {
		t.Fatal(err)
	}
	f = b.fragile(atPoison, projection.OnFailure(projection.FailurePolicy{Then: projection.ParkKey}))
	rt = b.start(t, projection.Config{}, f)
	if len(rt.Parked()) != 1 || f.calls.Load() != 0 {
		t.Errorf("parked: %+v, %d calls", rt.Parked(), f.calls.Load())
	}
}

// A migration makes others of the rows, and what is set aside stays so. A
// program without the policy is told of it.
func TestWhatIsParkedOutlivesAMigration(t *testing.T) {
	b := openBank(t, logtest.Options(t))
	park := projection.OnFailure(projection.FailurePolicy{Then: projection.ParkKey})
	ten := projection.Migrate(0, func(_ string, v int64) (int64, bool) { return 10 * v, true })
	rt := b.start(t, projection.Config{}, b.fragile(atPoison, park))
	b.append(t, "ada", deposited{666})
	wait(t, rt, b.append(t, "bob", deposited{1}))
	f := b.fragile(atPoison, park, ten, projection.Version(1))
	rt = b.restart(t, rt, f)
	if r := statusOf(t, rt, "fragile").Recovery; !r.Migrated || f.calls.Load() != 0 || len(rt.Parked()) != 1 {
		t.Errorf("recovery: %+v, %d calls, parked: %+v", r, f.calls.Load(), rt.Parked())
	}
	f.heal()
	if n, err := rt.RetryParked(t.Context()); n != 1 || err != nil {
		t.Errorf("retry: %d, %v", n, err)
	}
	expect(t, f.Table, map[string]int64{"ada": 666, "bob": 10})
	rt = b.restart(t, rt, b.fragile(never, projection.Version(1)))
	if r := statusOf(t, rt, "fragile").Recovery; len(r.Notes) != 0 {
		t.Errorf("nothing is parked, and it is told %q", r.Notes)
	}
}

func TestAPolicyThatIsGoneIsTold(t *testing.T) {
	b := openBank(t, logtest.Options(t))
	rt := b.start(t, projection.Config{}, b.fragile(atPoison, projection.OnFailure(projection.FailurePolicy{Then: projection.Skip})))
	wait(t, rt, b.append(t, "ada", deposited{666}))
	for range 2 { // as long as it is so
		f := b.fragile(never)
		rt = b.restart(t, rt, f)
		if notes := statusOf(t, rt, "fragile").Recovery.Notes; len(notes) != 1 || !strings.Contains(notes[0], `"fragile-parked"`) {
			t.Errorf("it is told %q", notes)
		}
		wait(t, rt, b.append(t, "bob", deposited{1}))
	}
}

func TestImpossiblePoliciesAreRefused(t *testing.T) {
	b := openBank(t, logtest.Options(t))
	src := b.balances()
	park := projection.OnFailure(projection.FailurePolicy{Then: projection.ParkKey})
	reader := projection.NewTable[string, int]("reader", park)
	projection.OnChange(reader, src, func(*projection.Tx[string, int], projection.Change[string, int64]) error { return nil })
	derived := projection.Map("derived", src, func(_ string, v int64) int64 { return v }, projection.OnFailure(projection.FailurePolicy{Then: projection.Skip}))
	odd := b.notes(projection.OnFailure(projection.FailurePolicy{Retries: -1, Backoff: -1, Then: 9}))
	model := projection.NewModel("model", func() *int { return new(int) }, park)
	projection.OnModel(model, b.accounts, func(*int, eventlog.Event, deposited) error { return nil })
	_, err := projection.Start(t.Context(), b.log, src, reader, derived, odd, model)
	for _, want := range []string{`"reader" reads the changes of "balances", and may park`, `"derived" is Derived, and may skip`, "-1 retries", "negative Backoff", "unknown action 9", "can't undo"} {
		if err == nil || !errors.Is(err, projection.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v doesn't say %q", err, want)
		}
	}
}

// T2.10: what is parked is saved soon, so that a crash doesn't cost the same
// failures again and again.
func TestParkingIsSavedSoon(t *testing.T) {
	b := openBank(t, logtest.Options(t))
	policy := projection.OnFailure(projection.FailurePolicy{Then: projection.ParkCommit})
	f := b.fragile(atPoison, policy)
	config := projection.Config{Snapshots: projection.Policy{NotOnClose: true, MinInterval: time.Nanosecond}}
	rt := b.start(t, config, f)
	wait(t, rt, b.append(t, "ada", deposited{666}))
	for statusOf(t, rt, "fragile").Snapshots.Saves == 0 {
		if err := rt.Ready(logtest.Context(t), 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := rt.Close(); err != nil {
		t.Fatal(err)
	}
	f = b.fragile(atPoison, policy)
	rt = b.start(t, config, f)
	if len(rt.Parked()) != 1 || f.calls.Load() != 0 {
		t.Errorf("parked: %+v, after %d calls", rt.Parked(), f.calls.Load())
	}
}

// What is retried changes a state at its place, and isn't taken for another
// process's that differs: not now, and not after a restart.
func TestRetriedIsNoDivergence(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	start := func(fail func(eventlog.Event, deposited) error) (*fragile, *projection.Runtime) {
		f := b.fragile(fail, projection.OnFailure(projection.FailurePolicy{Then: projection.ParkCommit}))
		low := projection.Map("low", f.Table, func(_ string, v int64) int64 { return -v })
		return f, b.start(t, projection.Config{Snapshots: projection.Policy{MinInterval: 1}}, f, low)
	}
	f, rt := start(atPoison)
	wait(t, rt, b.append(t, "ada", deposited{666}))
	for statusOf(t, rt, "fragile").Snapshots.Saves == 0 {
		if err := rt.Ready(ctx, 0); err != nil {
			t.Fatal(err)
		}
	}
	f.heal()
	if n, err := rt.RetryParked(ctx); n != 1 || err != nil {
		t.Fatalf("retry: %d, %v", n, err)
	}
	if err := rt.CompareSnapshots(ctx); err != nil {
		t.Error(err)
	}
	if err := rt.Close(); err != nil {
		t.Fatal(err)
	}
	f, rt = start(never)
	expect(t, f.Table, map[string]int64{"ada": 666})
	if err := rt.CompareSnapshots(ctx); err != nil {
		t.Errorf("after a restart: %v", err)
	}
}

// What is decided about parked commits has to last, so only the process that
// saves may decide it.
func TestOnlyTheOwnerRetries(t *testing.T) {
	b := openBank(t, logtest.Options(t))
	policy := projection.OnFailure(projection.FailurePolicy{Then: projection.ParkCommit})
	f, g := b.fragile(atPoison, policy), b.fragile(atPoison, policy)
	owner := b.start(t, projection.Config{}, f)
	wait(t, owner, b.append(t, "ada", deposited{666}))
	for !statusOf(t, owner, "fragile").Snapshots.Owner {
		if err := owner.Ready(logtest.Context(t), 0); err != nil {
			t.Fatal(err)
		}
	}
	other := b.start(t, projection.Config{}, g)
	g.heal()
	if n, err := other.RetryParked(t.Context()); n != 0 || !errors.Is(err, projection.ErrNotOwner) {
		t.Errorf("retry: %d, %v", n, err)
	}
	if err := other.DropParked(t.Context(), other.Parked()...); !errors.Is(err, projection.ErrNotOwner) || len(other.Parked()) != 1 {
		t.Errorf("drop: %v, %+v", err, other.Parked())
	}
	// Where it differs between processes (times, stacks), it isn't compared.
	if err := owner.CompareSnapshots(t.Context()); err != nil {
		t.Error(err)
	}
}
