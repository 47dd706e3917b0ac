package projection_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
)

// In a graph, what is parked isn't there for the tables behind; handled again,
// it comes to them as a commit does, with its cause.
func TestParkedInAGraph(t *testing.T) {
	b := openBank(t, logtest.Options(t))
	f := b.fragile(atPoison, projection.OnFailure(projection.FailurePolicy{Then: projection.ParkKey}))
	var causes []projection.Cause
	refuse := false
	moves := projection.NewTable[string, int64]("moves")
	projection.OnChange(moves, f.Table, func(t *projection.Tx[string, int64], c projection.Change[string, int64]) error {
		t.Put(c.Key, t.Value(c.Key)+1)
		causes = append(causes, c.Cause)
		if refuse {
			return errors.New("refused behind")
		}
		return nil
	})
	// It handles the events too: what is parked in front of it, it has handled.
	projection.On(moves, b.accounts, func(t *projection.Tx[string, int64], e eventlog.Event, _ deposited) error {
		t.Put(e.Key, t.Value(e.Key)+1000)
		return nil
	})
	groups := projection.Aggregate("groups", f.Table, func(string, int64) (string, bool) { return "all", true },
		func(s int64, _ string, v int64) int64 { return s + v }, func(s int64, _ string, v int64) int64 { return s - v })
	sum := projection.Map("sum", groups, func(_ string, g projection.Group[int64]) int64 { return g.Value })
	rt := b.start(t, projection.Config{}, f, moves, groups, sum)
	b.append(t, "ada", deposited{1})
	bad := b.append(t, "ada", deposited{666})
	b.append(t, "ada", deposited{2})
	wait(t, rt, b.append(t, "bob", deposited{5}))
	expect(t, f.Table, map[string]int64{"ada": 1, "bob": 5})
	expect(t, moves, map[string]int64{"ada": 3001, "bob": 1001})
	expect(t, sum, map[string]int64{"all": 6})

	w := sum.Watch()
	defer w.Close()
	f.heal()
	refuse = true
	if n, err := rt.RetryParked(t.Context()); n != 0 || err == nil {
		t.Errorf("retry: %d, %v", n, err)
	}
	expect(t, f.Table, map[string]int64{"ada": 1, "bob": 5})
	expect(t, moves, map[string]int64{"ada": 3001, "bob": 1001})
	expect(t, sum, map[string]int64{"all": 6})
	refuse, causes = false, nil
	if n, err := rt.RetryParked(t.Context()); n != 2 || err != nil {
		t.Errorf("retry: %d, %v", n, err)
	}
	ada := int64((1*3+666)*3 + 2)
	expect(t, f.Table, map[string]int64{"ada": ada, "bob": 5})
	expect(t, moves, map[string]int64{"ada": 3003, "bob": 1001})
	expect(t, sum, map[string]int64{"all": ada + 5})
	if len(causes) != 2 || causes[0].Seq != bad.Seq || causes[0].Key != "ada" {
		t.Errorf("causes: %+v", causes)
	}
	for d, err := range w.Deltas(logtest.Context(t)) {
		if err != nil || !d.Reset || len(d.Changes) != 1 || d.Changes[0].New != ada+5 {
			t.Errorf("a watcher is told %+v, %v", d, err)
		}
		break
	}
	// The aggregate goes on being exact.
	wait(t, rt, b.append(t, "bob", deposited{1}))
	expect(t, sum, map[string]int64{"all": ada + 16})

	if err := rt.Close(); err != nil {
		t.Fatal(err)
	}
	again := b.fragile(never, projection.OnFailure(projection.FailurePolicy{Then: projection.ParkKey}))
	rt = b.start(t, projection.Config{}, again)
	expect(t, again.Table, map[string]int64{"ada": ada, "bob": 16})
	if len(rt.Parked()) != 0 {
		t.Errorf("parked: %+v", rt.Parked())
	}
}

// A table behind may skip where what it reads goes on.
func TestATableBehindSkips(t *testing.T) {
	b := openBank(t, logtest.Options(t))
	src := b.balances()
	seen := projection.NewTable[string, int64]("seen", projection.OnFailure(projection.FailurePolicy{Retries: 1, Backoff: 1, Then: projection.Skip}))
	var tried []int64
	projection.OnChange(seen, src, func(t *projection.Tx[string, int64], c projection.Change[string, int64]) error {
		tried = append(tried, c.New)
		if c.New == 3 {
			return errors.New("three")
		}
		t.Put(c.Key, c.New)
		return nil
	})
	rt := b.start(t, projection.Config{}, src, seen)
	b.append(t, "ada", deposited{1})
	b.append(t, "ada", deposited{2})
	wait(t, rt, b.append(t, "bob", deposited{5}))
	expect(t, src, map[string]int64{"ada": 3, "bob": 5})
	expect(t, seen, map[string]int64{"ada": 1, "bob": 5})
	if !slices.Equal(tried, []int64{1, 3, 3, 5}) {
		t.Errorf("tried %v", tried)
	}
	if p := rt.Parked(); len(p) != 1 || !p[0].Skipped || p[0].Upstream != "balances" || p[0].Type != "" || p[0].Err != "three" {
		t.Errorf("parked: %+v", p)
	}
}
