package causal

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/tidemark-es/tidemark/timeframe"
	"pgregory.net/rapid"
)

func tf(t interface{ Fatal(...any) }, m map[string]uint64) timeframe.Timeframe {
	v, err := timeframe.FromMap(m)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// T0.15: what depends on an absent event is held, other feeds go on, and the
// missing event releases it.
func TestHoldAndRelease(t *testing.T) {
	g := New(map[string]uint64{"a": 0, "b": 0, "c": 0})
	if g.Admit("a", 1, tf(t, map[string]uint64{"b": 2})) {
		t.Fatal("admitted before its cause")
	}
	for seq := uint64(1); seq <= 2; seq++ {
		if h := g.Held(); len(h) != 1 || h[0].Feed != "a" || h[0].Missing.String() != tf(t, map[string]uint64{"b": 2}).String() || h[0].Cycle {
			t.Errorf("held %+v", h)
		}
		for _, feed := range []string{"b", "c"} {
			if !g.Admit(feed, seq, timeframe.Timeframe{}) {
				t.Errorf("%s waits", feed)
			}
			g.Advance(feed, seq)
		}
	}
	if !g.Admit("a", 1, tf(t, map[string]uint64{"b": 2})) || len(g.Held()) != 0 {
		t.Error("not released")
	}
}

func TestCycles(t *testing.T) {
	for _, c := range []struct {
		name string
		held map[string]map[string]uint64 // the first event of each feed
		want []string                     // in a cycle
	}{
		{"itself", map[string]map[string]uint64{"a": {"a": 1}}, []string{"a"}},
		{"its past", map[string]map[string]uint64{"a": {"a": 0}}, nil},
		{"two", map[string]map[string]uint64{"a": {"b": 1}, "b": {"a": 1}}, []string{"a", "b"}},
		{"three, and one that waits for them", map[string]map[string]uint64{"a": {"b": 1}, "b": {"c": 3}, "c": {"a": 2}, "d": {"a": 1}}, []string{"a", "b", "c"}},
		{"a chain", map[string]map[string]uint64{"a": {"b": 1}, "b": {"c": 3}}, nil},
	} {
		g := New(map[string]uint64{"a": 0, "b": 0, "c": 0, "d": 0})
		for feed, seen := range c.held {
			g.Admit(feed, 1, tf(t, seen))
		}
		var got []string
		for _, h := range g.Held() {
			if h.Cycle {
				got = append(got, h.Feed)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// Markers before a held event were read, although nobody advanced past them.
func TestMarkersBeforeAHeldEvent(t *testing.T) {
	g := New(map[string]uint64{"a": 0, "b": 5})
	if g.Admit("b", 7, tf(t, map[string]uint64{"a": 1})) {
		t.Fatal("admitted")
	}
	if !g.Admit("a", 1, tf(t, map[string]uint64{"b": 6})) {
		t.Errorf("held: %+v", g.Held())
	}
}

func TestForeign(t *testing.T) {
	g := New(map[string]uint64{"a": 0})
	seen := tf(t, map[string]uint64{"a": 0, "x": 4, "y": 0})
	if f := g.Foreign(seen); !slices.Equal(f, []string{"x", "y"}) {
		t.Errorf("foreign %v", f)
	}
	if !g.Admit("a", 1, seen) {
		t.Error("waits for what it doesn't read")
	}
}

// Histories as writers make them: each event names what its writer had seen,
// which had been written before. Read in any interleaving, nothing stalls for
// good, every feed keeps its order, and nothing comes before what it names.
// With some events that name what never comes, exactly those feeds stop that
// can't go on, and each says so.
func TestAnyInterleaving(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		feeds := []string{"a", "b", "c", "d"}[:rapid.IntRange(1, 4).Draw(t, "feeds")]
		logs, written := history(t, feeds)
		at := make(map[string]uint64)
		for _, f := range feeds {
			at[f] = 0
		}
		g := New(at)
		read := maps.Clone(at) // the oracle's
		for {
			var ready []string
			for _, f := range feeds {
				next := read[f]
				if next < uint64(len(logs[f])) {
					may := g.Admit(f, next+1, logs[f][next])
					if may != covers(read, f, next+1, logs[f][next]) {
						t.Fatalf("%s@%d: admitted %v at %v", f, next+1, may, read)
					}
					if may {
						ready = append(ready, f)
					}
				}
			}
			if len(ready) == 0 {
				break
			}
			f := rapid.SampledFrom(ready).Draw(t, "next")
			read[f]++
			g.Advance(f, read[f])
			if g.At(f) != read[f] {
				t.Fatalf("at %d, not %d", g.At(f), read[f])
			}
		}
		held := make(map[string]bool)
		for _, h := range g.Held() {
			held[h.Feed] = true
			if h.Missing.IsEmpty() || h.Seq != read[h.Feed]+1 {
				t.Errorf("held %+v", h)
			}
			if len(feeds) == len(g.Held()) && h.Cycle && written {
				t.Errorf("a cycle in what was written in order: %+v", h)
			}
		}
		for _, f := range feeds {
			if done := read[f] == uint64(len(logs[f])); done == held[f] {
				t.Errorf("%s ends at %d of %d, held: %v", f, read[f], len(logs[f]), held[f])
			}
		}
		if written && len(held) > 0 {
			t.Errorf("held for ever: %v", g.Held())
		}
	})
}

// history makes logs; written says that every event names only earlier ones.
func history(t *rapid.T, feeds []string) (logs map[string][]timeframe.Timeframe, written bool) {
	logs = make(map[string][]timeframe.Timeframe)
	written = true
	for i := range rapid.IntRange(0, 30).Draw(t, "events") {
		seen := make(map[string]uint64)
		for _, f := range feeds {
			if rapid.Bool().Draw(t, "names "+f) {
				seen[f] = rapid.Uint64Range(0, uint64(len(logs[f]))).Draw(t, "seen")
			}
		}
		if rapid.IntRange(0, 15).Draw(t, fmt.Sprint("broken", i)) == 0 {
			seen[rapid.SampledFrom(feeds).Draw(t, "ahead")] = rapid.Uint64Range(0, 40).Draw(t, "what may never come")
			written = false
		}
		f := rapid.SampledFrom(feeds).Draw(t, "feed")
		v, err := timeframe.FromMap(seen)
		if err != nil {
			t.Fatal(err)
		}
		logs[f] = append(logs[f], v)
	}
	return logs, written
}

// covers is what the gate decides, said plainly.
func covers(read map[string]uint64, own string, seq uint64, seen timeframe.Timeframe) bool {
	for f, n := range seen.All() {
		if f == own && n >= seq || f != own && read[f] < n {
			return false
		}
	}
	return true
}
