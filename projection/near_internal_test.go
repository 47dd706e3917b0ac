package projection

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"pgregory.net/rapid"
)

// setHand adds a value to a row of TestRowsAtHand; 0 deletes it.
type setHand struct {
	Key   string
	Value int
	Other bool // of the table that reads changes, too
	Fail  bool
}

var errRefused = errors.New("refused")

// handTables are a table of events, one of its changes, and one of both: its
// rows come and go by events, too, under the same keys and others.
func handTables(feed *eventlog.Feed) (src, double, mixed *Table[string, int]) {
	apply := func(tx *Tx[string, int], key string, v int) {
		if v == 0 {
			tx.Delete(key)
		} else {
			tx.Put(key, tx.Value(key)+v)
		}
	}
	skip := OnFailure(FailurePolicy{Then: Skip})
	src = NewTable[string, int]("src", skip)
	On(src, feed, func(tx *Tx[string, int], _ eventlog.Event, s setHand) error {
		if apply(tx, s.Key, s.Value); s.Fail {
			return errRefused
		}
		return nil
	})
	double = Map("double", src, func(_ string, v int) int { return 2 * v })
	mixed = NewTable[string, int]("mixed", skip)
	On(mixed, feed, func(tx *Tx[string, int], _ eventlog.Event, s setHand) error {
		switch {
		case s.Other && s.Value == 3:
			tx.Delete(s.Key)
		case s.Other:
			apply(tx, s.Key, -s.Value)
		}
		return nil
	})
	OnChange(mixed, double, func(tx *Tx[string, int], c Change[string, int]) error {
		if c.New%3 == 0 {
			tx.Delete(c.Key)
		} else {
			tx.Put(c.Key, c.New)
		}
		tx.Put("n", tx.Value("n")+1)
		tx.Get(c.Key)
		if c.New%14 == 0 && c.Has {
			return errRefused
		}
		return nil
	})
	return src, double, mixed
}

// handMaps are what src and mixed must have, as plain maps.
type handMaps struct{ rows, also map[string]int }

func newHandMaps() handMaps { return handMaps{map[string]int{}, map[string]int{}} }

func (m *handMaps) commit(events []setHand) {
	next, behind := maps.Clone(m.rows), maps.Clone(m.also)
	put := func(m map[string]int, k string, v int) {
		if v == 0 {
			delete(m, k)
		} else {
			m[k] += v
		}
	}
	failed, refused := false, false
	for _, e := range events {
		put(next, e.Key, e.Value)
		switch failed = failed || e.Fail; {
		case e.Other && e.Value == 3:
			delete(behind, e.Key)
		case e.Other:
			put(behind, e.Key, -e.Value)
		}
	}
	if failed {
		next = m.rows
	}
	for k := range union(m.rows, next) {
		old, had := m.rows[k]
		v, has := next[k]
		if old == v && had == has {
			continue
		}
		behind["n"]++
		if delete(behind, k); v*2%3 != 0 {
			behind[k] = 2 * v
		}
		refused = refused || has && 2*v%14 == 0
	}
	if m.rows = next; !refused {
		m.also = behind
	}
}

// A row that is remembered, under whatever key it was used last, is the one
// that a map of keys has: rows are put, deleted, put again, and taken back,
// table and all (T2.1).
func TestRowsAtHand(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		feed, err := eventlog.Offline("f", eventlog.Type[setHand]("set"))
		if err != nil {
			t.Fatal(err)
		}
		src, double, mixed := handTables(feed)
		r, err := Rehearse(src, double, mixed)
		if err != nil {
			t.Fatal(err)
		}
		plain, seq := newHandMaps(), uint64(0)
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				twice := make(map[string]int)
				for k, v := range plain.rows {
					twice[k] = 2 * v
				}
				for tab, want := range map[*Table[string, int]]map[string]int{src: plain.rows, double: twice, mixed: plain.also} {
					got := maps.Collect(tab.All())
					if !maps.Equal(got, want) {
						t.Fatalf("%s has %v, want %v", tab.Name(), got, want)
					}
					for k, v := range want {
						if got, ok := tab.Get(k); got != v || !ok {
							t.Fatalf("%s of %s is %d, %v, want %d", k, tab.Name(), got, ok, v)
						}
					}
				}
			},
			"reset": func(*rapid.T) {
				r.Reset()
				plain, seq = newHandMaps(), 0
			},
			"commit": func(t *rapid.T) {
				events := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) setHand {
					return setHand{
						Key: fmt.Sprint(rapid.IntRange(0, 7).Draw(t, "key")), Value: rapid.IntRange(0, 3).Draw(t, "value"),
						Other: rapid.Bool().Draw(t, "other"), Fail: rapid.IntRange(0, 9).Draw(t, "fail") == 0,
					}
				}), 1, 5).Draw(t, "events")
				d := eventlog.Draft{Key: "k"}
				for _, e := range events {
					d.Events = append(d.Events, e)
				}
				plain.commit(events)
				seq++
				c, err := feed.Rehearse(d, seq, time.Unix(0, 0))
				if err != nil {
					t.Fatal(err)
				}
				if err := r.Step(c); err != nil {
					t.Fatal(err)
				}
			},
		})
	})
}

func union(a, b map[string]int) map[string]int {
	all := maps.Clone(b)
	maps.Copy(all, a)
	return all
}

// A table may keep a row when the only one that it goes with is gone.
func TestARowOutlivesTheLast(t *testing.T) {
	src, dst := NewTable[string, int]("src"), NewTable[string, int]("dst")
	near, of := followerOf(dst, Relation[string, int](src))
	dst.lock()
	defer dst.unlock()
	for range 2 {
		_, rows := of.numbers()
		near.find(7)
		dst.tx.Put("k", dst.tx.Value("k")+1)
		near.keep(7, "k", rows)
	}
	if dst.rows["k"].value != 2 {
		t.Error(dst.rows["k"].value)
	}
}

// The number of a cut begins anew after 2^32 of them, and a change is noted
// all the same.
func TestCutsCountRound(t *testing.T) {
	table := NewTable[string, int]("t")
	put := func(v int) {
		table.lock()
		table.tx.Put("k", v)
		table.commit()
		table.unlock()
	}
	put(1)
	table.cut()
	table.epoch = math.MaxUint32
	put(2)
	if n := table.cut().len(); n != 1 || table.epoch != 1 {
		t.Fatal(n, table.epoch)
	}
	table.rows["k"].cut = 1
	table.epoch = math.MaxUint32
	table.cut()
	put(3)
	if n := table.cut().len(); n != 1 {
		t.Errorf("%d changed rows are known, want 1", n)
	}
}
