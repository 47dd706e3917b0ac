package projection

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"maps"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/snapshot"
)

type label string

// What is loaded is what was stored, for keys of any kind and any number
// of rows around the size of a block; what can't be read leaves the rows as
// they were.
func TestFill(t *testing.T) {
	for _, n := range []int{0, 1, rowBlock - 1, rowBlock, rowBlock + 1, rowBlock*(fillAhead+3) + 7} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			fillAndCompare(t, n, func(i int) string { return fmt.Sprintf("key-%06d", i) })
			fillAndCompare(t, n, func(i int) label { return label(fmt.Sprintf("label-%06d", i)) })
			fillAndCompare(t, n, func(i int) int32 { return int32(i - 100) })
		})
	}
}

func fillAndCompare[K comparable](t *testing.T, n int, key func(int) K) {
	t.Helper()
	table := NewTable[K, int]("t")
	stored := func(yield func(snapshot.Change, error) bool) {
		for i := range n {
			k, err := table.keys.append(nil, key(i))
			if err != nil {
				t.Fatal(err)
			}
			v, err := eventlog.MsgPack.Append(nil, i)
			if err != nil {
				t.Fatal(err)
			}
			if !yield(snapshot.Change{Key: k, Value: v, Digest: snapshot.DigestOf(k, v)}, nil) {
				return
			}
		}
	}
	for _, clean := range []bool{true, false} {
		if err := table.load(lent(stored), nil, clean); err != nil {
			t.Fatal(err)
		}
		var sum snapshot.Digest
		for e := range iter.Seq2[snapshot.Change, error](stored) {
			sum = sum.Plus(e.Digest)
		}
		if table.Len() != n || table.digest != sum || table.whole == clean || len(table.dirty) != map[bool]int{true: 0, false: n}[clean] {
			t.Fatalf("clean %t: %d rows of %d, %d to be saved", clean, table.Len(), n, len(table.dirty))
		}
		for i := range n {
			if v, ok := table.Get(key(i)); !ok || v != i {
				t.Fatalf("key %v: %d, %t", key(i), v, ok)
			}
		}
	}
	cut := errors.New("the connection is lost")
	broken := func(yield func(snapshot.Change, error) bool) {
		for e, err := range iter.Seq2[snapshot.Change, error](stored) {
			if !yield(e, err) {
				return
			}
		}
		yield(snapshot.Change{}, cut)
	}
	if err := table.load(broken, nil, true); !errors.Is(err, cut) || table.Len() != n {
		t.Fatalf("%v; %d rows, %d were there", err, table.Len(), n)
	}
}

// lent overwrites each entry behind its step, as a store may that lends them.
func lent(es iter.Seq2[snapshot.Change, error]) iter.Seq2[snapshot.Change, error] {
	return func(yield func(snapshot.Change, error) bool) {
		for e, err := range es {
			e.Key, e.Value = bytes.Clone(e.Key), bytes.Clone(e.Value)
			if !yield(e, err) {
				return
			}
			for _, b := range [][]byte{e.Key, e.Value} {
				for i := range b {
					b[i] = 0xc1
				}
			}
		}
	}
}

// R2.7: what is restored into partitions is what was saved, though each entry
// is lent for one step; what can't be read leaves all of them as they were.
func TestFillPartitions(t *testing.T) {
	from := NewTable[string, int]("t")
	from.lock()
	for i := range 3*rowBlock + 5 {
		from.tx.Put(fmt.Sprint("key-", i), i)
	}
	from.commit()
	from.unlock()
	changes, digest, err := from.cut().encode()
	if err != nil {
		t.Fatal(err)
	}
	cut := errors.New("the connection is lost")
	entries := func(end error) iter.Seq2[snapshot.Change, error] {
		return lent(func(yield func(snapshot.Change, error) bool) {
			for _, c := range changes {
				if !yield(c, nil) {
					return
				}
			}
			if end != nil {
				yield(snapshot.Change{}, end)
			}
		})
	}
	for _, partitions := range []int{1, 3} {
		p := NewPartitioned[int]("t", partitions)
		p.expect(snapshot.MemberState{Segments: []snapshot.Segment{{Entries: uint64(len(changes))}}})
		for _, end := range []error{nil, cut} {
			if err := p.load(entries(end), nil, true); !errors.Is(err, end) {
				t.Fatal(err)
			}
			if got := maps.Collect(p.All()); !maps.Equal(got, maps.Collect(from.All())) {
				t.Errorf("%d partitions, ending in %v: %d rows aren't the %d that were saved", partitions, end, len(got), from.Len())
			}
			if _, got, err := p.cut().encode(); err != nil || got != digest {
				t.Errorf("%d partitions: digest %s, want %s, %v", partitions, got, digest, err)
			}
		}
	}
}

// A key or a value that can't be decoded is damage.
func TestFillDamaged(t *testing.T) {
	table := NewTable[int64, int]("t")
	one := func(key, value []byte) iter.Seq2[snapshot.Change, error] {
		return func(yield func(snapshot.Change, error) bool) { yield(snapshot.Change{Key: key, Value: value}, nil) }
	}
	good, err := eventlog.MsgPack.Append(nil, 7)
	if err != nil {
		t.Fatal(err)
	}
	if err := table.load(one([]byte("short"), good), nil, true); !errors.Is(err, snapshot.ErrCorrupt) {
		t.Errorf("a key that is none: %v", err)
	}
	if err := table.load(one(make([]byte, 8), []byte{0xc1}), nil, true); !errors.Is(err, snapshot.ErrCorrupt) {
		t.Errorf("a value that is none: %v", err)
	}
	if table.Len() != 0 {
		t.Errorf("%d rows", table.Len())
	}
}

// What events wait for where a follower takes over, and saves its whole state:
// all rows were gathered beside.
func BenchmarkTakeover(b *testing.B) {
	type account struct{ Count, Cents uint64 }
	const rows = 1_000_000
	table := NewTable[string, account]("t")
	table.lock()
	for i := range rows {
		table.tx.Put(fmt.Sprintf("acct-%07d", i), account{1, 1})
	}
	table.commit()
	table.unlock()
	table.cut()
	var took time.Duration
	n := 0
	for b.Loop() {
		table.gather()()
		begun := time.Now()
		table.touchAll()
		c := table.cut().(*tableCut[string, account])
		took += time.Since(begun)
		if c.join(); c.len() != rows {
			b.Fatalf("%d rows are saved", c.len())
		}
		n++
	}
	b.ReportMetric(float64(took.Microseconds())/float64(n), "us/takeover")
}
