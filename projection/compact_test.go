package projection_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/dependants"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
	"github.com/tidemark-es/tidemark/snapshot"
	"github.com/tidemark-es/tidemark/timeframe"
)

// registry is the bank's register of dependants.
func (b *bank) registry(t *testing.T) *dependants.Registry {
	t.Helper()
	return must(dependants.New(dependants.Options{App: b.log.App(), JetStream: b.log.JetStream()}))(t)
}

// fill appends n deposits, and every tenth time an audit.
func (b *bank) fill(t *testing.T, n int) (last eventlog.Position) {
	t.Helper()
	for i := range n {
		last = b.append(t, fmt.Sprintf("k%d", i%3), deposited{1})
		if i%10 == 0 {
			b.audit(t, "k0", "x")
		}
	}
	return last
}

// filled fills, and returns when rt has applied all of both feeds.
func (b *bank) filled(t *testing.T, rt *projection.Runtime, n int) {
	t.Helper()
	b.fill(t, n)
	for _, f := range []*eventlog.Feed{b.accounts, b.audits} {
		st := must(f.State(t.Context()))(t)
		err := rt.Wait(t.Context(), eventlog.Position{Feed: f.Name(), Seq: st.Last})
		if err != nil && !errors.Is(err, projection.ErrNotRead) {
			t.Fatal(err)
		}
	}
}

// first is where the accounts begin.
func (b *bank) first(t *testing.T) uint64 {
	t.Helper()
	return must(b.accounts.State(context.WithoutCancel(t.Context())))(t).First
}

func accountsAt(t *testing.T, seq uint64) timeframe.Timeframe {
	t.Helper()
	return must(timeframe.FromMap(map[string]uint64{"accounts": seq}))(t)
}

func feedOf(t *testing.T, r projection.CompactReport, name string) projection.CompactFeed {
	t.Helper()
	for _, f := range r.Feeds {
		if f.Feed == name {
			return f
		}
	}
	t.Fatalf("no feed %q in %+v", name, r)
	return projection.CompactFeed{}
}

// T2.13, T1.5, T3.16: a reader at 50 with the head at 100 stops trimming at
// 50; as it advances, and is deregistered, trimming goes on, to what the
// retained snapshots need. A dry run says so and changes nothing.
func TestCompactStopsAtTheSlowest(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	reg := b.registry(t)
	if err := reg.Register(ctx, dependants.Dependant{Name: "reader", Needs: accountsAt(t, 50)}); err != nil {
		t.Fatal(err)
	}
	balances := b.balances()
	rt := b.start(t, projection.Config{}, balances)
	b.filled(t, rt, 100)
	compact := func(o projection.CompactOptions, first uint64) projection.CompactReport {
		t.Helper()
		r := must(rt.Compact(ctx, o))(t)
		if got := b.first(t); got != first {
			t.Errorf("begins at %d, want %d: %+v", got, first, r)
		}
		return r
	}
	r := compact(projection.CompactOptions{DryRun: true}, 1)
	if f := feedOf(t, r, "accounts"); f.Trimmed || f.From != 1 { // no snapshot stands for it yet
		t.Errorf("dry run: %+v", f)
	}
	if r = compact(projection.CompactOptions{}, 50); !r.Units[0].Verified || r.Units[0].Keys != 3 {
		t.Errorf("report %+v", r)
	}
	compact(projection.CompactOptions{}, 50) // again, with nothing new
	if err := reg.Advance(ctx, "reader", accountsAt(t, 80)); err != nil {
		t.Fatal(err)
	}
	r = compact(projection.CompactOptions{DryRun: true}, 50)
	if f := feedOf(t, r, "accounts"); f.From != 80 || f.Trimmed || f.Holds[0].By != "reader" {
		t.Errorf("dry run: %+v", f)
	}
	compact(projection.CompactOptions{Margin: 10}, 70)
	compact(projection.CompactOptions{Feeds: []string{}}, 70)
	compact(projection.CompactOptions{MinAge: time.Hour}, 70)
	compact(projection.CompactOptions{}, 80)
	if err := reg.Deregister(ctx, "reader"); err != nil {
		t.Fatal(err)
	}
	compact(projection.CompactOptions{}, 100)
	// Too late for a reader of what is gone, and it is told.
	err := reg.Register(ctx, dependants.Dependant{Name: "reader", Needs: accountsAt(t, 50)})
	if !errors.Is(err, dependants.ErrTooLate) {
		t.Errorf("register: %v", err)
	}
	if _, err := rt.Compact(ctx, projection.CompactOptions{Feeds: []string{"audits"}}); !errors.Is(err, projection.ErrNotRead) {
		t.Errorf("another's feed: %v", err)
	}
}

