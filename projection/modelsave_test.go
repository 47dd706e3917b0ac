package projection

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"testing"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/snapshot"
	"pgregory.net/rapid"
)

// blob is a model of bytes.
type blob struct{ data []byte }

func (b *blob) Snapshot(w io.Writer) error { _, err := w.Write(b.data); return err }

func (b *blob) Restore(r io.Reader) (err error) { b.data, err = io.ReadAll(r); return err }

// stored is a store of one member that is as simple as can be.
type stored map[string][]byte

func (s stored) save(cs []snapshot.Change) {
	for _, c := range cs {
		if c.Deleted {
			delete(s, string(c.Key))
		} else {
			s[string(c.Key)] = bytes.Clone(c.Value)
		}
	}
}

func (s stored) entries() iter.Seq2[snapshot.Change, error] {
	return func(yield func(snapshot.Change, error) bool) {
		for _, k := range slices.Sorted(maps.Keys(s)) {
			if !yield(snapshot.Change{Key: []byte(k), Value: s[k]}, nil) {
				return
			}
		}
	}
}

func (s stored) digest() (d snapshot.Digest) {
	for k, v := range s {
		d = d.Plus(snapshot.DigestOf([]byte(k), v))
	}
	return d
}

// R0.18: a model that saves itself is written in pieces, of which only those
// that changed; whatever saves fail, may have been stored after all, or have
// to be whole, what is stored restores the model.
func TestModelPieces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := NewModel("m", func() *blob { return &blob{} })
		s := stored{}
		for range rapid.IntRange(1, 8).Draw(t, "steps") {
			size := rapid.IntRange(0, 4*pieceSize).Draw(t, "size")
			if size <= len(m.model.data) {
				m.model.data = m.model.data[:size]
			}
			m.model.data = append(m.model.data, make([]byte, size-len(m.model.data))...)
			if size > 0 {
				m.model.data[rapid.IntRange(0, size-1).Draw(t, "at")]++
			}
			c := m.cut()
			cs, digest, err := c.encode()
			if err != nil {
				t.Fatal(err)
			}
			switch rapid.SampledFrom([]string{"saved", "failed", "unknown", "whole"}).Draw(t, "how") {
			case "failed":
				m.requeue(c)
				continue
			case "unknown": // stored, though it seemed to fail
				s.save(cs)
				m.requeue(c)
				continue
			case "whole":
				m.requeue(c)
				m.touchAll()
				if cs, digest, err = m.cut().encode(); err != nil {
					t.Fatal(err)
				}
				clear(s)
			}
			s.save(cs)
			clean := rapid.Bool().Draw(t, "clean")
			back := NewModel("m", func() *blob { return &blob{} })
			if err := back.load(s.entries(), nil, clean); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(back.model.data, m.model.data) {
				t.Fatalf("%d bytes, want %d", len(back.model.data), len(m.model.data))
			}
			if digest != s.digest() {
				t.Fatal("the digest isn't that of what is stored")
			}
			if got, err := back.peek().digest(); err != nil || got != digest {
				t.Fatalf("restored with digest %s, want %s: %v", got, digest, err)
			}
			if clean { // nothing has changed, so nothing is written
				if cs, again, err := back.cut().encode(); err != nil || len(cs) != 0 || again != digest {
					t.Fatalf("%d entries, %v", len(cs), err)
				}
			}
			if rapid.Bool().Draw(t, "restart") {
				if !clean {
					clear(s) // it is saved whole
				}
				m = back
			}
		}
	})
}

