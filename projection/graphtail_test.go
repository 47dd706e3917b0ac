package projection_test

import (
	"strings"
	"testing"

	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
)

// R3.13 for a graph: the log loses its tail, and its numbers are used again,
// for more than had been there. Every table of the graph goes back to the same
// older snapshot, and has what the log's own events make of it; nothing of
// what is lost is left in a derived one.
func TestGraphLosesItsTail(t *testing.T) {
	d := newDirBank(t)
	run := func(b *bank, key string, n int) (src, sum *projection.Table[string, int64], rt *projection.Runtime) {
		at := b.append(t, key, deposited{1})
		for range n - 1 {
			at = b.append(t, key, deposited{1})
		}
		src, sum, all := b.diamond(false)
		rt = b.start(t, often(5), all...)
		if err := rt.Wait(logtest.Context(t), at); err != nil {
			t.Fatal(err)
		}
		return src, sum, rt
	}
	done := func(rt *projection.Runtime) {
		if err := rt.Close(); err != nil {
			t.Fatal(err)
		}
	}
	d.with(t, func(b *bank) {
		_, _, rt := run(b, "kept", 20)
		done(rt)
	})
	d.cut(t, func(b *bank) {
		src, sum, rt := run(b, "lost", 10)
		equal(t, "source before", src, map[string]int64{"kept": 20, "lost": 10})
		equal(t, "sum before", sum, map[string]int64{"kept": 61, "lost": 31})
		done(rt)
	})
	d.with(t, func(b *bank) {
		src, sum, rt := run(b, "later", 15)
		equal(t, "source", src, map[string]int64{"kept": 20, "later": 15})
		equal(t, "sum", sum, map[string]int64{"kept": 61, "later": 46})
		for name, reason := range map[string]string{
			"balances": "sequence numbers were used again", "left": `"balances", which it reads, isn't restored`,
			"right": `"balances", which it reads, isn't restored`, "sum": "which it reads, isn't restored",
		} {
			r := status(t, rt, name).Recovery
			from, _ := r.From.Get("accounts")
			if r.Source != projection.FromSnapshot || from != 20 || !strings.Contains(strings.Join(r.Skipped, "\n"), reason) {
				t.Errorf("%s: %+v", name, r)
			}
		}
		done(rt)
	})
}
