package gaps

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/timeframe"
)

func printsOf(seqs ...uint64) (ps []timeframe.Fingerprint) {
	for _, seq := range seqs {
		ps = append(ps, timeframe.Fingerprint{0: byte(seq), 15: 1})
	}
	return ps
}

func erased(day int, seqs ...uint64) Entry {
	return Entry{Kind: Erased, At: time.Date(2026, 1, day, 0, 0, 0, 0, time.UTC), Reason: "r", By: "b", Ranges: RangesOf(seqs...), Prints: printsOf(seqs...)}
}

// Entries of one kind, reason and author become one, of the later of their
// times, with each position's fingerprint, or one hash where a part has that
// alone, or none; others stay apart.
func TestEntriesMerge(t *testing.T) {
	a, b := erased(5, 1, 2, 7), erased(9, 4, 9)
	hashed := func(e Entry) Entry {
		e.Prints = []timeframe.Fingerprint{Hash(e.Prints...)}
		return e
	}
	bare := func(e Entry) Entry {
		e.Prints = nil
		return e
	}
	both := []timeframe.Fingerprint{Hash(Hash(a.Prints...), Hash(b.Prints...))}
	for name, c := range map[string]struct {
		entries []Entry
		prints  []timeframe.Fingerprint
	}{
		"printed":            {[]Entry{a, b}, printsOf(1, 2, 4, 7, 9)},
		"the later first":    {[]Entry{b, a}, printsOf(1, 2, 4, 7, 9)},
		"one has a hash":     {[]Entry{a, hashed(b)}, both},
		"the first has":      {[]Entry{hashed(a), b}, both},
		"both have":          {[]Entry{hashed(a), hashed(b)}, both},
		"one has none":       {[]Entry{a, bare(b)}, nil},
		"the first has none": {[]Entry{bare(a), b}, nil},
	} {
		got := Register{Entries: c.entries}.tidy().Entries
		if len(got) != 1 || !slices.Equal(got[0].Ranges, RangesOf(1, 2, 4, 7, 9)) || !got[0].At.Equal(b.At) || !slices.Equal(got[0].Prints, c.prints) {
			t.Errorf("%s: %+v", name, got)
		}
	}
	for name, change := range map[string]func(*Entry){
		"kind":             func(e *Entry) { e.Kind = Accepted },
		"pending":          func(e *Entry) { e.Pending = true },
		"reason":           func(e *Entry) { e.Reason = "another" },
		"author":           func(e *Entry) { e.By = "another" },
		"the same message": func(e *Entry) { e.Ranges = RangesOf(2, 9) },
	} {
		other := b
		change(&other)
		for _, entries := range [][]Entry{{a, other}, {other, a}} {
			if got := (Register{Entries: entries}).tidy().Entries; len(got) != 2 {
				t.Errorf("another %s: %+v", name, got)
			}
		}
	}
}

// What an entry loses takes its fingerprints along, and one that loses nothing
// stays as it was, a hash over all too.
func TestEntryWithoutPositions(t *testing.T) {
	e := erased(1, 1, 2, 3, 7)
	if got := e.less(RangesOf(2, 9)); !slices.Equal(got.Ranges, RangesOf(1, 3, 7)) || !slices.Equal(got.Prints, printsOf(1, 3, 7)) {
		t.Errorf("%+v", got)
	}
	e.Prints = printsOf(99)
	if got := e.less(RangesOf(8, 9)); len(got.Prints) != 1 {
		t.Errorf("nothing was taken off, and the hash is gone: %+v", got)
	}
	if got := e.less(RangesOf(2)); got.Prints != nil {
		t.Errorf("a hash over other positions: %+v", got)
	}
}

