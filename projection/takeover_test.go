package projection_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
	"github.com/tidemark-es/tidemark/snapshot"
)

// R0.17: after another process has moved the head, all rows are saved, and were
// gathered beside the events; where the store fails, again; then what changes
// alone.
func TestTakeOverSavesAll(t *testing.T) {
	b := openBank(t, logtest.Options(t))
	s := newTrickyStore(t, b)
	s.fail = []error{nil, &snapshot.ConflictError{Unit: "balances"}, errors.New("no")}
	cfg := often(10)
	cfg.Store = s
	rt := b.start(t, cfg, b.balances())
	want := map[string]int64{}
	deposit := func(accounts, cents int64) {
		for i := range int64(10) {
			key := fmt.Sprint("acct-", accounts+i)
			want[key] += cents + i
			b.append(t, key, deposited{cents + i})
		}
	}
	deposit(0, 100)
	s.await(t, 1)
	deposit(5, 1000)
	s.await(t, 3)
	awaitStatus(t, rt, "it is saved", func(s projection.SnapshotStatus) bool { return s.Saves == 2 && s.Failures == 2 })
	deposit(10, 10000)
	s.await(t, 1)
	for i, n := range []int{10, 10, 15, 15, 10} {
		m := s.cuts()[i].Members[0]
		whole := n == 15 || i == 0 // the first one of all is, too
		if len(m.Changes) != n || m.Reset != whole {
			t.Errorf("save %d: %d rows, whole %v", i, len(m.Changes), m.Reset)
		}
	}
	if err := rt.Close(); err != nil {
		t.Fatal(err)
	}
	again := b.balances()
	rt = b.start(t, projection.Config{}, again)
	equal(t, "restored", again, want)
	if r := status(t, rt, "balances").Recovery; r.Source != projection.FromSnapshot || r.Replayed != 0 {
		t.Errorf("recovery %+v", r)
	}
}

// cuts are those that were to be saved so far.
func (s *trickyStore) cuts() []snapshot.Cut {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.saves)
}
