//go:build integration

package integration

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/tidemark-es/tidemark/eventlog"
)

const (
	crashApp = "crash"
	// snapshotEvery is small, so that a save is under way nearly always.
	snapshotEvery = 25
)

// runWriter is a child: an embedded log with four writers and a projection.
// Its arguments are the log's directory and the round. It prints "open", and
// then each append that was acknowledged.
func runWriter(args []string) error {
	ctx := context.Background()
	dir, round := args[0], args[1]
	log, err := eventlog.Open(ctx, eventlog.Options{App: crashApp, Dir: dir})
	if err != nil {
		return err
	}
	book, err := openBook(ctx, log)
	if err != nil {
		return err
	}
	if _, err := everyFew(snapshotEvery).Start(ctx, log, tallyTable(book)); err != nil {
		return err
	}
	if _, err := fmt.Println("open"); err != nil {
		return err
	}
	failed := make(chan error)
	for _, write := range []func(context.Context, *eventlog.Feed, string) error{writeOne, writeSeveral, writeIdentified, writeAhead} {
		go func() { failed <- write(ctx, book, round) }()
	}
	return <-failed
}

// acknowledged prints one line with one write, so that a kill leaves it whole
// or cut off, and never mixed with another.
func acknowledged(c claim) error {
	_, err := fmt.Fprintf(os.Stdout, "%s %d %s %d\n", c.writer, c.n, c.key, c.seq)
	return err
}

func parseClaim(line string) (c claim, err error) {
	_, err = fmt.Sscan(line, &c.writer, &c.n, &c.key, &c.seq)
	return c, err
}

// draft is the n-th append of a writer, with several events.
func draft(writer string, n, events, keys int) eventlog.Draft {
	d := eventlog.Draft{Key: fmt.Sprintf("k%d", n%keys)}
	for part := range events {
		d.Events = append(d.Events, added{Writer: writer, N: n, Part: part + 1, Of: events})
	}
	return d
}

func writeLoop(ctx context.Context, book *eventlog.Feed, make func(n int) eventlog.Draft, writer string) error {
	for n := 1; ; n++ {
		d := make(n)
		pos, err := book.AppendDraft(ctx, d)
		if err != nil {
			return err
		}
		if err := acknowledged(claim{writer: writer, n: n, key: d.Key, seq: pos.Seq}); err != nil {
			return err
		}
	}
}

func writeOne(ctx context.Context, book *eventlog.Feed, round string) error {
	w := "one-" + round
	return writeLoop(ctx, book, func(n int) eventlog.Draft { return draft(w, n, 1, 50) }, w)
}

func writeSeveral(ctx context.Context, book *eventlog.Feed, round string) error {
	w := "several-" + round
	return writeLoop(ctx, book, func(n int) eventlog.Draft { return draft(w, n, 2+n%5, 7) }, w)
}

// identifiedPrefix begins the names of writers whose appends have IDs of
// their own.
const identifiedPrefix = "identified-"

// identified is the n-th append of such a writer, which can be sent again by
// who knows no more than that.
func identified(writer string, n int) eventlog.Draft {
	d := draft(writer, n, 1+n%2, 20)
	d.ID = eventlog.ActorID(writer, uint64(n))
	return d
}

func writeIdentified(ctx context.Context, book *eventlog.Feed, round string) error {
	w := identifiedPrefix + round
	return writeLoop(ctx, book, func(n int) eventlog.Draft { return identified(w, n) }, w)
}

// writeAhead doesn't wait for an acknowledgement before the next append. It
// has keys of its own: behind an append with an ID, others of the key wait.
func writeAhead(ctx context.Context, book *eventlog.Feed, round string) error {
	w := "ahead-" + round
	type sent struct {
		n   int
		key string
		p   *eventlog.Pending
	}
	pending := make(chan sent, 64)
	failed := make(chan error, 1)
	go func() {
		for s := range pending {
			pos, err := s.p.Wait(ctx)
			if err == nil {
				err = acknowledged(claim{writer: w, n: s.n, key: s.key, seq: pos.Seq})
			}
			if err != nil {
				failed <- err
				return
			}
		}
	}()
	for n := 1; ; n++ {
		d := draft(w, n, 1, 10)
		d.Key = "ahead-" + d.Key
		p, err := book.AppendAsync(ctx, d)
		if err != nil {
			return err
		}
		select {
		case pending <- sent{n, d.Key, p}:
		case err := <-failed:
			return errors.Join(errors.New("writing ahead"), err)
		}
	}
}