// A register that is too large forgets what is below the log's beginning, but
// for the run of positions right before it, and says when the latest of those
// was registered; what lies above stays as it was. One that fits stays whole.
func TestFitForgets(t *testing.T) {
	first := uint64(MaxEntries - 10)
	var r Register
	for i := range uint64(MaxEntries + 1) {
		e := erased(1, i+1)
		if e.Reason = fmt.Sprint("entry ", i+1); i+1 == first-3 {
			e = Entry{Kind: Passed, At: e.At.AddDate(1, 0, 0), Reason: "a passed one", By: "b", Ranges: e.Ranges, Prints: e.Prints}
		}
		if i+1 == first-2 {
			e.At = e.At.AddDate(0, 1, 0)
		}
		if i+1 == 5 || i+1 == first+1 {
			e.At = e.At.AddDate(0, 6, 0) // neither is in the run
		}
		r.Entries = append(r.Entries, e)
	}
	small := Register{Entries: r.Entries[:3]}
	if got, err := small.Fit(first); err != nil || len(got.Entries) != 3 {
		t.Errorf("one that fits: %+v, %v", got, err)
	}
	if _, err := r.Fit(1); err == nil {
		t.Error("nothing is below the log's beginning, and it fits")
	}
	got, err := r.Fit(first)
	if err != nil {
		t.Fatal(err)
	}
	n := len(got.Entries)
	merged := got.Entries[n-1]
	if want := (Ranges{{first - 2, first - 1}}); !slices.Equal(merged.Ranges, want) || !merged.At.Equal(erased(1).At.AddDate(0, 1, 0)) || merged.Reason != mergedReason {
		t.Errorf("what stands for the others: %+v", merged)
	}
	if n != 13 || got.Entries[0].Ranges[0].First != first || !slices.Equal(got.Entries[0].Prints, printsOf(first)) {
		t.Errorf("%d entries, the first is %+v", n, got.Entries[0])
	}
}

// Erasures alone lose their fingerprints in a register that is too large, and
// only where they have several: what is passed over is told by its own.
func TestFitHashesErasuresAlone(t *testing.T) {
	many := func(from uint64) (seqs []uint64) {
		for i := range uint64(MaxBytes / 16) {
			seqs = append(seqs, from+i)
		}
		return seqs
	}
	entry := func(kind Kind, reason string, seqs ...uint64) Entry {
		e := erased(1, seqs...)
		e.Kind, e.Reason = kind, reason
		return e
	}
	bare := entry(Erased, "bare", 9)
	bare.Prints = nil
	r := Register{Entries: []Entry{
		entry(Passed, "passed", 1, 2, 3), bare, entry(Erased, "one", 11), entry(Erased, "a pair", 13, 15),
		entry(Erased, "too many", many(1000)...), entry(Erased, "newest", 5, 7),
	}}
	got, err := r.Fit(1)
	if err != nil || len(got.Entries) != len(r.Entries) {
		t.Fatalf("%d entries, %v", len(got.Entries), err)
	}
	for i, e := range got.Entries {
		want := r.Entries[i].Prints
		if e.Reason == "a pair" || e.Reason == "too many" {
			want = []timeframe.Fingerprint{Hash(want...)}
		}
		if !slices.Equal(e.Prints, want) {
			t.Errorf("%s: %d fingerprints, %v", e.Reason, len(e.Prints), e.Prints[:min(2, len(e.Prints))])
		}
	}
	if len(r.Entries[3].Prints) != 2 {
		t.Error("the register that was given is changed")
	}
}

// Of what is passed over already just what has the same fingerprint isn't
// registered again; another message at its place is.
func TestPassedAgain(t *testing.T) {
	passed := func(reason string, seqs []uint64, prints ...timeframe.Fingerprint) Entry {
		return Entry{Kind: Passed, At: erased(1).At, Reason: reason, By: "b", Ranges: RangesOf(seqs...), Prints: prints}
	}
	p := printsOf(1, 2, 3, 4)
	r := Register{}.Add(passed("first", []uint64{5, 6, 7}, p[0], p[1], p[2]))
	r = r.Add(passed("again", []uint64{4, 5, 6, 7, 8}, p[3], p[0], p[3], p[2], p[3]))
	if len(r.Entries) != 2 {
		t.Fatalf("%+v", r.Entries)
	}
	for i, want := range []Entry{passed("first", []uint64{5, 6, 7}, p[0], p[1], p[2]), passed("again", []uint64{4, 6, 8}, p[3], p[3], p[3])} {
		if got := r.Entries[i]; !slices.Equal(got.Ranges, want.Ranges) || !slices.Equal(got.Prints, want.Prints) || got.Reason != want.Reason {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	if same := r.Add(passed("and again", []uint64{6, 7}, p[3], p[2])); len(same.Entries) != 2 {
		t.Errorf("nothing new, and yet registered: %+v", same.Entries)
	}
	gone := r.Add(Entry{Kind: Erased, Reason: "erased", By: "b", Ranges: RangesOf(5, 6)})
	if n := len(gone.Entries); n != 3 || !slices.Equal(gone.Entries[n-1].Ranges, RangesOf(5, 6)) {
		t.Errorf("what was passed over keeps an erasure from being registered: %+v", gone.Entries)
	}
}
