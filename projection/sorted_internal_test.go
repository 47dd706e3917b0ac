package projection

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/tidemark-es/tidemark/snapshot"
	"pgregory.net/rapid"
)

// Sorted changes are those that a plain sort of whole keys gives, one of each
// key (R0.18), also where keys are empty, begin alike or end in zeros.
func TestSortedIsAPlainSort(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		prefix := rapid.SampledFrom([]string{"", "acct-", "a-prefix-longer-than-eight-"}).Draw(rt, "prefix")
		piece := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 'a', 255}), 0, 11)
		var changes []snapshot.Change
		there := make(map[string]bool)
		for range rapid.IntRange(0, 40).Draw(rt, "n") {
			key := prefix + string(piece.Draw(rt, "key"))
			// A row that is there comes once; one that is gone, any number of times.
			c := snapshot.Change{Key: []byte(key), Deleted: there[key] || rapid.Bool().Draw(rt, "deleted")}
			if !c.Deleted {
				c.Value = []byte(key)
			}
			there[key] = there[key] || !c.Deleted
			changes = append(changes, c)
		}
		var keys []string
		for k := range there {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		got := sorted(slices.Clone(changes))
		if len(got) != len(keys) {
			rt.Fatalf("%d changes of %d keys", len(got), len(keys))
		}
		for i, k := range keys {
			if string(got[i].Key) != k || got[i].Deleted == there[k] || (there[k] && !bytes.Equal(got[i].Value, []byte(k))) {
				rt.Fatalf("change %d is %+v, not of %q (there: %t)", i, got[i], k, there[k])
			}
		}
	})
}

func BenchmarkSorted(b *testing.B) {
	const n = 10_000
	random := rand.New(rand.NewPCG(1, 2))
	changes := make([]snapshot.Change, n)
	for i, k := range random.Perm(n) {
		changes[i].Key = fmt.Appendf(nil, "acct-%06d", k)
	}
	work := make([]snapshot.Change, n)
	for b.Loop() {
		copy(work, changes)
		sorted(work)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/key")
}
