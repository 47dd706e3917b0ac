package projection

import (
	"errors"
	"iter"
	"maps"
	"math"
	"testing"

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
	cs, err := a.cut().encode()
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
// what the cuts hold, applied one after another, is the table.
func TestCutsAddUp(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		tab := NewTable[int8, int]("t")
		want := map[int8]int{}
		stored := map[string][]byte{}
		store := func(c capture) {
			cs, err := c.encode()
			if err != nil {
				rt.Fatal(err)
			}
			for _, ch := range cs {
				if ch.Deleted {
					delete(stored, string(ch.Key))
				} else {
					stored[string(ch.Key)] = ch.Value
				}
			}
		}
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			before := maps.Clone(want)
			tab.lock()
			for range rapid.IntRange(0, 5).Draw(rt, "ops") {
				k := rapid.Int8Range(-3, 3).Draw(rt, "k")
				if rapid.Bool().Draw(rt, "put") {
					v := rapid.Int().Draw(rt, "v")
					tab.tx.Put(k, v)
					want[k] = v
				} else {
					tab.tx.Delete(k)
					delete(want, k)
				}
			}
			if rapid.Bool().Draw(rt, "undo") {
				tab.rollback()
				want = before
			} else {
				tab.commit()
			}
			tab.unlock()
			switch rapid.IntRange(0, 3).Draw(rt, "then") {
			case 0:
				store(tab.cut())
			case 1:
				c := tab.cut()
				tab.requeue(c)
			}
			if got := maps.Collect(tab.All()); !maps.Equal(got, want) {
				rt.Fatalf("table %v, want %v", got, want)
			}
		}
		store(tab.cut())
		again := NewTable[int8, int]("again")
		var cs []snapshot.Change
		for k, v := range stored {
			cs = append(cs, snapshot.Change{Key: []byte(k), Value: v})
		}
		if err := again.load(changesOf(cs, nil), nil, true); err != nil {
			rt.Fatal(err)
		}
		if got := maps.Collect(again.All()); !maps.Equal(got, want) {
			rt.Fatalf("restored %v, want %v", got, want)
		}
	})
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
	if _, err := newKeyCodec[float64](); err == nil {
		t.Error("float64 was taken")
	}
	if _, err := newKeyCodec[struct{ x int }](); err == nil {
		t.Error("an unexported field was taken")
	}
	if c, _ := newKeyCodec[int8](); true {
		if _, err := c.decode([]byte{0x80, 0, 0, 0, 0, 0, 1, 0}); err == nil {
			t.Error("256 was taken for an int8")
		}
		if _, err := c.decode([]byte{1}); err == nil {
			t.Error("a short key was taken")
		}
	}
}

func keyRound[K comparable](t *testing.T, ascending ...K) {
	t.Helper()
	c, err := newKeyCodec[K]()
	if err != nil {
		t.Fatal(err)
	}
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
