package lease_test

import (
	"context"
	"fmt"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/lease"
)

// One process at a time sends the mails; another takes over when it is gone.
func Example() {
	ctx := context.Background()
	log, err := eventlog.Open(ctx, eventlog.Options{App: "shop", Memory: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer log.Close()
	m, err := lease.New(lease.Options{App: log.App(), JetStream: log.JetStream(), Memory: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	err = m.Hold(ctx, "effects.mail", func(ctx context.Context, l *lease.Lease) error {
		fmt.Println("sending, epoch", l.Epoch())
		return nil // done; else go on until ctx ends
	})
	if err != nil {
		fmt.Println(err)
	}
	// Output: sending, epoch 1
}
