package effect_test

import (
	"context"
	"fmt"
	"log"

	"github.com/tidemark-es/tidemark/effect"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/projection"
)

// A mail for each order: stated by a handler, sent by Run.
func Example() {
	ctx, cancel := context.WithCancel(context.Background())
	events, err := eventlog.Open(ctx, eventlog.Options{App: "shop", Memory: true})
	if err != nil {
		log.Fatal(err)
	}
	defer events.Close()
	orders, err := events.Feed(ctx, "orders", eventlog.Type[Placed]("placed"))
	if err != nil {
		log.Fatal(err)
	}
	mails, err := effect.New[string](ctx, events, "mails", 1)
	if err != nil {
		log.Fatal(err)
	}
	effect.On(mails, orders, func(tx *effect.Tx[string], e eventlog.Event, d Placed) error {
		tx.Want("", e.Key+": your "+d.Item+" is on its way")
		return nil
	})
	rt, err := projection.Start(ctx, events, mails)
	if err != nil {
		log.Fatal(err)
	}
	defer rt.Close()
	if _, err := orders.AppendDraft(ctx, eventlog.Draft{Key: "ada", ID: "order-7", Events: []any{Placed{"tea"}}}); err != nil {
		log.Fatal(err)
	}
	err = mails.Run(ctx, func(ctx context.Context, e effect.Effect[string]) error {
		fmt.Println(e.ID, e.Intent) // give the ID to the mail server
		cancel()                    // enough for an example
		return nil
	}, effect.Options{})
	fmt.Println(err)
	// Output:
	// mails:sVF8QLrZpOVbLdIn2mmQFQ.0 ada: your tea is on its way
	// <nil>
}
