package projection_test

import (
	"context"
	"fmt"
	"log"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/projection"
)

// A new version is built beside the old one, which serves until the switch.
func ExampleBlueGreen() {
	ctx := context.Background()
	events, err := eventlog.Open(ctx, eventlog.Options{App: "shop", Memory: true})
	if err != nil {
		log.Fatal(err)
	}
	defer events.Close()
	accounts, err := events.Feed(ctx, "accounts", eventlog.Type[Deposited]("deposited"))
	if err != nil {
		log.Fatal(err)
	}
	balances := func(version uint64, factor int64) *projection.Table[string, int64] {
		t := projection.NewTable[string, int64]("balances", projection.Version(version))
		projection.On(t, accounts, func(t *projection.Tx[string, int64], e eventlog.Event, d Deposited) error {
			t.Put(e.Key, t.Value(e.Key)+factor*d.Cents)
			return nil
		})
		return t
	}
	bg := projection.NewBlueGreen(balances(1, 1), balances(2, 10))
	rt, err := projection.Start(ctx, events, bg)
	if err != nil {
		log.Fatal(err)
	}
	defer rt.Close()
	at, err := accounts.Append(ctx, "ada", eventlog.ExpectNew, Deposited{5})
	if err != nil {
		log.Fatal(err)
	}
	if err := rt.Wait(ctx, at); err != nil { // in the version that serves
		log.Fatal(err)
	}
	show := func() {
		v, _ := bg.Live().Get("ada")
		fmt.Println("version", bg.Build().Live, "has", v)
	}
	show()
	if err := bg.Switch(ctx); err != nil { // waits until version 2 has what version 1 has
		log.Fatal(err)
	}
	show()
	if err := bg.Back(ctx); err != nil {
		log.Fatal(err)
	}
	show()
	// Output:
	// version 1 has 5
	// version 2 has 50
	// version 1 has 5
}
