//go:build integration

package integration

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/natstest"
	"github.com/tidemark-es/tidemark/internal/racetest"
)

// Eight writers on a replicated stream whose leader changes again and again,
// by request and by being killed: no stale append is accepted, by whatever
// expectation or guard, and no acknowledged one is lost.
func TestRaceOnACluster(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	c := natstest.StartCluster(t, 3)
	var feeds []*eventlog.Feed
	for i := range 3 {
		o := eventlog.Options{
			App: "race", URL: c.Servers[i].URL() + "," + c.URL(), Replicas: 3,
			RequestTimeout: time.Second, ResolveTimeout: 15 * time.Second,
		}
		log := must(eventlog.Open(ctx, o))(t)
		t.Cleanup(func() { _ = log.Close() })
		// A cluster that has just formed may lose the first questions, when
		// its servers drop routes that they have twice.
		f, err := racetest.Open(ctx, log)
		for tries := 0; errors.Is(err, eventlog.ErrUnavailable) && tries < 5; tries++ {
			f, err = racetest.Open(ctx, log)
		}
		feeds = append(feeds, must(f, err)(t))
	}
	var over atomic.Bool
	changes := make(chan int, 1)
	disturbing, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		defer close(changes)
		defer over.Store(true)
		n := disturb(disturbing, t, c, feeds[0])
		changes <- n
	}()
	begun := time.Now()
	tally := racetest.Run(ctx, t, feeds, 8, 400, func() bool { return !over.Load() })
	stop()
	n := <-changes
	t.Logf("%+v in %v, %d changes of the leader", tally, time.Since(begun).Round(time.Millisecond), n)
	if tally.Stored < 100 || n < 5 {
		t.Errorf("not much of a race: %+v, %d changes", tally, n)
	}
}

// disturb changes the stream's leader: steps down several times, and kills
// the leader's server twice.
func disturb(ctx context.Context, t testing.TB, c *natstest.Cluster, f *eventlog.Feed) (changes int) {
	pause := time.NewTicker(500 * time.Millisecond)
	defer pause.Stop()
	for i := range 24 {
		select {
		case <-pause.C:
		case <-ctx.Done():
			return changes
		}
		if i == 8 || i == 16 {
			leader := c.Leader(f.Stream())
			leader.Kill()
			select {
			case <-time.After(2 * time.Second):
			case <-ctx.Done():
			}
			leader.Restart()
			changes++
			continue
		}
		asked, cancel := context.WithTimeout(ctx, 2*time.Second)
		if _, err := f.Log().Conn().RequestWithContext(asked, fmt.Sprintf("$JS.API.STREAM.LEADER.STEPDOWN.%s", f.Stream()), nil); err == nil {
			changes++
		}
		cancel()
	}
	return changes
}

// Two processes send one ID at once to a replicated stream, at two servers, again
// and again: it is stored once, and both get its position.
func TestOneIDFromTwoProcesses(t *testing.T) {
	ctx := limited(t, 2*time.Minute)
	c := natstest.StartCluster(t, 3)
	var books []*eventlog.Feed
	for i := range 2 {
		log := must(eventlog.Open(ctx, eventlog.Options{App: "twice", URL: c.Servers[i].URL(), Replicas: 3}))(t)
		t.Cleanup(func() { _ = log.Close() })
		books = append(books, must(openPatiently(ctx, log, "book"))(t))
	}
	const rounds = 200
	for n := range rounds {
		var at [2]eventlog.Position
		var errs [2]error
		var wg sync.WaitGroup
		for i, book := range books {
			wg.Go(func() {
				at[i], errs[i] = book.AppendDraft(ctx, eventlog.Draft{
					Key: fmt.Sprint("k", n%3), ID: fmt.Sprint("id-", n), Events: []any{added{Writer: "w", N: n, Part: 1, Of: 1}},
				})
			})
		}
		wg.Wait()
		if errs != [2]error{} || at[0] != at[1] {
			t.Fatalf("round %d: %v and %v, %v", n, at[0], at[1], errs)
		}
	}
	if st := must(books[0].State(ctx))(t); st.Messages != rounds {
		t.Errorf("%d messages of %d IDs", st.Messages, rounds)
	}
	if n := books[0].Metrics().Retries + books[1].Metrics().Retries; n == 0 {
		t.Errorf("in %d rounds nothing had to be sent again: this test shows nothing", rounds)
	}
}
