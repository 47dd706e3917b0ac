package projection_test

import (
	"fmt"
	"testing"

	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
)

// R0.17, R0.18: changes that are the whole state leave what was stored before
// behind, so a small table that changes all the time is one segment; others
// stand on it.
func TestSaveOfAllRowsBeginsAnew(t *testing.T) {
	b := openBank(t, logtest.Options(t))
	s := newTrickyStore(t, b)
	cfg := often(10)
	cfg.Store = s
	rt := b.start(t, cfg, b.balances())
	want := map[string]int64{}
	for i, accounts := range []int{10, 10, 5, 10} { // ten events each
		for j := range 10 {
			key := fmt.Sprint("acct-", j%accounts)
			want[key] += int64(100*i + j)
			b.append(t, key, deposited{int64(100*i + j)})
		}
		s.await(t, 1)
		awaitStatus(t, rt, "it is saved", func(s projection.SnapshotStatus) bool { return s.Saves == uint64(i)+1 })
		m := s.cuts()[i].Members[0]
		if len(m.Changes) != accounts || m.Reset != (accounts == 10) {
			t.Errorf("save %d: %d rows, reset %t", i, len(m.Changes), m.Reset)
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
