//go:build integration

package integration

import (
	"context"
	"crypto/sha256"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/natstest"
	"github.com/tidemark-es/tidemark/projection"
)

// A server comes back without the end of a log, as after a power failure,
// and its sequence numbers are used again, all under a running projection:
// what it had derived from the lost events goes, and it ends with what the
// log holds (R3.13, DESIGN L1). A follower is told.
func TestLogLosesTailUnderneath(t *testing.T) {
	for name, again := range map[string]int{"and stays short": 0, "and grows beyond": 40} {
		t.Run(name, func(t *testing.T) {
			ctx := limited(t, time.Minute)
			server := natstest.Start(t)
			log, book := openLog(ctx, t, eventlog.Options{App: "tail", URL: server.URL()})
			write := func(writer string, n int) (last eventlog.Position) {
				for i := range n {
					last = must(book.Append(ctx, writer, eventlog.ExpectAny, added{Writer: writer, N: i + 1, Part: 1, Of: 1}))(t)
				}
				return last
			}
			table := tallyTable(book)
			woken := projection.Filter("woken", table, func(string, tally) bool { return true }, projection.Lazy(0))
			rt := must(everyFew(7).Start(ctx, log, table, woken))(t)
			defer rt.Close()
			must(rt.Need(ctx, woken))(t)() // it stays awake
			write("kept", 20)
			withoutMark(ctx, t, log, book.Name())
			server.Stop()
			copied := filepath.Join(t.TempDir(), "copy")
			must(0, os.CopyFS(copied, os.DirFS(server.StreamDir(book.Stream()))))(t)
			server.Restart()
			if err := rt.Wait(ctx, write("lost", 20)); err != nil {
				t.Fatal(err)
			}
			r := must(book.NewReader(ctx, eventlog.Follow(), eventlog.After(40)))(t)
			defer r.Close()

			server.Stop()
			must(0, os.RemoveAll(server.StreamDir(book.Stream())))(t)
			must(0, os.CopyFS(server.StreamDir(book.Stream()), os.DirFS(copied)))(t)
			server.Restart()
			if _, err := r.Next(ctx); again == 0 && !errors.Is(err, eventlog.ErrLostTail) {
				t.Errorf("the follower: %v", err)
			}
			last := write("later", 1+again)
			await(ctx, t, "the projection to be where the log is", func() bool {
				at, _ := rt.Timeframe().Get("book")
				return at == last.Seq && rt.Metrics()[0].Err == nil
			})
			// What was acknowledged is gone: health tells for as long as the
			// log is shorter than it was.
			if err := log.Healthy(ctx); again == 0 && !errors.Is(err, eventlog.ErrLostTail) {
				t.Errorf("healthy: %v", err)
			}
			sameState(t, "after the loss", maps.Collect(table.All()), readBook(ctx, t, book))
			must(rt.Need(ctx, woken))(t)()
			sameState(t, "filled from its rows", maps.Collect(woken.All()), readBook(ctx, t, book))
		})
	}
}

// withoutMark makes the application go without the mark of a feed, so that a loss
// is like one that came after it: its place has one of a later release, which is
// left alone.
func withoutMark(ctx context.Context, t *testing.T, log *eventlog.Log, feed string) {
	t.Helper()
	marks := must(log.JetStream().CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: log.App() + "_" + eventlog.MarksBucket, Storage: jetstream.FileStorage}))(t)
	later := []byte("TMHW\xff of a later release")
	sum := sha256.Sum256(later)
	must(marks.Put(ctx, feed, append(later, sum[:]...)))(t)
}

// giveUp is an operator's decision about what a feed's log lost, if anything.
func giveUp(t *testing.T, f *eventlog.Feed) {
	t.Helper()
	if loss, lost := errors.AsType[*eventlog.LossError](f.Lost()); lost {
		must(0, f.AcceptLoss(limited(t, time.Minute), loss.From, loss.To))(t)
	}
}

// A server comes back without the end of a log that a mark knows of: appends, a
// follower and a running projection are refused, and so is another process; the
// right files put back, all go on as if nothing had been.
func TestLossUnderneath(t *testing.T) {
	ctx := limited(t, time.Minute)
	server := natstest.Start(t)
	log, book := openLog(ctx, t, eventlog.Options{App: "loss", URL: server.URL()})
	write := func(writer string, n int) (last eventlog.Position) {
		for i := range n {
			last = must(book.Append(ctx, writer, eventlog.ExpectAny, added{Writer: writer, N: i + 1, Part: 1, Of: 1}))(t)
		}
		return last
	}
	table := tallyTable(book)
	rt := must(everyFew(7).Start(ctx, log, table))(t)
	defer rt.Close()
	write("kept", 20)
	server.Stop()
	files, older, newer := server.StreamDir(book.Stream()), filepath.Join(t.TempDir(), "older"), filepath.Join(t.TempDir(), "newer")
	must(0, os.CopyFS(older, os.DirFS(files)))(t)
	server.Restart()
	last := write("lost", 20)
	await(ctx, t, "the mark to be at the end", func() bool { return book.Metrics().Marked == last.Seq })
	must(0, rt.Wait(ctx, last))(t)
	exchange := func(away, back string) {
		server.Stop()
		must(0, os.Rename(files, away))(t)
		must(0, os.CopyFS(files, os.DirFS(back)))(t)
		server.Restart()
	}
	exchange(newer, older)
	await(ctx, t, "the loss to be told", func() bool { return book.Lost() != nil })
	loss, _ := errors.AsType[*eventlog.LossError](log.Healthy(ctx))
	if loss == nil || loss.From != 21 || loss.To != 40 {
		t.Fatalf("healthy: %v", log.Healthy(ctx))
	}
	if _, err := book.Append(ctx, "later", eventlog.ExpectAny, added{}); !errors.Is(err, eventlog.ErrLostTail) {
		t.Errorf("append: %v", err)
	}
	other, theirs := openLog(ctx, t, eventlog.Options{App: "loss", URL: server.URL()})
	if _, err := everyFew(7).Start(ctx, other, tallyTable(theirs)); !errors.Is(err, eventlog.ErrLostTail) {
		t.Errorf("another process: %v", err)
	}
	exchange(filepath.Join(t.TempDir(), "rest"), newer)
	await(ctx, t, "the loss to be mended", func() bool { return log.Healthy(ctx) == nil && other.Healthy(ctx) == nil })
	end := write("later", 1)
	after := tallyTable(theirs)
	next := must(everyFew(7).Start(ctx, other, after))(t)
	defer next.Close()
	must(0, next.Wait(ctx, end))(t)
	sameState(t, "after it was mended", maps.Collect(after.All()), readBook(ctx, t, book))
}