// compactSteps is what a compaction of the bank's unit goes through.
var compactSteps = []string{"registered", "saved", "verified", "marked", "trimmed accounts", "trimmed audits"}

// T1.3, T1.4, T1.12: whatever step a compaction dies behind, what is restored
// is the whole, with what was appended at that moment; running it again
// completes it. No snapshot looks as if it belonged to another log.
func TestCompactDiesAtEachStep(t *testing.T) {
	for i, dies := range compactSteps {
		t.Run(dies, func(t *testing.T) {
			ctx := logtest.Context(t)
			b := openBank(t, logtest.Options(t))
			balances, notes := b.balances(), b.notes()
			quiet := projection.Config{Snapshots: projection.Policy{NotOnClose: true}}
			rt := b.start(t, quiet, projection.NewUnit("u", balances, notes))
			b.filled(t, rt, 40)
			crash := errors.New("crash")
			var steps []string
			r, err := rt.Compact(ctx, projection.CompactOptions{}.AtStep(func(step string) error {
				steps = append(steps, step)
				b.append(t, "meanwhile", deposited{1})
				if len(steps) > i {
					return crash
				}
				return nil
			}))
			if !errors.Is(err, crash) || steps[i] != dies {
				t.Fatalf("steps %q: %v", steps, err)
			}
			if trimmed := b.first(t) > 1; trimmed != (i >= 4) || trimmed != feedOrNone(r, "accounts").Trimmed {
				t.Errorf("begins at %d: %+v", b.first(t), r)
			}
			n := int64(len(steps))
			if err := rt.Close(); err != nil {
				t.Fatal(err)
			}
			want := map[string]int64{"k0": 14, "k1": 13, "k2": 13, "meanwhile": n}
			for again := range 2 {
				balances, notes = b.balances(), b.notes()
				rt = b.start(t, projection.Config{}, projection.NewUnit("u", balances, notes))
				equal(t, "balances", balances, want)
				equal(t, "notes", notes, map[string]int{"k0": 14004, "k1": 13000, "k2": 13000, "meanwhile": int(1000 * n)})
				rec := status(t, rt, "balances").Recovery
				if len(rec.Skipped) > 0 || len(rec.Notes) > 0 || (rec.Source == projection.FromSnapshot) != (i > 0 || again > 0) {
					t.Errorf("recovery %+v", rec)
				}
				if _, err := rt.Compact(ctx, projection.CompactOptions{}); err != nil {
					t.Fatal(err)
				}
				if b.first(t) < 40 {
					t.Errorf("begins at %d after all", b.first(t))
				}
				if err := rt.Close(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func feedOrNone(r projection.CompactReport, name string) projection.CompactFeed {
	for _, f := range r.Feeds {
		if f.Feed == name {
			return f
		}
	}
	return projection.CompactFeed{}
}

// badStore refuses, or loads damaged state.
type badStore struct {
	*snapshot.Store
	save, load, candidates error
}

func (s *badStore) Save(ctx context.Context, unit string, base *snapshot.Manifest, cut snapshot.Cut) (*snapshot.Manifest, error) {
	if s.save != nil {
		return nil, s.save
	}
	return s.Store.Save(ctx, unit, base, cut)
}

func (s *badStore) Candidates(ctx context.Context, unit string) ([]snapshot.Candidate, error) {
	if s.candidates != nil {
		return nil, s.candidates
	}
	return s.Store.Candidates(ctx, unit)
}

func (s *badStore) Load(ctx context.Context, m *snapshot.Manifest, member string) iter.Seq2[snapshot.Change, error] {
	if s.load != nil {
		return func(yield func(snapshot.Change, error) bool) { yield(snapshot.Change{}, s.load) }
	}
	return s.Store.Load(ctx, m, member)
}

// T1.6: a store that refuses, can't be read, or gives back what is damaged
// leaves the log untouched, loudly; once it is well again so is compaction.
func TestCompactTrustsNoStore(t *testing.T) {
	no := errors.New("no")
	for name, harm := range map[string]func(*badStore){
		"save": func(s *badStore) { s.save = no }, "load": func(s *badStore) { s.load = no },
		"candidates": func(s *badStore) { s.candidates = no },
	} {
		t.Run(name, func(t *testing.T) {
			ctx := logtest.Context(t)
			b := openBank(t, logtest.Options(t))
			s := &badStore{Store: must(snapshot.Open(ctx, snapshot.Options{App: b.log.App(), JetStream: b.log.JetStream()}))(t)}
			rt := b.start(t, projection.Config{Store: s, Snapshots: projection.Policy{MinInterval: time.Millisecond}}, b.balances())
			b.filled(t, rt, 20)
			harm(s)
			r, err := rt.Compact(ctx, projection.CompactOptions{})
			if !errors.Is(err, no) && !(name == "load" && errors.Is(err, projection.ErrUnverified)) {
				t.Errorf("%v", err)
			}
			if b.first(t) != 1 || feedOrNone(r, "accounts").Trimmed {
				t.Errorf("trimmed: %+v", r)
			}
			*s = badStore{Store: s.Store}
			if _, err := rt.Compact(ctx, projection.CompactOptions{}); err != nil || b.first(t) != 20 {
				t.Errorf("begins at %d: %v", b.first(t), err)
			}
		})
	}
}

// T1.7: a unit that lags holds the log where its snapshots are, whether it
// runs or not, whether it was registered or not; each of its retained
// snapshots stays usable; and when it has expired it doesn't hold any more.
func TestCompactWaitsForLaggards(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	b.fill(t, 20)
	lag := must(projection.Config{Expiry: time.Nanosecond}.Start(ctx, b.log, projection.NewUnit("lag", b.notes())))(t)
	if err := lag.Close(); err != nil { // saved at 20
		t.Fatal(err)
	}
	reg := b.registry(t)
	register := func(expiry time.Duration) {
		t.Helper()
		zero := must(timeframe.FromMap(map[string]uint64{"accounts": 0, "audits": 0}))(t)
		if err := reg.Register(ctx, dependants.Dependant{Name: "projection.lag", Unit: "lag", Needs: zero, Expiry: expiry}); err != nil {
			t.Fatal(err)
		}
	}
	balances := b.balances()
	rt := b.start(t, projection.Config{}, balances)
	b.filled(t, rt, 30)
	register(0)
	for _, deregister := range []bool{false, true} {
		if deregister { // as if an older release had saved it
			if err := reg.Deregister(ctx, "projection.lag"); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := rt.Compact(ctx, projection.CompactOptions{}); err != nil {
			t.Fatal(err)
		}
		if got := b.first(t); got != 20 {
			t.Errorf("begins at %d", got)
		}
	}
	// A new unit, which has no snapshot, needs all that is left.
	zero := accountsAt(t, 0)
	if err := reg.Register(ctx, dependants.Dependant{Name: "projection.fresh", Unit: "fresh", Needs: zero}); err != nil {
		t.Fatal(err)
	}
	register(time.Nanosecond)
	if _, err := rt.Compact(ctx, projection.CompactOptions{}); err != nil || b.first(t) != 20 {
		t.Errorf("begins at %d: %v", b.first(t), err)
	}
	if err := reg.Deregister(ctx, "projection.fresh"); err != nil {
		t.Fatal(err)
	}
	if _, err := rt.Compact(ctx, projection.CompactOptions{}); err != nil || b.first(t) != 50 {
		t.Errorf("begins at %d: %v", b.first(t), err)
	}
}
