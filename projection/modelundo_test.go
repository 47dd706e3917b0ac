package projection_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
	"pgregory.net/rapid"
)

// tally is a model that can take back: what each key had is in its journal.
type tally struct {
	Sums map[string]int64

	journal          []func()
	commit, rollback error // with which they panic
}

func newTally() *tally { return &tally{Sums: make(map[string]int64)} }

func (m *tally) add(key string, cents int64) {
	old, had := m.Sums[key]
	m.journal = append(m.journal, func() {
		if m.Sums[key] = old; !had {
			delete(m.Sums, key)
		}
	})
	m.Sums[key] = old*3 + cents // the order shows
}

func (m *tally) Snapshot(w io.Writer) error { return json.NewEncoder(w).Encode(m.Sums) }
func (m *tally) Restore(r io.Reader) error  { return json.NewDecoder(r).Decode(&m.Sums) }
func (m *tally) Commit() {
	if m.commit != nil {
		panic(m.commit)
	}
	m.journal = nil
}
func (m *tally) Rollback() {
	if m.rollback != nil {
		panic(m.rollback)
	}
	for _, undo := range slices.Backward(m.journal) {
		undo()
	}
	m.journal = nil
}

// tallies is a model that fails as fragile tables do.
func (b *bank) tallies(fail func(eventlog.Event, deposited) error, opts ...projection.TableOption) *projection.Model[*tally] {
	m := projection.NewModel("tallies", newTally, opts...)
	projection.OnModel(m, b.accounts, func(m *tally, e eventlog.Event, d deposited) error {
		m.add(e.Key, d.Cents)
		return fail(e, d)
	})
	return m
}

func sums(t interface{ Fatal(...any) }, m *projection.Model[*tally]) (sums map[string]int64) {
	if err := m.View(func(m *tally) { sums = maps.Clone(m.Sums) }); err != nil {
		t.Fatal(err)
	}
	return sums
}

// T2.10: under any policy, a model that can take back is behind each commit
// what a table with the same handlers is, and has set aside the same, also
// where it stops.
func TestUndoingModelIsLikeATable(t *testing.T) {
	feed := must(eventlog.Offline("accounts", eventlog.Type[opened]("opened"), eventlog.Type[deposited]("deposited")))(t)
	b := &bank{accounts: feed}
	rapid.Check(t, func(rt *rapid.T) {
		policy := projection.OnFailure(projection.FailurePolicy{
			Retries: rapid.IntRange(0, 2).Draw(rt, "retries"), Backoff: time.Nanosecond, MaxBackoff: time.Nanosecond,
			Then: rapid.SampledFrom([]projection.FailureAction{projection.Stop, projection.Skip, projection.ParkCommit, projection.ParkKey}).Draw(rt, "then"),
		})
		table, model := b.fragile(atPoison, policy), b.tallies(atPoison, policy)
		r := must(projection.Rehearse(table, model))(t)
		for seq := range rapid.IntRange(1, 12).Draw(rt, "commits") {
			var events []any
			for range rapid.IntRange(1, 3).Draw(rt, "events") {
				events = append(events, deposited{rapid.SampledFrom([]int64{1, 2, 3, 666}).Draw(rt, "cents")})
			}
			d := eventlog.Draft{Key: rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "key"), Events: events}
			_, _ = r.Apply(must(feed.Rehearse(d, uint64(seq)+1, time.Unix(1, 0)))(t)) // who stops says so below
			if got, want := sums(rt, model), contents(table.Table); !maps.Equal(got, want) {
				rt.Fatalf("behind commit %d: %v, want %v", seq+1, got, want)
			}
			if (model.Err() != nil) != (table.Err() != nil) {
				rt.Fatalf("%v; the table: %v", model.Err(), table.Err())
			}
		}
		var parked [2][]string
		for _, p := range r.Parked() {
			i := slices.Index([]string{"fragile", "tallies"}, p.Projection)
			parked[i] = append(parked[i], fmt.Sprint(p.Position, p.Key, p.Attempts, p.Waiting, p.Skipped))
		}
		if !slices.Equal(parked[0], parked[1]) {
			rt.Fatalf("set aside %v, want %v", parked[1], parked[0])
		}
	})
}

