package projection

import (
	"bytes"
	"maps"
	"math"
	"testing"

	"github.com/tidemark-es/tidemark/snapshot"
	"pgregory.net/rapid"
)

// A cut's memory serves again, and yet each cut holds exactly what changed,
// as it was at that moment (R0.16, R0.18), whatever was saved, is being saved or
// failed, and whichever commits were taken back.
func TestCutsMemoryServesAgain(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		table := NewTable[string, int]("t")
		stored := make(map[string][]byte) // what the store would have
		for range rapid.IntRange(1, 12).Draw(rt, "cuts") {
			change := func(i int) {
				table.lock()
				defer table.unlock()
				for j := range rapid.IntRange(1, 3).Draw(rt, "in one commit") {
					key := rapid.StringMatching(`[a-e]`).Draw(rt, "key")
					if rapid.Bool().Draw(rt, "delete") {
						table.tx.Delete(key)
					} else {
						table.tx.Put(key, 10*i+j)
					}
				}
				if rapid.IntRange(0, 3).Draw(rt, "handler fails") == 0 {
					table.rollback()
					return
				}
				table.commit()
			}
			for i := range rapid.IntRange(0, 6).Draw(rt, "changes") {
				change(i)
			}
			want := maps.Collect(table.All())
			c := table.cut()
			for i := range rapid.IntRange(0, 6).Draw(rt, "while it is saved") {
				change(100 + i)
			}
			if rapid.IntRange(0, 3).Draw(rt, "fails") == 0 {
				table.requeue(c)
				continue
			}
			changes, digest, err := c.encode()
			if err != nil {
				rt.Fatal(err)
			}
			c.(releaser).release()
			live := 0
			for _, ch := range changes {
				if !ch.Deleted {
					live++
				}
			}
			if all := areAll(changes, digest); all != (live > 0 && live == len(want)) {
				rt.Fatalf("%d of %d rows changed, all: %t", live, len(want), all)
			} else if all {
				clear(stored) // as the store does with what it had
			}
			for _, ch := range changes {
				if delete(stored, string(ch.Key)); !ch.Deleted {
					stored[string(ch.Key)] = bytes.Clone(ch.Value)
				}
			}
			fold := NewTable[string, int]("fold")
			fold.lock()
			for k, v := range want {
				fold.tx.Put(k, v)
			}
			fold.commit()
			fold.unlock()
			whole, sum, err := fold.peek().encode()
			if err != nil {
				rt.Fatal(err)
			}
			if digest != sum || !same(stored, whole) {
				rt.Fatalf("the store has %q with digest %s, the state was %v with digest %s", stored, digest, want, sum)
			}
		}
	})
}

func same(stored map[string][]byte, whole []snapshot.Change) bool {
	for _, ch := range whole {
		if v, ok := stored[string(ch.Key)]; !ok || !bytes.Equal(v, ch.Value) {
			return false
		}
	}
	return len(stored) == len(whole)
}

// What a cut allocates makes it help the garbage collector (R0.17). Between two that
// were saved it is nothing, however many rows changed.
func TestCutAllocatesNothing(t *testing.T) {
	table := NewTable[int, int]("t")
	step := func() capture {
		table.lock()
		for i := range 1000 {
			table.tx.Put(i, 1)
		}
		table.commit()
		table.unlock()
		return table.cut()
	}
	for range 4 {
		step().(releaser).release()
	}
	next := make(chan capture, 1)
	// Goroutines that other tests have left count, too: the least of some is its own.
	least := math.Inf(1)
	for range 5 {
		least = min(least, testing.AllocsPerRun(20, func() { next <- step(); (<-next).(releaser).release() }))
	}
	if least > 0 {
		t.Errorf("%.0f allocations", least)
	}
}
