package projection_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"strings"
	"sync"
	"testing"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
	"github.com/tidemark-es/tidemark/snapshot"
)

var errAway = errors.New("the store is away")

// awayStore is the real store, which fails at so many calls of each kind.
type awayStore struct {
	projection.Store
	mu                 sync.Mutex
	lists, loads, fail int
	saved              int // with success
}

func (s *awayStore) away(left *int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if *left == 0 {
		return nil
	}
	*left--
	return errAway
}

func (s *awayStore) Candidates(ctx context.Context, unit string) ([]snapshot.Candidate, error) {
	if err := s.away(&s.lists); err != nil {
		return nil, err
	}
	return s.Store.Candidates(ctx, unit)
}

// Load fails behind its first row.
func (s *awayStore) Load(ctx context.Context, m *snapshot.Manifest, member string) iter.Seq2[snapshot.Change, error] {
	return func(yield func(snapshot.Change, error) bool) {
		err := s.away(&s.loads)
		for c, e := range s.Store.Load(ctx, m, member) {
			if !yield(c, e) {
				return
			}
			if err != nil {
				yield(snapshot.Change{}, err)
				return
			}
		}
	}
}

func (s *awayStore) Save(ctx context.Context, unit string, base *snapshot.Manifest, cut snapshot.Cut) (*snapshot.Manifest, error) {
	if err := s.away(&s.fail); err != nil {
		return nil, err
	}
	m, err := s.Store.Save(ctx, unit, base, cut)
	if err == nil {
		s.mu.Lock()
		s.saved++
		s.mu.Unlock()
	}
	return m, err
}

func (s *awayStore) saves() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.saved
}

// again is a table whose store fails, and one behind it that is told of its
// changes.
type again struct {
	b    *bank
	cfg  projection.Config
	told map[string]int64 // by the last start
}

func (a *again) start(t *testing.T) (*projection.Runtime, *projection.Table[string, int64], error) {
	balances := a.b.balances(projection.OnFailure(projection.FailurePolicy{Then: projection.ParkCommit}))
	told := make(map[string]int64)
	a.told = told
	behind := projection.NewTable[string, int64]("behind", projection.Derived())
	projection.OnChange(behind, balances, func(tx *projection.Tx[string, int64], c projection.Change[string, int64]) error {
		told[c.Key]++
		if c.Had && tx.Value(c.Key) != c.Old {
			return fmt.Errorf("%s: told that it was %d, and it is %d", c.Key, c.Old, tx.Value(c.Key))
		}
		tx.Put(c.Key, c.New)
		return nil
	})
	rt, err := a.cfg.Start(logtest.Context(t), a.b.log, balances, behind)
	if err == nil {
		t.Cleanup(func() { _ = rt.Close() })
	}
	return rt, balances, err
}

// T2.11: a store that fails for a while is asked again: by saves, by lists and
// by loads. No event is skipped or handled twice, and what was decided of
// parked commits stays decided; also where the log holds nothing any more that
// could be replayed. One that stays away is no reason to begin with less.
func TestPassingStoreErrors(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, eventlog.Options{App: logtest.App(t), Memory: true})
	s := &awayStore{Store: must(snapshot.Open(t.Context(), snapshot.Options{App: b.log.App(), JetStream: b.log.JetStream()}))(t)}
	a := &again{b: b, cfg: often(1)}
	a.cfg.Store = s
	want := make(map[string]int64)
	deposit := func(rt *projection.Runtime, n int) {
		t.Helper()
		var at eventlog.Position
		for i := range n {
			key := fmt.Sprint("k", i%3)
			at = b.append(t, key, deposited{int64(i)})
			want[key] += int64(i)
		}
		if err := rt.Wait(ctx, at); err != nil {
			t.Fatal(err)
		}
	}

	s.fail = 3
	rt, balances, err := a.start(t)
	if err != nil {
		t.Fatal(err)
	}
	bad := b.append(t, "k0", withdrawn{1 << 40})
	if err := rt.Wait(ctx, bad); err != nil {
		t.Fatal(err)
	}
	deposit(rt, 10)
	for s.saves() == 0 {
		if ctx.Err() != nil {
			t.Fatal("never saved again")
		}
		deposit(rt, 1)
	}
	if st := status(t, rt, "balances"); st.Snapshots.Failures != 3 {
		t.Errorf("%d failed saves were counted, want 3", st.Snapshots.Failures)
	}
	if err := rt.DropParked(ctx, rt.Parked()...); err != nil {
		t.Fatal(err)
	}
	equal(t, "while saves fail", balances, want)
	if err := rt.Close(); err != nil {
		t.Fatal(err)
	}

	for round, trouble := range []struct{ lists, loads int }{{2, 0}, {0, 2}, {1, 3}} {
		s.lists, s.loads = trouble.lists, trouble.loads
		if rt, balances, err = a.start(t); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		st := status(t, rt, "balances")
		if st.Recovery.Source != projection.FromSnapshot || len(st.Recovery.Skipped) > 0 || st.Recovery.Replayed > 0 || len(a.told) > 0 || len(rt.Parked()) > 0 {
			t.Errorf("round %d: %+v, told %v, parked %v", round, st.Recovery, a.told, rt.Parked())
		}
		equal(t, "restored", balances, want)
		deposit(rt, 4)
		if !maps.Equal(a.told, map[string]int64{"k0": 1, "k1": 1, "k2": 1}) { // of deposits of 0 to 3, one changes nothing
			t.Errorf("round %d: told %v", round, a.told)
		}
		equal(t, "went on", balances, want)
		if _, err := rt.Compact(ctx, projection.CompactOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := rt.Close(); err != nil {
			t.Fatal(err)
		}
	}

	s.loads = 1 << 20
	if _, _, err = a.start(t); !errors.Is(err, eventlog.ErrTrimmed) || !strings.Contains(err.Error(), errAway.Error()) {
		t.Errorf("a store that stays away, and a log that was trimmed: %v", err)
	}
}
