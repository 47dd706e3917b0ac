package projection_test

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/projection"
	"pgregory.net/rapid"
)

// T2.1: the first rows of each group are those of a plain sort behind every
// commit, whatever comes, goes, and moves between groups, with ties; and what
// isn't different is no change. (TestDAGProperty has it in random
// graphs, through restarts, corrections and failures.)
func TestTopNByIsAPlainSort(t *testing.T) {
	feed := must(eventlog.Offline("bids", eventlog.Type[Bid]("bid"), eventlog.Type[Retracted]("retracted")))(t)
	group := func(_ string, b Bid) (string, bool) { return b.Auction, b.Auction != "none" }
	higher := func(a, b Bid) bool { return a.Cents > b.Cents }
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 3).Draw(rt, "n")
		bids := bidsOf(feed)
		best := projection.TopNBy("best", bids, n, group, higher)
		r := must(projection.Rehearse(bids, best))(t)
		before := map[string][]projection.Ranked[string, Bid]{}
		for seq := range rapid.IntRange(1, 40).Draw(rt, "commits") {
			var e any = Bid{rapid.SampledFrom([]string{"vase", "lamp", "none"}).Draw(rt, "auction"), rapid.Int64Range(1, 4).Draw(rt, "cents")}
			if rapid.IntRange(0, 3).Draw(rt, "retract") == 0 {
				e = Retracted{}
			}
			d := eventlog.Draft{Key: fmt.Sprint("b", rapid.IntRange(0, 6).Draw(rt, "bidder")), Events: []any{e}}
			o := must(r.Apply(must(feed.Rehearse(d, uint64(seq)+1, time.Unix(1, 0)))(t)))(t)
			want := map[string][]projection.Ranked[string, Bid]{}
			for k, b := range bids.All() {
				if g, in := group(k, b); in {
					want[g] = append(want[g], projection.Ranked[string, Bid]{Key: k, Value: b})
				}
			}
			changed := 0
			for _, g := range []string{"vase", "lamp"} {
				slices.SortFunc(want[g], func(a, b projection.Ranked[string, Bid]) int {
					return cmp.Or(cmp.Compare(b.Value.Cents, a.Value.Cents), cmp.Compare(a.Key, b.Key))
				})
				want[g] = want[g][:min(n, len(want[g]))]
				got, ok := best.Get(g)
				if ok != (len(want[g]) > 0) || !slices.Equal(got, want[g]) {
					rt.Fatalf("the first %d of %s: %v, %t, want %v", n, g, got, ok, want[g])
				}
				if !slices.Equal(want[g], before[g]) {
					changed++
				}
			}
			if c := best.ChangesIn(o); len(c) != changed {
				rt.Fatalf("%d changes where %d groups differ: %+v", len(c), changed, c)
			}
			before = want
		}
	})
}

func bidsOf(feed *eventlog.Feed) *projection.Table[string, Bid] {
	bids := projection.NewTable[string, Bid]("bids")
	projection.On(bids, feed, func(t *projection.Tx[string, Bid], e eventlog.Event, b Bid) error {
		t.Put(e.Key, b)
		return nil
	})
	projection.On(bids, feed, func(t *projection.Tx[string, Bid], e eventlog.Event, _ Retracted) error {
		t.Delete(e.Key)
		return nil
	})
	return bids
}

// What an operator is given wrongly is refused at the start; functions that
// change their mind stop the table where that shows, with a typed error.
func TestTopNByMisused(t *testing.T) {
	feed := must(eventlog.Offline("bids", eventlog.Type[Bid]("bid"), eventlog.Type[Retracted]("retracted")))(t)
	bids := bidsOf(feed)
	group := func(_ string, b Bid) (string, bool) { return b.Auction, true }
	higher := func(a, b Bid) bool { return a.Cents > b.Cents }
	for want, wrong := range map[string]projection.Projection{
		"TopNBy of 0 rows":        projection.TopNBy("a", bids, 0, group, higher),
		"nil function for TopNBy": projection.TopNBy[string, Bid, string]("b", bids, 1, nil, higher),
		"changes of a nil table":  projection.TopNBy("c", nil, 1, group, higher),
		"can't be a key":          projection.TopNBy("d", bids, 1, func(string, Bid) (float64, bool) { return 0, true }, higher),
	} {
		if _, err := projection.Rehearse(bidsOf(feed), wrong); !errors.Is(err, projection.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	calls, up := 0, true
	fickle := projection.TopNBy("fickle", bids, 1, func(string, Bid) (int, bool) { calls++; return calls, true }, higher)
	turned := projection.TopN("turned", bids, 1, func(a, b Bid) bool { return (a.Cents > b.Cents) == up })
	right := projection.TopNBy("right", bids, 1, group, higher)
	r := must(projection.Rehearse(bids, fickle, turned, right))(t)
	var err error
	for i, cents := range []int64{3, 2, 1, 7} {
		up = i < 3
		d := eventlog.Draft{Key: fmt.Sprint("b", i%3), Events: []any{Bid{"vase", cents}}}
		var stop error
		if _, stop = r.Apply(must(feed.Rehearse(d, uint64(i)+1, time.Unix(1, 0)))(t)); i < 3 && stop != nil {
			t.Fatal(stop)
		}
		err = errors.Join(err, stop)
	}
	for _, table := range []interface{ Err() error }{fickle, turned} {
		if !errors.Is(table.Err(), projection.ErrNotDerived) {
			t.Errorf("%v; %v", table.Err(), err)
		}
	}
	if first, _ := right.Get("vase"); right.Err() != nil || !reflect.DeepEqual(first, []projection.Ranked[string, Bid]{{Key: "b0", Value: Bid{"vase", 7}}}) {
		t.Errorf("beside them: %v, %v", first, right.Err())
	}
}
