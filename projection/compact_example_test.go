package projection_test

import (
	"context"
	"fmt"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/projection"
)

// The log is trimmed below what snapshots stand for; the state stays.
func ExampleRuntime_Compact() {
	ctx := context.Background()
	log, err := eventlog.Open(ctx, eventlog.Options{App: "bank", Memory: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer log.Close()
	accounts, err := log.Feed(ctx, "accounts", eventlog.Type[deposited]("deposited"))
	if err != nil {
		fmt.Println(err)
		return
	}
	balances := projection.NewTable[string, int64]("balances")
	projection.On(balances, accounts, func(t *projection.Tx[string, int64], e eventlog.Event, d deposited) error {
		t.Put(e.Key, t.Value(e.Key)+d.Cents)
		return nil
	})
	rt, err := projection.Start(ctx, log, balances)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer rt.Close()
	var at eventlog.Position
	for range 100 {
		if at, err = accounts.Append(ctx, "ada", eventlog.ExpectAny, deposited{1}); err != nil {
			fmt.Println(err)
			return
		}
	}
	if err := rt.Wait(ctx, at); err != nil {
		fmt.Println(err)
		return
	}
	report, err := rt.Compact(ctx, projection.CompactOptions{Margin: 10})
	if err != nil {
		fmt.Println(err)
		return
	}
	cents, _ := balances.Get("ada")
	fmt.Println(cents, "cents; the log begins at", report.Feeds[0].From)
	// Output: 100 cents; the log begins at 90
}
