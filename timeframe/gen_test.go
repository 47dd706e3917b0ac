package timeframe

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// Few names and small sequences, so that generated timeframes overlap.
var (
	feedGen = rapid.SampledFrom([]string{"a", "b", "c", "orders", "orders-2", "0", "-"})
	seqGen  = rapid.OneOf(rapid.Uint64Range(0, 3), rapid.Uint64())
)

// timeframes generates any timeframe; maps are the oracle's form of one.
func timeframes() *rapid.Generator[Timeframe] {
	return rapid.Custom(func(t *rapid.T) Timeframe {
		tf, err := FromMap(rapid.MapOf(feedGen, seqGen).Draw(t, "map"))
		if err != nil {
			t.Fatal(err)
		}
		return tf
	})
}

// tags generates valid tags; the lineages are built by Push.
func tags() *rapid.Generator[Tag] {
	return rapid.Custom(func(t *rapid.T) Tag {
		tag := Tag{At: timeframes().Draw(t, "at")}
		for feed, seq := range tag.At.All() {
			if seq == 0 && rapid.Bool().Draw(t, "bare") {
				continue
			}
			l := Lineage{Incarnation: rapid.StringN(0, 20, MaxIncarnation).Draw(t, "incarnation")}
			older := rapid.SliceOf(rapid.Uint64Range(0, max(seq, 1)-1)).Draw(t, "anchors")
			slices.Sort(older)
			for _, s := range append(older, seq) {
				l = l.Push(Anchor{Seq: s, Print: fingerprintOf(byte(s), 1)})
			}
			if tag.Lineages == nil {
				tag.Lineages = map[string]Lineage{}
			}
			tag.Lineages[feed] = l
		}
		return tag
	})
}

// fingerprintOf returns a fingerprint that starts with b.
func fingerprintOf(b ...byte) Fingerprint {
	var f Fingerprint
	copy(f[:], b)
	return f
}

// tf returns the timeframe with the given text.
func tf(t testing.TB, text string) Timeframe {
	t.Helper()
	parsed, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// mapsEqual compares a timeframe with the oracle's form.
func mapsEqual(t Timeframe, m map[string]uint64) bool { return maps.Equal(t.Map(), m) }
