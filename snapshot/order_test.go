package snapshot

import (
	"testing"

	"github.com/tidemark-es/tidemark/timeframe"
	"pgregory.net/rapid"
)

// However many are beside each other, none stands behind one that it covers.
func TestNewestFirst(t *testing.T) {
	frame := rapid.Custom(func(t *rapid.T) timeframe.Timeframe {
		at := rapid.MapOf(rapid.SampledFrom([]string{"a", "b", "c"}), rapid.Uint64Range(0, 4)).Draw(t, "at")
		f, err := timeframe.FromMap(at)
		if err != nil {
			t.Fatal(err)
		}
		return f
	})
	rapid.Check(t, func(t *rapid.T) {
		frames := rapid.SliceOfN(frame, 0, 8).Draw(t, "frames")
		newestFirst(frames)
		for i, newer := range frames {
			for _, older := range frames[i+1:] {
				if older.Covers(newer) && !newer.Covers(older) {
					t.Fatalf("%s stands before %s", newer, older)
				}
			}
		}
	})
}
