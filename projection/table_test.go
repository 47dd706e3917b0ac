package projection

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"math"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/snapshot"
	"pgregory.net/rapid"
)

func changesOf(cs []snapshot.Change, err error) iter.Seq2[snapshot.Change, error] {
	return func(yield func(snapshot.Change, error) bool) {
		for _, c := range cs {
			if !c.Deleted && !yield(c, nil) {
				return
			}
		}
		if err != nil {
			yield(snapshot.Change{}, err)
		}
	}
}

// R0.1, R0.2: decode(encode(s)) is s, and restoring replaces; a failed load
// changes nothing.
func TestLoadReplaces(t *testing.T) {
	a := NewTable[string, int]("a")
	a.lock()
	a.tx.Put("x", 1)
	a.tx.Put("y", 2)
	a.commit()
	a.unlock()
	cs, _, err := a.cut().encode()
	if err != nil {
		t.Fatal(err)
	}
	b := NewTable[string, int]("b")
	b.lock()
	b.tx.Put("old", 9)
	b.commit()
	b.unlock()
	no := errors.New("no")
	if err := b.load(changesOf(cs, no), nil, true); !errors.Is(err, no) {
		t.Fatal(err)
	}
	if got := maps.Collect(b.All()); !maps.Equal(got, map[string]int{"old": 9}) {
		t.Errorf("after a failed load: %v", got)
	}
	if err := b.load(changesOf(cs, nil), nil, true); err != nil {
		t.Fatal(err)
	}
	if got := maps.Collect(b.All()); !maps.Equal(got, map[string]int{"x": 1, "y": 2}) {
		t.Errorf("loaded %v", got)
	}
	if n := b.cut().len(); n != 0 {
		t.Errorf("%d changes after a clean load", n)
	}
	// T0.10: an empty snapshot over live state leaves nothing of it.
	if err := b.load(changesOf(nil, nil), nil, true); err != nil || b.Len() != 0 {
		t.Errorf("%v, %d keys", err, b.Len())
	}
}

// Cuts, undone commits and requeued captures, at random, against a plain map:
// what the cuts hold, applied one after another, is the table; and the digest
// that is kept up by what changed is that of the whole.
func TestCutsAddUp(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := &cutModel{rt: rt, tab: NewTable[int8, int]("t"), want: map[int8]int{}, stored: map[string][]byte{}}
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			m.commit()
			switch rapid.IntRange(0, 9).Draw(rt, "then") {
			case 0:
				m.begin()
			case 1:
				m.end(true, true)
			case 2:
				m.end(true, false) // the store failed
			case 3:
				m.end(false, false) // encoding failed
			case 4:
				m.peek()
			case 6:
				m.tab.touchAll()
			case 7: // all is gathered, with changes before, meanwhile and after
				m.end(true, true)
				run := m.tab.gather()
				m.commit()
				run()
				m.commit()
				m.tab.touchAll()
				m.begin()
			case 8: // what was gathered doesn't hold any more
				m.end(true, true)
				run := m.tab.gather()
				m.begin()
				m.commit()
				run()
				m.end(true, true)
				m.tab.touchAll()
				m.begin()
			case 5:
				if rapid.IntRange(0, 3).Draw(rt, "restart") == 0 {
					m.restart()
				}
			}
			if got := maps.Collect(m.tab.All()); !maps.Equal(got, m.want) {
				rt.Fatalf("table %v, want %v", got, m.want)
			}
		}
		m.end(true, true)
		m.begin()
		m.end(true, true)
		m.restart()
		if got := maps.Collect(m.tab.All()); !maps.Equal(got, m.want) {
			rt.Fatalf("restored %v, want %v", got, m.want)
		}
	})
}

// cutModel is a table, a plain map beside it, and what was saved.
type cutModel struct {
	rt     *rapid.T
	tab    *Table[int8, int]
	want   map[int8]int
	stored map[string][]byte
	flying capture
	at     snapshot.Digest // of the state when flying was cut
}

