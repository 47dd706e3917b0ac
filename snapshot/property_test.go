package snapshot

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// model is what a plain map makes of the same cuts.
type model map[string]map[string]string // member → key → value

func (m model) clone() model {
	c := make(model, len(m))
	for name, state := range m {
		c[name] = maps.Clone(state)
	}
	return c
}

// Random cuts of several members: after every save each member loads as the
// map says, and so do all older manifests that the head retains; a sweep in
// between changes nothing.
func TestLoadEqualsAMap(t *testing.T) {
	nc := connect(t)
	s := opened(t, nc, noGrace, func(o *Options) { o.ChunkSize = minChunkSize })
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		p := property{s: s, unit: fmt.Sprintf("u%d", run), states: make(map[ID]model), now: make(model)}
		rt.Cleanup(func() {
			if err := s.Delete(t.Context(), p.unit); err != nil {
				t.Error(err)
			}
		})
		p.calm = rapid.Bool().Draw(rt, "calm")
		for i := range rapid.IntRange(1, 25).Draw(rt, "cuts") {
			p.cut(t, rt, uint64(i+1))
			if rapid.IntRange(0, 6).Draw(rt, "sweep") == 0 {
				if _, err := s.Sweep(t.Context(), 0); err != nil {
					rt.Fatal(err)
				}
			}
			p.check(t, rt)
		}
	})
	// With -short there are fewer runs, and it is by chance that one of them
	// is long enough.
	t.Logf("%d compactions", s.Stats().Compactions)
	if s.Stats().Compactions == 0 && !testing.Short() {
		t.Error("no run was long enough for a compaction")
	}
}

type property struct {
	s      *Store
	unit   string
	base   *Manifest
	calm   bool // segments only grow in number, up to a compaction
	now    model
	states map[ID]model // what each manifest holds
}

func (p *property) cut(t *testing.T, rt *rapid.T, seq uint64) {
	c := Cut{Tag: at(seq)}
	next := make(model)
	for _, name := range []string{"a", "b", "c"} {
		m := member(name)
		m.At = c.Tag.At
		old, had := p.now[name]
		way := 9
		if !p.calm {
			way = rapid.IntRange(0, 9).Draw(rt, "way")
		}
		switch {
		case way == 0:
			continue // dropped
		case way == 1 && had:
			m = Member{Name: name, Kept: true}
			next[name] = old
		case way == 2:
			m.Reset = true
			next[name] = draw(rt, &m, nil)
		default:
			next[name] = draw(rt, &m, old)
		}
		c.Members = append(c.Members, m)
	}
	if len(c.Members) == 0 {
		return
	}
	m, err := p.s.Save(t.Context(), p.unit, p.base, c)
	if err != nil {
		rt.Fatal(err)
	}
	p.base, p.now = m, next
	p.states[m.ID] = next.clone()
}

// draw gives m some changes and returns what they make of old.
func draw(rt *rapid.T, m *Member, old map[string]string) map[string]string {
	next := maps.Clone(old)
	if next == nil {
		next = make(map[string]string)
	}
	changed := make(map[string]Change)
	for range rapid.IntRange(0, 6).Draw(rt, "changes") {
		key := rapid.StringMatching(`[xy]{0,3}`).Draw(rt, "key")
		c := Change{Key: []byte(key), Deleted: rapid.IntRange(0, 2).Draw(rt, "deleted") == 0}
		delete(next, key)
		if !c.Deleted {
			size := rapid.SampledFrom([]int{0, 1, 20, 1500}).Draw(rt, "size")
			c.Value = noise(size, rapid.Uint64Range(0, 99).Draw(rt, "seed"))
			next[key] = string(c.Value)
		}
		changed[key] = c
	}
	m.Changes = slices.SortedFunc(maps.Values(changed), func(a, b Change) int { return bytes.Compare(a.Key, b.Key) })
	return next
}

func (p *property) check(t *testing.T, rt *rapid.T) {
	found, err := p.s.Candidates(t.Context(), p.unit)
	if err != nil {
		rt.Fatal(err)
	}
	for i, c := range found {
		if c.Problem != nil {
			rt.Fatal(c.Problem)
		}
		want, known := p.states[c.ID]
		if i == 0 && c.ID != p.base.ID {
			rt.Fatalf("the newest is %s, not %s", c.ID.short(), p.base.ID.short())
		}
		if !known { // what a compaction has merged afterwards; its successor is known
			continue
		}
		for name, state := range want {
			got, err := load(t.Context(), p.s, c.Manifest, name)
			if err != nil || !maps.Equal(got, state) {
				rt.Fatalf("manifest %d of %d, member %s: %v: %s", i, len(found), name, err, difference(got, state))
			}
		}
		if len(c.Manifest.Members) != len(want) {
			rt.Fatalf("%d members, want %d", len(c.Manifest.Members), len(want))
		}
	}
}
