//go:build integration

package integration

import (
	"context"
	"errors"
	"fmt"
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
