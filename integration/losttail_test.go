//go:build integration

package integration

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

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
