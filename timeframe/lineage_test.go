package timeframe

import (
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestFingerprintText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := Fingerprint(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "bytes"))
		if got, err := ParseFingerprint(f.String()); err != nil || got != f {
			t.Fatalf("%s became %s, %v", f, got, err)
		}
	})
	good := fingerprintOf(0xab, 1).String()
	for _, text := range []string{"", good[1:], good + "0", "AB" + good[2:], "xy" + good[2:], " " + good[1:]} {
		f := fingerprintOf(7)
		err := f.UnmarshalText([]byte(text))
		if _, ok := errors.AsType[*FormatError](err); !ok || f != fingerprintOf(7) {
			t.Errorf("%q: got %s, %v", text, f, err)
		}
	}
}

func TestPush(t *testing.T) {
	l := Lineage{Incarnation: "i1"}
	for _, seq := range []uint64{10, 20, 30} {
		l = l.Push(Anchor{Seq: seq})
	}
	for name, c := range map[string]struct {
		push uint64
		want []uint64
	}{
		"further":                  {40, []uint64{40, 30, 20, 10}},
		"same sequence replaces":   {30, []uint64{30, 20, 10}},
		"cut back between":         {25, []uint64{25, 20, 10}},
		"cut back to an anchor":    {20, []uint64{20, 10}},
		"cut back before them all": {5, []uint64{5}},
		"nothing is included":      {0, nil},
	} {
		mark := fingerprintOf(0xee)
		got := l.Push(Anchor{Seq: c.push, Print: mark})
		if !slices.Equal(sequences(got), c.want) || got.Incarnation != "i1" {
			t.Errorf("%s: got %v", name, got)
		}
		if len(got.Anchors) > 0 && got.Anchors[0].Print != mark {
			t.Errorf("%s: the old print stayed", name)
		}
		if want := []uint64{30, 20, 10}; !slices.Equal(sequences(l), want) || l.Anchors[0].Print == mark {
			t.Fatalf("%s: the receiver changed to %v", name, l)
		}
	}
}

// However long the log and whatever the distances, few anchors stay, and they
// are sound: the newest, the oldest, strictly descending, only what was pushed.
func TestPushKeepsFew(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l Lineage
		pushed := map[uint64]bool{}
		first, seq := uint64(0), uint64(0)
		for _, step := range rapid.SliceOfN(rapid.Uint64Range(1, 1<<40), 1, 60).Draw(t, "steps") {
			seq += step
			pushed[seq] = true
			if first == 0 {
				first = seq
			}
			before := slices.Clone(l.Anchors)
			next := l.Push(Anchor{Seq: seq})
			if !slices.Equal(before, l.Anchors) {
				t.Fatal("the receiver changed")
			}
			l = next
			seqs := sequences(l)
			if len(seqs) != min(len(pushed), MaxAnchors) || seqs[0] != seq || seqs[len(seqs)-1] != first {
				t.Fatalf("pushed %d anchors up to %d, kept %v", len(pushed), seq, seqs)
			}
			for i, s := range seqs {
				if !pushed[s] || i > 0 && s >= seqs[i-1] {
					t.Fatalf("kept %v", seqs)
				}
			}
		}
	})
}

// With even distances, ages are about geometric: stepping back to the anchor
// before a point goes back at most a constant times as far, over 100,000 pushes.
func TestPushSpacingGrowsWithAge(t *testing.T) {
	const factor = 8
	var l Lineage
	for i := range uint64(100_000) {
		seq := (i + 1) * 1000
		l = l.Push(Anchor{Seq: seq})
		for k := 2; k < len(l.Anchors); k++ {
			age, younger := seq-l.Anchors[k].Seq, seq-l.Anchors[k-1].Seq
			if age > factor*younger {
				t.Fatalf("after %d pushes, ages %d and %d are next to each other", i+1, younger, age)
			}
		}
	}
	seqs := sequences(l)
	if recent, old := seqs[0]-seqs[1], seqs[9]-seqs[10]; recent*1000 > old {
		t.Errorf("distances don't grow: %v", seqs)
	}
}

func sequences(l Lineage) []uint64 {
	var seqs []uint64
	for _, a := range l.Anchors {
		seqs = append(seqs, a.Seq)
	}
	return seqs
}
