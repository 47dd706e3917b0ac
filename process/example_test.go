package process_test

import (
	"context"
	"fmt"
	"log"

	"github.com/tidemark-es/tidemark/effect"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/process"
	"github.com/tidemark-es/tidemark/projection"
)

// For each paid order a parcel is requested, once.
func Example() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	events, err := eventlog.Open(ctx, eventlog.Options{App: "shop", Memory: true})
	if err != nil {
		log.Fatal(err)
	}
	defer events.Close()
	orders, err := events.Feed(ctx, "orders", eventlog.Type[Paid]("paid"))
	if err != nil {
		log.Fatal(err)
	}
	parcels, err := events.Feed(ctx, "parcels", eventlog.Type[Requested]("requested"))
	if err != nil {
		log.Fatal(err)
	}
	p, err := process.New[bool](ctx, events, "shipping", 1, parcels) // the state: is one requested
	if err != nil {
		log.Fatal(err)
	}
	process.On(p, orders, nil, func(do *process.Step[bool], e eventlog.Event, _ Paid) error {
		if !do.State() {
			do.Append(parcels, e.Key, Requested{})
		}
		do.Set(true)
		return nil
	})
	rt, err := projection.Start(ctx, events, p)
	if err != nil {
		log.Fatal(err)
	}
	defer rt.Close()
	ran := make(chan error)
	go func() { ran <- p.Run(ctx, effect.Options{}) }()
	for _, id := range []string{"payment-1", "payment-2"} {
		if _, err := orders.AppendDraft(ctx, eventlog.Draft{Key: "order-7", ID: id, Events: []any{Paid{}}}); err != nil {
			log.Fatal(err)
		}
	}
	for e, err := range parcels.Read(ctx, eventlog.Follow()) {
		if err != nil {
			log.Fatal(err)
		}
		seen, err := e.Seen() // whoever reads both feeds handles that first
		fmt.Println(e.Type, e.Key, "because of", e.Causation(), "behind", seen, err)
		break
	}
	cancel()
	fmt.Println(<-ran)
	// Output:
	// requested order-7 because of payment-1 behind orders=1 <nil>
	// <nil>
}