// What a model has set aside is saved with it, at its cut; a restart tries
// nothing again; it can be retried. One that stops is saved where it stands.
func TestModelParks(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	park := projection.OnFailure(projection.FailurePolicy{Then: projection.ParkKey})
	rt := b.start(t, often(2), b.tallies(atPoison, park))
	b.append(t, "a", deposited{1}, deposited{666})
	b.append(t, "b", deposited{5})
	wait(t, rt, b.append(t, "a", deposited{2}))
	never := func(eventlog.Event, deposited) error { return errors.New("tried again") }
	model := b.tallies(never, park)
	rt = b.restart(t, rt, model)
	if got := sums(t, model); !maps.Equal(got, map[string]int64{"b": 5}) || len(rt.Parked()) != 2 {
		t.Errorf("%v, %+v", got, rt.Parked())
	}
	if n, err := rt.RetryParked(ctx); n != 0 || err == nil || !strings.Contains(err.Error(), "tried again") {
		t.Errorf("%d, %v", n, err)
	}
	model = b.tallies(func(eventlog.Event, deposited) error { return nil }, park)
	rt = b.restart(t, rt, model)
	if n, err := rt.RetryParked(ctx); n != 2 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	want := map[string]int64{"a": (1*3+666)*3 + 2, "b": 5}
	if got := sums(t, model); !maps.Equal(got, want) {
		t.Errorf("retried: %v", got)
	}
	model = b.tallies(atPoison) // without a policy: it stops
	rt = b.restart(t, rt, model)
	b.append(t, "c", deposited{1}, deposited{666})
	if err := rt.Wait(ctx, b.append(t, "b", deposited{1})); !errors.Is(err, projection.ErrStopped) {
		t.Errorf("%v", err)
	}
	if got := sums(t, model); !maps.Equal(got, want) {
		t.Errorf("stopped: %v", got)
	}
}

// A model that can't take back after all stops, whatever its policy says, and
// says why: at the event, where that is retried, and where Commit is what fails.
func TestModelThatCantTakeBack(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	broken := errors.New("broken")
	breaking := false
	fresh := func() *projection.Model[*tally] {
		m := projection.NewModel("tallies", newTally, projection.OnFailure(projection.FailurePolicy{Retries: 1, Backoff: 1, Then: projection.ParkCommit}))
		projection.OnModel(m, b.accounts, func(m *tally, e eventlog.Event, d deposited) error {
			if m.add(e.Key, d.Cents); breaking {
				m.rollback = broken
			}
			if d.Cents == 13 {
				m.commit = broken
			}
			return atPoison(e, d)
		})
		return m
	}
	stops := func(what string, m *projection.Model[*tally], err error) {
		t.Helper()
		if !errors.Is(err, broken) || !errors.Is(err, projection.ErrStopped) {
			t.Errorf("%s: %v", what, err)
		}
		if err := m.View(func(*tally) { t.Errorf("%s: it is looked at", what) }); !errors.Is(err, broken) {
			t.Errorf("%s, looked at: %v", what, err)
		}
	}
	m := fresh()
	rt := b.start(t, often(1), m)
	wait(t, rt, b.append(t, "a", deposited{666}))
	breaking = true
	_, err := rt.RetryParked(ctx)
	stops("retried", m, err)
	m = fresh()
	rt = b.restart(t, rt, m)
	if parked := rt.Parked(); len(parked) != 1 || parked[0].Position.Seq != 1 {
		t.Errorf("%+v", parked)
	}
	stops("at the event", m, rt.Wait(ctx, b.append(t, "b", deposited{666})))
	breaking = false
	m = fresh()
	rt = b.restart(t, rt, m) // nothing is lost: it is parked now
	wait(t, rt, b.append(t, "a", deposited{13}))
	stops("at Commit", m, rt.Wait(ctx, b.append(t, "a", deposited{1})))

	plain := projection.NewModel("plain", func() *ledger { return &ledger{} }, projection.OnFailure(projection.FailurePolicy{Then: projection.Skip}))
	projection.OnModel(plain, b.accounts, func(*ledger, eventlog.Event, deposited) error { return nil })
	if _, err := projection.Start(ctx, b.log, plain); !errors.Is(err, projection.ErrInvalid) || !strings.Contains(err.Error(), "Undoer") {
		t.Errorf("a policy without undo: %v", err)
	}
}