func (m *cutModel) commit() {
	before := maps.Clone(m.want)
	m.tab.lock()
	defer m.tab.unlock()
	for range rapid.IntRange(0, 5).Draw(m.rt, "ops") {
		k := rapid.Int8Range(-3, 3).Draw(m.rt, "k")
		if rapid.Bool().Draw(m.rt, "put") {
			v := rapid.Int().Draw(m.rt, "v")
			m.tab.tx.Put(k, v)
			m.want[k] = v
		} else {
			m.tab.tx.Delete(k)
			delete(m.want, k)
		}
	}
	if rapid.Bool().Draw(m.rt, "undo") {
		m.tab.rollback()
		m.want = before
	} else {
		m.tab.commit()
	}
}

// whole is the digest of the map, made anew.
func (m *cutModel) whole() (d snapshot.Digest) {
	for k, v := range m.want {
		key, err := m.tab.keys.append(nil, k)
		if err != nil {
			m.rt.Fatal(err)
		}
		value, err := m.tab.values.append(nil, &v)
		if err != nil {
			m.rt.Fatal(err)
		}
		d = d.Plus(snapshot.DigestOf(key, value))
	}
	return d
}

// begin cuts, unless a capture is in flight.
func (m *cutModel) begin() {
	if m.flying == nil {
		m.flying, m.at = m.tab.cut(), m.whole()
	}
}

// end encodes and stores what is in flight, or puts it back.
func (m *cutModel) end(encode, store bool) {
	c := m.flying
	if c == nil {
		return
	}
	m.flying = nil
	if encode {
		cs, d, err := c.encode()
		if err != nil || d != m.at {
			m.rt.Fatalf("digest of the cut %s, %v, want %s", d, err, m.at)
		}
		for _, ch := range cs {
			switch {
			case !store:
			case ch.Deleted:
				delete(m.stored, string(ch.Key))
			default:
				m.stored[string(ch.Key)] = ch.Value
			}
		}
	}
	if !store {
		m.tab.requeue(c)
	}
}

// peek asks for the digest of the present state. What is in flight is encoded
// before, as the chain of encodings has it.
func (m *cutModel) peek() {
	m.end(true, true)
	for range 2 { // the first one has changed nothing
		if d, err := m.tab.peek().digest(); err != nil || d != m.whole() {
			m.rt.Fatalf("digest %s, %v, want %s", d, err, m.whole())
		}
	}
}

// restart goes on from what was stored, if that is all.
func (m *cutModel) restart() {
	m.end(true, true)
	m.begin()
	m.end(true, true)
	again := NewTable[int8, int]("again")
	var cs []snapshot.Change
	for k, v := range m.stored {
		cs = append(cs, snapshot.Change{Key: []byte(k), Value: v})
	}
	before := m.whole()
	member := snapshot.MemberState{Digest: before.Bytes()}
	if err := again.load(withDigests(changesOf(cs, nil), member), nil, rapid.Bool().Draw(m.rt, "clean")); err != nil {
		m.rt.Fatal(err)
	}
	m.tab = again
	m.peek()
}

// A state with another digest than its manifest says isn't loaded, whatever
// store it comes from.
func TestLoadComparesDigests(t *testing.T) {
	a := NewTable[string, int]("a")
	a.lock()
	a.tx.Put("x", 1)
	a.commit()
	a.unlock()
	cs, d, err := a.cut().encode()
	if err != nil {
		t.Fatal(err)
	}
	b := NewTable[string, int]("b")
	wrong := snapshot.MemberState{Digest: d.Plus(d).Bytes()}
	if err := b.load(withDigests(changesOf(cs, nil), wrong), nil, true); !errors.Is(err, snapshot.ErrCorrupt) || b.Len() != 0 {
		t.Errorf("loaded %d rows, %v", b.Len(), err)
	}
	if err := b.load(withDigests(changesOf(cs, nil), snapshot.MemberState{}), nil, true); err != nil {
		t.Errorf("an unknown digest: %v", err)
	}
}

type name string

type point struct {
	X int
	Y string
}

