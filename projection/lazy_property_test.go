package projection_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
	"pgregory.net/rapid"
)

// R2.32, T2.18: whatever is appended, needed, let go and started again, in
// whatever order: a lazy projection that is needed has the state and the digest
// of an eager one, and one that isn't does no work. Each event is handled once,
// since it is saved before it sleeps.
func TestLazyProperty(t *testing.T) {
	if testing.Short() {
		t.Skip("over a second; TestLazy runs")
	}
	ctx := logtest.Context(t)
	log := must(eventlog.Open(ctx, eventlog.Options{App: logtest.App(t), Memory: true}))(t)
	t.Cleanup(func() { _ = log.Close() })
	b := bankOf(t, log)
	eager := b.balances()
	reference := b.start(t, projection.Config{NoSnapshots: true}, eager)
	var at eventlog.Position
	commits, runs := 0, 0
	rapid.Check(t, func(r *rapid.T) {
		runs++
		var calls atomic.Int64
		name := fmt.Sprint("lazy-", runs) // has no snapshot yet
		var rt *projection.Runtime
		var lazy, behind *projection.Table[string, int64]
		start := func() {
			lazy = projection.NewTable[string, int64](name, projection.Lazy(time.Millisecond))
			projection.On(lazy, b.accounts, func(tx *projection.Tx[string, int64], e eventlog.Event, d deposited) error {
				calls.Add(1)
				tx.Put(e.Key, tx.Value(e.Key)+d.Cents)
				return nil
			})
			behind = projection.Map(name+"-b", lazy, func(_ string, v int64) int64 { return -v }, projection.Lazy(time.Millisecond))
			rt = must(often(1).Start(ctx, log, behind, lazy))(t)
		}
		start()
		defer func() { _ = rt.Close() }()
		handled := 0 // commits that it had to handle so far
		need := func() {
			release := must(rt.Need(ctx, behind))(t)
			defer release()
			if commits > 0 { // of earlier runs, too
				if err := reference.Wait(ctx, at); err != nil {
					r.Fatal(err)
				}
			}
			alike(t, name, lazy, eager)
			if g, w := behind.Len(), eager.Len(); g != w || behind.Len() > 0 && valueOf(behind, "a") != -valueOf(eager, "a") {
				r.Fatalf("the table behind: %v, want the opposite of %v", contents(behind), contents(eager))
			}
			_, got, err1 := rt.Digest(ctx, name)
			_, want, err2 := reference.Digest(ctx, "balances")
			if err1 != nil || err2 != nil || got != want {
				r.Fatalf("digest %s, %v, want %s, %v", got, err1, want, err2)
			}
			handled = commits
		}
		for range rapid.IntRange(1, 4).Draw(r, "steps") {
			switch rapid.SampledFrom([]string{"append", "need", "read", "restart"}).Draw(r, "step") {
			case "append":
				for range rapid.IntRange(1, 4).Draw(r, "commits") {
					at = b.append(t, rapid.SampledFrom([]string{"a", "b", "c"}).Draw(r, "key"), deposited{rapid.Int64Range(0, 3).Draw(r, "cents")})
					commits++
				}
				if err := rt.Wait(ctx, at); err != nil { // nobody is waited for
					r.Fatal(err)
				}
				if n := calls.Load(); n != int64(handled) {
					r.Fatalf("%d events were handled, want %d: nobody needs it", n, handled)
				}
				continue
			case "need":
				need()
			case "read":
				lazy.Get("a") // wakes it
				need()
			case "restart":
				if err := rt.Close(); err != nil {
					r.Fatal(err)
				}
				start()
			}
			awaitState(ctx, t, rt, name, projection.Dormant)
			if n := calls.Load(); n != int64(handled) {
				r.Fatalf("%d events were handled, want %d, each once", n, handled)
			}
		}
		need()
	})
}

func valueOf(t *projection.Table[string, int64], key string) int64 {
	v, _ := t.Get(key)
	return v
}
