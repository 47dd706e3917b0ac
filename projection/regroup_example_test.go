package projection_test

import (
	"context"
	"fmt"
	"log"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/projection"
)

// How many accounts hold how many hundreds: accounts, and the classes that
// they are in, are both handled in partitions.
func ExampleOnGroup() {
	ctx := context.Background()
	events, err := eventlog.Open(ctx, eventlog.Options{App: "bank", Memory: true})
	if err != nil {
		log.Fatal(err)
	}
	defer events.Close()
	feed, err := events.Feed(ctx, "accounts", eventlog.Type[Deposited]("deposited"))
	if err != nil {
		log.Fatal(err)
	}
	accounts := projection.NewPartitioned[int64]("accounts", 0)
	projection.OnRow(accounts, feed, func(r projection.Row[int64], e eventlog.Event, d Deposited) error {
		r.Put(r.Value() + d.Cents)
		return nil
	})
	class := func(_ string, cents int64) (string, bool) { return fmt.Sprint(cents / 100), true }
	classes := projection.NewPartitioned[int]("classes", 0)
	projection.OnGroup(classes, accounts, class, func(r projection.Row[int], c projection.Change[string, int64]) error {
		n := r.Value()
		if c.Had { // it leaves the class, or stays in it
			n--
		}
		if c.Has { // it comes, or stays
			n++
		}
		r.Put(n)
		return nil
	})
	rt, err := projection.Start(ctx, events, accounts, classes)
	if err != nil {
		log.Fatal(err)
	}
	defer rt.Close()
	var at eventlog.Position
	for i, key := range []string{"ada", "bob", "ada"} {
		if at, err = feed.Append(ctx, key, eventlog.ExpectAny, Deposited{int64(60 + i)}); err != nil {
			log.Fatal(err)
		}
	}
	if err := rt.Wait(ctx, at); err != nil {
		log.Fatal(err)
	}
	none, _ := classes.Get("0")
	one, _ := classes.Get("1")
	fmt.Println(none, one)
	// Output: 1 1
}
