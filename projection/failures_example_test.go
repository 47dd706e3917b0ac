package projection_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/projection"
)

// An event that the handler can't take is parked with its key; when the
// handler is better, what was parked is handled in order.
func ExampleOnFailure() {
	ctx := context.Background()
	events, err := eventlog.Open(ctx, eventlog.Options{App: "bank", Memory: true})
	if err != nil {
		log.Fatal(err)
	}
	defer events.Close()
	accounts, err := events.Feed(ctx, "accounts", eventlog.Type[Deposited]("deposited"))
	if err != nil {
		log.Fatal(err)
	}
	limit := int64(100)
	balances := projection.NewTable[string, int64]("balances",
		projection.OnFailure(projection.FailurePolicy{Then: projection.ParkKey}))
	projection.On(balances, accounts, func(t *projection.Tx[string, int64], e eventlog.Event, d Deposited) error {
		if d.Cents > limit {
			return errors.New("too much")
		}
		t.Put(e.Key, t.Value(e.Key)+d.Cents)
		return nil
	})
	rt, err := projection.Start(ctx, events, balances)
	if err != nil {
		log.Fatal(err)
	}
	defer rt.Close()
	var last eventlog.Position
	for _, cents := range []int64{10, 500, 20} {
		if last, err = accounts.Append(ctx, "ada", eventlog.ExpectAny, Deposited{cents}); err != nil {
			log.Fatal(err)
		}
	}
	if last, err = accounts.Append(ctx, "bob", eventlog.ExpectAny, Deposited{1}); err != nil {
		log.Fatal(err)
	}
	if err := rt.Wait(ctx, last); err != nil {
		log.Fatal(err)
	}
	ada, _ := balances.Get("ada")
	bob, _ := balances.Get("bob")
	fmt.Println("ada", ada, "bob", bob)
	for _, p := range rt.Parked() {
		fmt.Println(p.Position, p.Key, p.Err, "waiting:", p.Waiting)
	}

	limit = 1000
	n, err := rt.RetryParked(ctx)
	ada, _ = balances.Get("ada")
	fmt.Println("applied", n, err, "ada", ada)
	// Output:
	// ada 10 bob 1
	// accounts@2 ada too much waiting: false
	// accounts@3 ada  waiting: true
	// applied 2 <nil> ada 530
}
