package projection_test

import (
	"context"
	"fmt"
	"log"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/projection"
)

type (
	Bid struct {
		Auction string
		Cents   int64
	}
	Retracted struct{}
)

// The two best bids of each auction; where one is taken back, the next moves up.
func ExampleTopNBy() {
	ctx := context.Background()
	events, err := eventlog.Open(ctx, eventlog.Options{App: "auctions", Memory: true})
	if err != nil {
		log.Fatal(err)
	}
	defer events.Close()
	feed, err := events.Feed(ctx, "bids", eventlog.Type[Bid]("bid"), eventlog.Type[Retracted]("retracted"))
	if err != nil {
		log.Fatal(err)
	}
	bids := projection.NewTable[string, Bid]("bids")
	projection.On(bids, feed, func(t *projection.Tx[string, Bid], e eventlog.Event, b Bid) error {
		t.Put(e.Key, b)
		return nil
	})
	projection.On(bids, feed, func(t *projection.Tx[string, Bid], e eventlog.Event, _ Retracted) error {
		t.Delete(e.Key)
		return nil
	})
	best := projection.TopNBy("best", bids, 2,
		func(_ string, b Bid) (string, bool) { return b.Auction, true },
		func(a, b Bid) bool { return a.Cents > b.Cents })
	rt, err := projection.Start(ctx, events, bids, best)
	if err != nil {
		log.Fatal(err)
	}
	defer rt.Close()
	var at eventlog.Position
	for _, b := range []struct {
		key string
		e   any
	}{{"ada", Bid{"vase", 500}}, {"bob", Bid{"vase", 700}}, {"cyd", Bid{"vase", 600}}, {"dan", Bid{"lamp", 50}}, {"bob", Retracted{}}} {
		if at, err = feed.Append(ctx, b.key, eventlog.ExpectAny, b.e); err != nil {
			log.Fatal(err)
		}
	}
	if err := rt.Wait(ctx, at); err != nil {
		log.Fatal(err)
	}
	for _, auction := range []string{"vase", "lamp"} {
		rows, _ := best.Get(auction)
		for i, r := range rows {
			fmt.Println(auction, i+1, r.Key, r.Value.Cents)
		}
	}
	// Output:
	// vase 1 cyd 600
	// vase 2 ada 500
	// lamp 1 dan 50
}
