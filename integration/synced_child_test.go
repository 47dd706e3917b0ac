//go:build integration

package integration

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/tidemark-es/tidemark/eventlog"
)

const syncedCallers = 100

// runSynced is a child: an embedded log whose server syncs every 250 ms, the
// default, and 100 callers that append at once. Each prints its commit's ID
// when its Synced append has returned. Then it appends one as Acked, and waits
// until its standard input is closed.
func runSynced(args []string) error {
	ctx := context.Background()
	log, err := eventlog.Open(ctx, eventlog.Options{App: crashApp, Dir: args[0]})
	if err != nil {
		return err
	}
	book, err := openBook(ctx, log)
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	failed := make(chan error, syncedCallers)
	for n := range syncedCallers {
		wg.Go(func() {
			d := draft("caller", n, 1, syncedCallers)
			d.Durability = eventlog.Synced
			p, err := book.AppendAsync(ctx, d)
			if err == nil {
				_, err = p.Wait(ctx)
			}
			if err == nil {
				_, err = fmt.Fprintf(os.Stdout, "synced %s.\n", p.ID())
			}
			if err != nil {
				failed <- err
			}
		})
	}
	wg.Wait()
	select {
	case err := <-failed:
		return err
	default:
	}
	p, err := book.AppendAsync(ctx, draft("caller", syncedCallers, 1, 1))
	if err != nil {
		return err
	}
	if _, err := p.Wait(ctx); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(os.Stdout, "acked %s.\n", p.ID()); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil { // until it is closed
		return err
	}
	os.Exit(0) // without closing the log, which would sync too
	return nil
}