func TestModelDamage(t *testing.T) {
	m := NewModel("m", func() *blob { return &blob{[]byte("fresh")} })
	for name, s := range map[string]stored{
		"a gap":  {"\x00\x00\x00\x01": nil},
		"no key": {"": nil},
	} {
		if err := m.load(s.entries(), nil, true); !errors.Is(err, snapshot.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := m.View(func(b *blob) {
		if string(b.data) != "fresh" {
			t.Errorf("a failed load left %q", b.data)
		}
	}); err != nil {
		t.Error(err)
	}
	if err := m.View(func(*blob) { panic("no") }); err == nil || m.torn.Load() {
		t.Errorf("a view that panics: %v", err)
	}
}

type ticked struct{ N int }

// history is a model that is saved as its events, the two feeds that it
// handles, and what it was told.
type history struct {
	t     *testing.T
	feeds []*eventlog.Feed
	m     *Model[*[]string]
	store stored
	want  []string
}

func newHistory(t *testing.T) *history {
	t.Helper()
	h := &history{t: t, store: stored{}}
	log := logtest.Fresh(t)
	for _, name := range []string{"a", "b"} {
		f, err := log.Feed(logtest.Context(t), name, eventlog.Type[ticked]("ticked"))
		if err != nil {
			t.Fatal(err)
		}
		h.feeds = append(h.feeds, f)
	}
	h.m = h.model()
	h.m.n.pos = make(map[string]uint64)
	return h
}

func (h *history) model() *Model[*[]string] {
	m := NewModel("m", func() *[]string { return new([]string) })
	for _, f := range h.feeds {
		OnModel(m, f, func(l *[]string, e eventlog.Event, d ticked) error {
			*l = append(*l, fmt.Sprint(e.Position(), " ", d.N))
			return nil
		})
	}
	return m
}

// tick appends commits to the feeds in turn, and steps the model through them.
func (h *history) tick(commits int) {
	h.t.Helper()
	ctx, m := logtest.Context(h.t), h.m
	for i := range commits {
		f := h.feeds[i%2]
		at, err := f.Append(ctx, "k", eventlog.ExpectAny, ticked{i}, ticked{-i})
		if err != nil {
			h.t.Fatal(err)
		}
		c, _, err := f.Lookup(ctx, at.Seq)
		if err != nil {
			h.t.Fatal(err)
		}
		g := &group{nodes: []*node{m.n}}
		g.begin(f.Name())
		m.lock()
		g.run(&unit{}, f, []eventlog.Commit{c})
		m.unlock()
		if stop := m.n.step.stop; stop != nil {
			h.t.Fatal(stop)
		}
		m.n.pos[f.Name()] = at.Seq
		h.want = append(h.want, fmt.Sprint(at, " ", i), fmt.Sprintf("%s.1 %d", at, -i))
	}
}

// fails is a save that doesn't come to its end.
func (h *history) fails(what string, entries int) {
	h.t.Helper()
	c, _, _ := h.encode(what, entries)
	h.m.requeue(c)
}

func (h *history) encode(what string, entries int) (capture, []snapshot.Change, snapshot.Digest) {
	h.t.Helper()
	c := h.m.cut()
	cs, digest, err := c.encode()
	if err != nil || len(cs) != entries {
		h.t.Errorf("%s: %d entries, %v; want %d", what, len(cs), err, entries)
	}
	return c, cs, digest
}

// save saves the model in so many entries, and restores others from that.
func (h *history) save(what string, entries int) {
	h.t.Helper()
	_, cs, digest := h.encode(what, entries)
	h.store.save(cs)
	if digest != h.store.digest() {
		h.t.Errorf("%s: the digest isn't that of what is stored", what)
	}
	for _, clean := range []bool{true, false} {
		back := h.model()
		if err := back.load(lent(h.store.entries()), nil, clean); err != nil {
			h.t.Fatal(err)
		}
		if !slices.Equal(*back.model, h.want) {
			h.t.Errorf("%s: restored %v, want %v", what, *back.model, h.want)
		}
		if got, err := back.peek().digest(); err != nil || got != digest {
			h.t.Errorf("%s: clean=%v: restored with digest %s, want %s: %v", what, clean, got, digest, err)
		}
		cs, _, err := back.cut().encode()
		if whole := map[bool]int{true: 0, false: len(h.store)}[clean]; err != nil || len(cs) != whole {
			h.t.Errorf("%s: clean=%v: then saves %d, want %d: %v", what, clean, len(cs), whole, err)
		}
	}
}

// R0.5: the stored events, when saves failed, the save before was somebody
// else's, or there was too much to keep: the rest is read from the log.
func TestModelEventsWhole(t *testing.T) {
	h := newHistory(t)
	h.tick(3)
	h.save("first", 4) // and the types
	h.save("nothing new", 0)
	h.tick(2)
	h.fails("failed", 2)
	h.tick(1)
	h.save("what failed too", 3)
	h.tick(2)
	h.m.discard() // another process saves it
	h.m.touchAll()
	clear(h.store)
	h.fails("whole, and failed", 9)
	h.save("whole", 9)
	h.tick(1)
	h.m.store.(*modelEvents[*[]string]).bytes = maxPending
	h.tick(1)
	h.save("too much to keep", 10)
}

// Stored events that lack what is handled now, or that are damaged, restore
// nothing.
func TestModelEventsRefused(t *testing.T) {
	h := newHistory(t)
	h.tick(3)
	h.save("first", 4)
	// A new version that handles more than was stored isn't restored from it.
	more := NewModel("m", func() *[]string { return new([]string) }, Version(1), MigrateModel(0, nil))
	OnModel(more, h.feeds[0], func(*[]string, eventlog.Event, ticked) error { return nil })
	less := stored{"": []byte("b ticked\n")}
	if err := more.load(less.entries(), more.n.migrations[0], false); err == nil {
		t.Error("restored from events that lack a type")
	}
	// A torn commit, or one under another's key, is damage.
	for k := range h.store {
		if k != "" {
			h.store[k] = h.store[k][:10]
		}
	}
	if err := h.model().load(h.store.entries(), nil, true); !errors.Is(err, eventlog.ErrCorrupt) {
		t.Errorf("cut entries: %v", err)
	}
}

// What another process saved was let go here, deletions too: the save that
// takes over has the digest of the state.
func TestDigestAfterDiscard(t *testing.T) {
	tab := NewTable[string, int]("t")
	change := func(f func(x *Tx[string, int])) {
		tab.lock()
		f(&tab.tx)
		tab.commit()
		tab.unlock()
	}
	change(func(x *Tx[string, int]) { x.Put("a", 1); x.Put("b", 2); x.Put("c", 3) })
	if _, _, err := tab.cut().encode(); err != nil {
		t.Fatal(err)
	}
	change(func(x *Tx[string, int]) { x.Delete("a"); x.Put("b", 5) })
	tab.cut() // let go
	change(func(x *Tx[string, int]) { x.Delete("c") })
	tab.touchAll()
	cs, digest, err := tab.cut().encode()
	if err != nil {
		t.Fatal(err)
	}
	s := stored{}
	s.save(cs)
	if len(s) != 1 || digest != s.digest() {
		t.Errorf("%d entries with digest %s, said to be %s", len(s), s.digest(), digest)
	}
}
