//go:build integration

package integration

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/backup"
)

// An application is backed up while it runs and carries effects out, and the
// backup is restored: every event in it has its effects, reactions and timers
// in the end, those that come at the positions of what was left out too; what
// has an end in the backup isn't repeated.
func TestBackupsOfEffects(t *testing.T) {
	for seed := range uint64(fullOr(100, 4)) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			ctx := limited(t, 2*time.Minute)
			r, w := rand.New(rand.NewPCG(seed, 0)), newWorld(seed)
			b := openBuyers(ctx, t, t.TempDir(), w)
			b.start(ctx)
			b.buy(ctx, r.IntN(30))
			b.run(ctx)
			some, few := 30+r.IntN(150), 1+r.IntN(5)
			writing, stop := context.WithCancel(ctx)
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				for writing.Err() == nil {
					b.buy(ctx, few)
				}
			}()
			await(ctx, t, "some orders", func() bool { return w.orders() >= some })
			dir := filepath.Join(t.TempDir(), "backup")
			m := must(backup.Save(ctx, b.log, dir))(t)
			if len(m.Notes) > 0 {
				t.Errorf("%q", m.Notes)
			}
			stop()
			<-ended
			b.close()

			again := openBuyers(ctx, t, t.TempDir(), w)
			must(backup.Restore(ctx, again.log, dir))(t)
			w.fresh()
			again.start(ctx)
			done := again.done(ctx)
			again.buy(ctx, 40)
			again.run(ctx)
			again.buy(ctx, r.IntN(40))
			again.settle(ctx)
			if found := must(again.letters.Orphans(ctx))(t); len(found) > 0 {
				t.Errorf("without a cause: %+v", found)
			}
			again.check(ctx, done)
			again.close()
		})
	}
}

// Feeds come back without their ends, as older copies of their files: every
// event that is there, and comes then, has its effects, reactions and timers.
// What follows from what is stored elsewhere is set back with that, or it would
// be lost, as all that was acknowledged and isn't there.
func TestFeedsWithoutTheirEnds(t *testing.T) {
	for seed := range uint64(fullOr(100, 6)) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			ctx := limited(t, 2*time.Minute)
			r, w := rand.New(rand.NewPCG(seed, 2)), newWorld(seed)
			dir, copies := t.TempDir(), t.TempDir()
			session := func(before, after int, settled bool) *buyers {
				b := openBuyers(ctx, t, dir, w)
				b.start(ctx)
				b.buy(ctx, before)
				b.run(ctx)
				b.buy(ctx, after)
				if settled {
					b.settle(ctx)
				}
				return b
			}
			session(r.IntN(20), 1+r.IntN(40), r.IntN(2) == 0).close()
			streams := filepath.Join(dir, "jetstream", "$G", "streams")
			var lost []string
			for i, choice := range [][]string{
				{"orders"}, {"letters-outcomes"}, {"ship-reactions-outcomes"}, {"parcels", "ship-timers", "ship-reactions-outcomes"},
			} {
				if i == int(seed)%4 || r.IntN(3) == 0 {
					lost = append(lost, choice...)
				}
			}
			for _, feed := range lost {
				at := filepath.Join(copies, "buyers_"+feed)
				if err := os.CopyFS(at, os.DirFS(filepath.Join(streams, "buyers_"+feed))); err != nil && !os.IsExist(err) {
					t.Fatal(err)
				}
			}
			session(r.IntN(40), r.IntN(40), r.IntN(3) > 0).close()
			for _, feed := range lost {
				if err := os.RemoveAll(filepath.Join(streams, "buyers_"+feed)); err != nil {
					t.Fatal(err)
				}
			}
			must(0, os.CopyFS(streams, os.DirFS(copies)))(t)
			if r.IntN(2) == 0 {
				must(0, os.RemoveAll(filepath.Join(dir, "marks")))(t) // what is lost came after the last mark
			} // else the loss is told, and given up

			w.fresh()
			last := openBuyers(ctx, t, dir, w)
			last.start(ctx)
			done := last.done(ctx)
			last.buy(ctx, r.IntN(40))
			last.run(ctx)
			last.buy(ctx, 40)
			last.settle(ctx)
			last.check(ctx, done)
			last.close()
			if t.Failed() {
				t.Logf("set back: %q", lost)
			}
		})
	}
}
