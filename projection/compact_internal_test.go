package projection

import (
	"testing"

	"github.com/tidemark-es/tidemark/dependants"
	"github.com/tidemark-es/tidemark/eventlog"
)

// AtStep makes a compaction call f behind each of its steps, and end with its
// error.
func (o CompactOptions) AtStep(f func(string) error) CompactOptions {
	o.step = f
	return o
}

// Invariant 2, as a table: no further than the slowest, the margin stays, and
// nothing goes that no verified snapshot stands for.
func TestTrimPlan(t *testing.T) {
	hold := func(after ...uint64) (hs []dependants.Hold) {
		for _, a := range after {
			hs = append(hs, dependants.Hold{By: "d", After: a})
		}
		return hs
	}
	for _, c := range []struct {
		name        string
		first, last uint64
		holds       []dependants.Hold
		covered     bool
		margin      uint64
		want        uint64
	}{
		{"nobody", 1, 100, nil, true, 0, 1},
		{"not covered", 1, 100, hold(50), false, 0, 1},
		{"slowest at 50", 1, 100, hold(50, 90), true, 0, 50},
		{"all at the head: the last message stays", 1, 100, hold(100), true, 0, 100},
		{"ahead of the log", 1, 100, hold(120), true, 0, 100},
		{"margin", 1, 100, hold(50), true, 20, 30},
		{"margin beyond all", 1, 100, hold(50), true, 70, 1},
		{"needs all", 1, 100, hold(0, 50), true, 0, 1},
		{"trimmed already", 50, 100, hold(50), true, 0, 50},
		{"trimmed beyond", 60, 100, hold(50), true, 0, 60},
		{"empty", 1, 0, hold(0), true, 0, 1},
	} {
		f := trimPlan("a", eventlog.State{First: c.first, Last: c.last}, c.holds, c.covered, c.margin)
		if f.From != c.want || (f.From == c.first) == (f.Note == "") {
			t.Errorf("%s: %+v, want %d", c.name, f, c.want)
		}
	}
}

// R1.18: a log below the limit is never compacted by its size; one above it is
// where it has grown by more than a tenth since the last time.
func TestOutgrown(t *testing.T) {
	p := CompactPolicy{Bytes: 1000}
	for _, c := range []struct {
		now, after uint64
		want       bool
	}{
		{0, 0, false}, {1, 0, false}, {1000, 0, false}, {1001, 0, true},
		{900, 100, false}, {1100, 1000, false}, {1101, 1000, true}, {2000, 2000, false}, {2200, 2000, false}, {2201, 2000, true},
	} {
		if got := p.outgrown(c.now, c.after); got != c.want {
			t.Errorf("%d bytes, %d after the last compaction: %v", c.now, c.after, got)
		}
	}
}
