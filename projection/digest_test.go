package projection_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
	"github.com/tidemark-es/tidemark/snapshot"
	"github.com/tidemark-es/tidemark/timeframe"
)

// daybook keeps a map in each row, which has no order of its own. add is what
// the handler adds to each deposit: zero where it is deterministic.
type daybook struct {
	Total  int64
	ByCent map[int64]int
}

func (b *bank) daybooks(add int64) *projection.Table[string, daybook] {
	t := projection.NewTable[string, daybook]("daybooks")
	projection.On(t, b.accounts, func(tx *projection.Tx[string, daybook], e eventlog.Event, d deposited) error {
		old := tx.Value(e.Key)
		next := daybook{Total: old.Total + d.Cents + add, ByCent: map[int64]int{d.Cents: 1}}
		for c, n := range old.ByCent {
			next.ByCent[c] += n
		}
		tx.Put(e.Key, next)
		return nil
	})
	projection.On(t, b.accounts, func(tx *projection.Tx[string, daybook], e eventlog.Event, _ closed) error {
		tx.Delete(e.Key)
		return nil
	})
	return t
}

func digestAt(t *testing.T, rt *projection.Runtime, name string) (timeframe.Timeframe, snapshot.Digest) {
	t.Helper()
	at, d, err := rt.Digest(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return at, d
}

// The same state has the same digest, however it came about: by following, by
// replay, from a snapshot and a tail, with saves in between or without.
func TestSameStateSameDigest(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	var last eventlog.Position
	some := func(n int) {
		for i := range n {
			last = b.append(t, string(rune('a'+i%5)), deposited{int64(i)})
			if i%11 == 10 {
				last = b.append(t, string(rune('a'+i%5)), closed{})
			}
		}
	}
	saver := must(often(3).Start(ctx, b.log, b.daybooks(0)))(t)
	none := must(projection.Config{NoSnapshots: true}.Start(ctx, b.log, b.daybooks(0)))(t)
	defer none.Close()
	for range 3 {
		some(40)
		for _, rt := range []*projection.Runtime{saver, none} {
			if err := rt.Wait(ctx, last); err != nil {
				t.Fatal(err)
			}
		}
		at, want := digestAt(t, none, "daybooks")
		again, d := digestAt(t, saver, "daybooks")
		if d != want || !at.Equal(again) || want == (snapshot.Digest{}) {
			t.Fatalf("at %s %s, at %s %s", at, want, again, d)
		}
		if err := saver.CompareSnapshots(ctx); err != nil {
			t.Fatal(err)
		}
		if err := saver.Close(); err != nil {
			t.Fatal(err)
		}
		saver = must(often(3).Start(ctx, b.log, b.daybooks(0)))(t)
		if r := status(t, saver, "daybooks").Recovery; r.Source != projection.FromSnapshot {
			t.Fatalf("recovery %+v", r)
		}
		if _, d := digestAt(t, saver, "daybooks"); d != want {
			t.Fatalf("restored: %s, want %s", d, want)
		}
	}
	if err := saver.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := saver.Digest(ctx, "daybooks"); !errors.Is(err, projection.ErrClosed) {
		t.Errorf("of a closed one: %v", err)
	}
	if _, _, err := none.Digest(ctx, "other"); !errors.Is(err, projection.ErrInvalid) {
		t.Errorf("of nothing: %v", err)
	}
}

// Two replicas whose handler isn't deterministic: the one that finds the
// other's snapshot at a timeframe of its own says so. With one that is,
// nothing is said.
func TestDivergence(t *testing.T) {
	for _, add := range []int64{0, 1} {
		t.Run(map[int64]string{0: "deterministic", 1: "not deterministic"}[add], func(t *testing.T) {
			ctx := logtest.Context(t)
			b := openBank(t, logtest.Options(t))
			told := make(chan *projection.DivergedError, 100)
			cfg := often(1)
			cfg.Diverged = func(d *projection.DivergedError) { told <- d }
			one := b.start(t, cfg, b.daybooks(0))
			b.append(t, "ada", deposited{5})
			tick := time.NewTicker(time.Millisecond)
			defer tick.Stop()
			for status(t, one, "daybooks").Snapshots.Saves == 0 { // it has the lease
				select {
				case <-tick.C:
				case <-ctx.Done():
					t.Fatal(context.Cause(ctx))
				}
			}
			reader := cfg
			reader.Snapshots = projection.Policy{Events: 1 << 40, NotOnClose: true}
			two := b.start(t, reader, b.daybooks(add))
			at := b.append(t, "ada", deposited{1}, deposited{2})
			for _, rt := range []*projection.Runtime{one, two} {
				if err := rt.Wait(ctx, at); err != nil {
					t.Fatal(err)
				}
			}
			if err := one.Close(); err != nil { // saves
				t.Fatal(err)
			}
			err := two.CompareSnapshots(ctx)
			if add == 0 {
				if err != nil || len(told) != 0 || status(t, two, "daybooks").Diverged != nil {
					t.Fatalf("said: %v", err)
				}
				return
			}
			d, ok := errors.AsType[*projection.DivergedError](err)
			if !ok || !errors.Is(err, projection.ErrDiverged) || d.Projection != "daybooks" || d.Ours == d.Theirs || d.Snapshot.IsZero() {
				t.Fatalf("said: %v", err)
			}
			t.Log(err)
			if got := status(t, two, "daybooks").Diverged; got == nil || got.Snapshot != d.Snapshot || (<-told).Snapshot != d.Snapshot {
				t.Errorf("status %v", got)
			}
			if err := two.CompareSnapshots(ctx); !errors.Is(err, projection.ErrDiverged) || len(told) != 0 {
				t.Errorf("again: %v, told %d times", err, len(told))
			}
		})
	}
}

// Nobody has to ask: a process compares its own digests with what another one
// saves.
func TestDivergenceFoundByItself(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	told := make(chan *projection.DivergedError, 100)
	cfg := projection.Config{Snapshots: projection.Policy{Events: 1, MinInterval: time.Millisecond, NotOnClose: true}}
	cfg.Diverged = func(d *projection.DivergedError) { told <- d }
	cfg.CompareEvery = 10 * time.Millisecond
	one, two := b.start(t, cfg, b.daybooks(0)), b.start(t, cfg, b.daybooks(1))
	b.append(t, "ada", deposited{1})
	select {
	case d := <-told:
		t.Log(d)
	case <-ctx.Done():
		t.Fatal(context.Cause(ctx))
	}
	at := b.append(t, "ada", deposited{1}) // both go on
	if err := errors.Join(one.Wait(ctx, at), two.Wait(ctx, at)); err != nil {
		t.Error(err)
	}
}

// A log that lost its tail has used numbers again: that isn't a divergence.
func TestLostTailIsNoDivergence(t *testing.T) {
	d := newDirBank(t)
	told := make(chan *projection.DivergedError, 100)
	cfg := often(1)
	cfg.Diverged = func(e *projection.DivergedError) { told <- e }
	run := func(b *bank, cents int64) {
		rt := must(cfg.Start(logtest.Context(t), b.log, b.daybooks(0)))(t)
		defer rt.Close()
		if err := rt.Wait(t.Context(), b.append(t, "ada", deposited{cents})); err != nil {
			t.Fatal(err)
		}
		if err := rt.CompareSnapshots(t.Context()); err != nil {
			t.Error(err)
		}
	}
	d.with(t, func(b *bank) { b.append(t, "bob", deposited{7}) })
	d.cut(t, func(b *bank) { run(b, 1) })
	d.with(t, func(b *bank) { run(b, 2) })
	if len(told) > 0 {
		t.Errorf("told %v", <-told)
	}
}
