package projection

import (
	"maps"
	"testing"

	"pgregory.net/rapid"
)

// The count of what a key's later commits wait for is kept while rows come and
// go, and is what counting them comes to (T2.9).
func TestParkedCount(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p := newParking(NewTable[string, int]("t").n)
		p.t.lock()
		defer p.t.unlock()
		holds := func() map[entity]int {
			p.waits(entity{})
			return p.ordered
		}
		for range rapid.IntRange(1, 30).Draw(rt, "steps") {
			seq := rapid.Uint64Range(1, 5).Draw(rt, "seq")
			key := string(rune('a' + seq%2)) // of a commit, so it is always the same
			switch rapid.SampledFrom([]string{"put", "remove", "keep", "undo"}).Draw(rt, "what") {
			case "put":
				p.put(parkedRow{Feed: "f", Key: key, Seq: seq, Ordered: rapid.Bool().Draw(rt, "ordered")})
			case "remove":
				p.remove(parkedKey("f", seq))
			case "keep":
				p.t.commit()
			case "undo":
				p.t.rollback()
			}
			kept := maps.Clone(holds())
			p.ordered = nil
			if want := holds(); !maps.Equal(kept, want) {
				rt.Fatalf("%v, counted %v", kept, want)
			}
			p.ordered = kept
		}
	})
}
