package projection

import (
	"maps"
	"runtime"
	"testing"

	"pgregory.net/rapid"
)

// A commit keeps what each key had before it, and none of what its own events
// put in between.
func TestACommitKeepsOneUndoAKey(t *testing.T) {
	const events, size = 2000, 64 << 10 // 125 MiB in all
	for name, step := range map[string]func(x *Tx[string, []byte], i int){
		"one key":     func(x *Tx[string, []byte], i int) { x.Put("ada", make([]byte, size)) },
		"two keys":    func(x *Tx[string, []byte], i int) { x.Put([]string{"ada", "bob"}[i%2], make([]byte, size)) },
		"put, delete": func(x *Tx[string, []byte], i int) { x.Put("ada", make([]byte, size)); x.Delete("ada") },
		"two put, deleted": func(x *Tx[string, []byte], i int) {
			x.Put("bob", make([]byte, size))
			x.Put("ada", make([]byte, size))
			x.Delete("bob")
			x.Delete("ada")
		},
	} {
		t.Run(name, func(t *testing.T) {
			tab := NewTable[string, []byte]("t")
			tab.lock()
			defer tab.unlock()
			tab.tx.Put("ada", []byte("before"))
			tab.commit()
			before := heap()
			for i := range events {
				step(&tab.tx, i)
			}
			if grown := heap() - before; grown > 4<<20 {
				t.Errorf("it holds %d MiB", grown>>20)
			}
			tab.rollback()
			if v, ok := tab.get("ada"); len(tab.rows) != 1 || !ok || string(v) != "before" {
				t.Errorf("rolled back to %d rows", len(tab.rows))
			}
		})
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// Whatever a commit does, rolling it back leaves what was there before it, its
// net changes are one a key, and a part of it can be taken back as partitions
// do.
func TestUndoAgainstACopy(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		tab := NewTable[int, int]("t")
		tab.lock()
		defer tab.unlock()
		for range 20 {
			before := contentsOf(tab)
			change := func() {
				for range rapid.IntRange(0, 30).Draw(rt, "steps") {
					k := rapid.IntRange(0, 3).Draw(rt, "key")
					if rapid.Bool().Draw(rt, "put") {
						tab.tx.Put(k, rapid.IntRange(0, 2).Draw(rt, "value"))
					} else {
						tab.tx.Delete(k)
					}
				}
			}
			change()
			checkNet(rt, tab, 0, before)
			middle, length := contentsOf(tab), len(tab.undo)
			tab.begun = length // the next commit of a partition's run
			change()
			checkNet(rt, tab, length, middle)
			if rapid.Bool().Draw(rt, "take back the second") {
				tab.rollbackTo(length)
				clear(tab.undo[length:])
				tab.undo = tab.undo[:length]
				if got := contentsOf(tab); !maps.Equal(got, middle) {
					rt.Fatalf("back to %v, want %v", got, middle)
				}
			}
			if rapid.Bool().Draw(rt, "take back all") {
				tab.rollback()
				if got := contentsOf(tab); !maps.Equal(got, before) {
					rt.Fatalf("rolled back to %v, want %v", got, before)
				}
			}
			tab.commit()
		}
	})
}

func contentsOf(t *Table[int, int]) map[int]int {
	m := make(map[int]int)
	for k, r := range t.rows {
		m[k] = r.value
	}
	return m
}

// checkNet compares the net changes of what the undo list has from a place on.
func checkNet(rt *rapid.T, t *Table[int, int], from int, before map[int]int) {
	all := t.undo
	t.undo = all[from:]
	t.net(&Cause{})
	t.undo = all
	now := maps.Clone(before)
	for _, c := range t.delta {
		if old, had := before[c.Key]; old != c.Old || had != c.Had {
			rt.Fatalf("%+v, and it had %d, %v", c, old, had)
		}
		if c.Has {
			now[c.Key] = c.New
		} else {
			delete(now, c.Key)
		}
	}
	if got := contentsOf(t); !maps.Equal(now, got) {
		rt.Fatalf("by the net changes %v, the table has %v", now, got)
	}
	t.forget()
}
