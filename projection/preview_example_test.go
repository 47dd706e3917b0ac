package projection_test

import (
	"context"
	"fmt"
	"log"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/projection"
)

// What would a withdrawal do? Nothing is appended, and no table changes.
func ExampleRuntime_Preview() {
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
	balances := projection.NewTable[string, int64]("balances")
	projection.On(balances, accounts, func(t *projection.Tx[string, int64], e eventlog.Event, d Deposited) error {
		t.Put(e.Key, t.Value(e.Key)+d.Cents)
		return nil
	})
	rich := projection.Filter("rich", balances, func(_ string, cents int64) bool { return cents >= 1000 })
	rt, err := projection.Start(ctx, events, balances, rich)
	if err != nil {
		log.Fatal(err)
	}
	defer rt.Close()

	o, err := rt.Preview(ctx, accounts, "ada", Deposited{1500})
	if err != nil {
		log.Fatal(err)
	}
	for _, c := range rich.ChangesIn(o) {
		fmt.Println(c.Key, "would be rich, with", c.New)
	}
	fmt.Println("rich now:", rich.Len())
	// Output:
	// ada would be rich, with 1500
	// rich now: 0
}
