package projection

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// An order of many blocks, which split and go, is a plain sort.
func TestOrderOfManyRows(t *testing.T) {
	src := NewTable[string, int]("src")
	r := ranking[string, int]{src, func(a, b int) bool { return a < b }}
	random := rand.New(rand.NewPCG(1, 2))
	var o order[string, int]
	plain := make(map[string]int)
	change := func(key string, v int, put bool) {
		if old, ok := plain[key]; ok {
			if err := r.remove(&o, key, old); err != nil {
				t.Fatal(err)
			}
			delete(plain, key)
		}
		if put {
			if err := r.insert(&o, key, v); err != nil {
				t.Fatal(err)
			}
			plain[key] = v
		}
	}
	check := func() {
		var want, got []string
		for k := range plain {
			want = append(want, k)
		}
		slices.SortFunc(want, func(a, b string) int { return cmp.Or(cmp.Compare(plain[a], plain[b]), cmp.Compare(a, b)) })
		for e := range o.all() {
			got = append(got, e.key)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%d rows of %d, or out of order", len(got), len(want))
		}
	}
	most := 0
	for i := range 6000 {
		change(fmt.Sprint(random.IntN(4000)), random.IntN(500), i < 4000 || random.IntN(10) == 0)
		if i%1000 == 999 {
			check()
		}
		most = max(most, len(o.blocks))
	}
	for k := range plain {
		change(k, 0, false)
	}
	if check(); len(o.blocks) != 0 || most < 4 {
		t.Errorf("%d blocks are left of %d", len(o.blocks), most)
	}
}