// Keys of every kind come back as they were; strings and integers sort as
// they do.
func TestKeyCodecs(t *testing.T) {
	keyRound(t, "", "a", "b\x00", "ä")
	keyRound[name](t, "", "x")
	keyRound(t, math.MinInt, -1, 0, 1, math.MaxInt)
	keyRound[int16](t, -300, 7, 300)
	keyRound[uint32](t, 0, 1, math.MaxUint32)
	keyRound(t, point{}, point{1, "a"}, point{-1, "b"})
	keyRound(t, true, false)
	keyRound(t, [2]int{1, 2})
	c := newKeyCodec[int8]()
	if _, err := c.decode([]byte{0x80, 0, 0, 0, 0, 0, 1, 0}); err == nil {
		t.Error("256 was taken for an int8")
	}
	if _, err := c.decode([]byte{1}); err == nil {
		t.Error("a short key was taken")
	}
}

func keyRound[K comparable](t *testing.T, ascending ...K) {
	t.Helper()
	c := newKeyCodec[K]()
	var last []byte
	for i, k := range ascending {
		b, err := c.append(nil, k)
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.decode(b)
		if err != nil || got != k {
			t.Errorf("%v came back as %v, %v", k, got, err)
		}
		switch any(k).(type) {
		case string, int, int16, uint32:
			if i > 0 && string(b) <= string(last) {
				t.Errorf("%v doesn't sort behind %v", k, ascending[i-1])
			}
		}
		last = b
	}
}

// A type's shape is what is stored of it, not its name.
func TestShape(t *testing.T) {
	type a struct {
		X int `msgpack:"x"`
		L []*a
	}
	type b struct {
		X int `msgpack:"x"`
		L []*b
	}
	type c struct {
		X int `msgpack:"y"`
		L []*c
	}
	if shapeOfT[a]() != shapeOfT[b]() {
		t.Error("renaming a type changes its shape")
	}
	if shapeOfT[a]() == shapeOfT[c]() {
		t.Error("another tag doesn't change the shape")
	}
}

func shapeOfT[T any]() string { return NewTable[string, T]("t").n.shape }

// R0.17: what a cut takes follows the changes, not the table.
func BenchmarkCut(b *testing.B) {
	type account struct{ Count, Cents uint64 }
	const changed = 1000
	for _, rows := range []int{10_000, 1_000_000} {
		tab := NewTable[string, account]("t")
		keys := make([]string, rows)
		tab.lock()
		for i := range keys {
			keys[i] = fmt.Sprintf("acct-%06d", i)
			tab.tx.Put(keys[i], account{1, 1})
		}
		tab.commit()
		tab.unlock()
		tab.cut()
		b.Run(fmt.Sprintf("rows=%d", rows), func(b *testing.B) {
			b.ReportAllocs()
			step, cuts := 0, 0
			var took time.Duration
			for b.Loop() {
				tab.lock()
				for range changed {
					step += 7919
					tab.tx.Put(keys[step%rows], account{2, 2})
				}
				tab.commit()
				tab.unlock()
				begun := time.Now()
				c := tab.cut()
				took += time.Since(begun)
				cuts++
				if c.len() != changed {
					b.Fatalf("%d changes", c.len())
				}
				c.(releaser).release() // as once it was saved
			}
			b.ReportMetric(float64(took.Nanoseconds())/float64(cuts), "ns/cut")
		})
		_, _, err := tab.peek().encode()
		if err != nil {
			b.Fatal(err)
		}
	}
}

// What the digest of a changed key costs: the hash of its new entry, and two
// sums; the old entry's digest is in the row.
func BenchmarkEncode(b *testing.B) {
	for _, changed := range []int{1000} {
		tab := NewTable[string, [2]uint64]("t")
		tab.lock()
		for i := range changed {
			tab.tx.Put(fmt.Sprintf("acct-%06d", i), [2]uint64{1, uint64(i)})
		}
		tab.commit()
		tab.unlock()
		c := tab.cut()
		b.ReportAllocs()
		for b.Loop() {
			if _, _, err := c.encode(); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*changed), "ns/key")
	}
}
