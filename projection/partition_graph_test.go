package projection_test

import (
	"errors"
	"fmt"
	"maps"
	"sync/atomic"
	"testing"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
)

// partedBank is accounts in partitions, and what is made of them: how many
// there are by their hundreds, doubled, and a sum.
type partedBank struct {
	accounts *projection.Partitioned[int64]
	double   *projection.Table[string, int64]
	hundreds *projection.Table[string, projection.Group[int64]]
	sum      *projection.Table[string, projection.Group[int64]]
	told     atomic.Int64
}

// newPartedBank: what each deposit adds to is the program's version.
func newPartedBank(b *bank, version uint64, mended bool) *partedBank {
	p := &partedBank{accounts: projection.NewPartitioned[int64]("accounts", 3, projection.Version(version), projection.OnFailure(projection.FailurePolicy{Then: projection.ParkKey}))}
	projection.OnRow(p.accounts, b.accounts, func(r projection.Row[int64], e eventlog.Event, d deposited) error {
		if d.Cents < 0 && !mended {
			return errors.New("not so")
		}
		r.Put(r.Value() + d.Cents + int64(version))
		return nil
	})
	one := func(a int64, _ string, _ int64) int64 { return a + 1 }
	p.hundreds = projection.Aggregate("hundreds", p.accounts, func(_ string, v int64) (string, bool) { return fmt.Sprint(v / 100), true },
		one, func(a int64, _ string, _ int64) int64 { return a - 1 })
	p.double = projection.Map("double", p.accounts, func(_ string, v int64) int64 { p.told.Add(1); return 2 * v })
	p.sum = projection.Aggregate("sum", p.accounts, func(string, int64) (string, bool) { return "all", true },
		func(a int64, _ string, v int64) int64 { return a + v }, func(a int64, _ string, v int64) int64 { return a - v })
	return p
}

func (p *partedBank) check(t *testing.T, what string, want map[string]int64) {
	t.Helper()
	double, hundreds, sum := map[string]int64{}, map[string]projection.Group[int64]{}, int64(0)
	for k, v := range want {
		double[k] = 2 * v
		h := hundreds[fmt.Sprint(v/100)]
		hundreds[fmt.Sprint(v/100)] = projection.Group[int64]{Rows: h.Rows + 1, Value: h.Value + 1}
		sum += v
	}
	if got := maps.Collect(p.accounts.All()); !maps.Equal(got, want) {
		t.Errorf("%s: accounts %v, want %v", what, got, want)
	}
	equal(t, what, p.hundreds, hundreds)
	equal(t, what, p.double, double)
	equal(t, what, p.sum, map[string]projection.Group[int64]{"all": {Rows: len(want), Value: sum}})
}

// What reads a partitioned table is restored, built, corrected and previewed
// as behind a plain one; and its parked commits can be handled again.
func TestPartitionedInAGraph(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, eventlog.Options{App: logtest.App(t), Memory: true})
	want := map[string]int64{}
	deposit := func(key string, cents int64) eventlog.Position {
		want[key] += cents
		return b.append(t, key, deposited{cents})
	}
	for i := range 120 {
		deposit(fmt.Sprint("k", i%7), int64(i))
	}
	p := newPartedBank(b, 0, false)
	rt := b.start(t, often(50), p.accounts, p.hundreds, p.double) // without the sum
	b.append(t, "k3", deposited{-100})
	if err := rt.Wait(ctx, b.append(t, "k3", deposited{7})); err != nil {
		t.Fatal(err)
	}
	if parked := rt.Parked(); len(parked) != 2 || parked[0].Key != "k3" || parked[0].Attempts != 1 || !parked[1].Waiting {
		t.Fatalf("parked %+v", parked)
	}
	if err := rt.Wait(ctx, deposit("k5", 3)); err != nil {
		t.Fatal(err)
	}
	o := must(rt.Preview(ctx, b.accounts, "k1", deposited{1000}))(t)
	if c := p.accounts.ChangesIn(o); len(c) != 1 || c[0].New != want["k1"]+1000 || len(p.double.ChangesIn(o)) != 1 || len(p.hundreds.ChangesIn(o)) != 2 {
		t.Errorf("preview: %+v, %v", c, o.Changed())
	}
	if err := projection.View(func(*projection.Snapshot) error { return nil }, p.accounts); !errors.Is(err, projection.ErrInvalid) {
		t.Errorf("view: %v", err)
	}
	if err := rt.Close(); err != nil {
		t.Fatal(err)
	}

	p = newPartedBank(b, 0, true)
	rt = b.start(t, often(50), p.sum, p.double, p.hundreds, p.accounts)
	if got := sources(t, rt, "accounts", "hundreds", "double", "sum"); got != "snapshot snapshot snapshot rows" {
		t.Errorf("from %s", got)
	}
	p.check(t, "restored", want)
	if n := must(rt.RetryParked(ctx))(t); n != 2 {
		t.Errorf("%d were applied", n)
	}
	want["k3"] += 7 - 100
	p.check(t, "handled again", want)
	if err := rt.Wait(ctx, deposit("k3", 1)); err != nil {
		t.Fatal(err)
	}
	p.check(t, "live", want)
	if err := rt.Close(); err != nil {
		t.Fatal(err)
	}

	p = newPartedBank(b, 1, true)
	rt = b.start(t, often(50), p.double, p.accounts, p.sum, p.hundreds)
	for key := range want { // the second version adds one for each deposit
		want[key] += map[string]int64{"k0": 18, "k1": 17, "k2": 17, "k3": 17 + 3, "k4": 17, "k5": 17 + 1, "k6": 17}[key]
	}
	p.check(t, "another version", want)
	if got := sources(t, rt, "accounts", "hundreds", "double", "sum"); got != "replay snapshot snapshot snapshot" || p.told.Load() != 7 {
		t.Errorf("from %s, and %d rows were told", got, p.told.Load())
	}
}
