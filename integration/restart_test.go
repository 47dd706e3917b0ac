//go:build integration

package integration

import (
	"maps"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/natstest"
)

// A server elsewhere is killed, or stopped, and comes back under a running
// process. Nothing that was acknowledged is lost, what was ambiguous and sent
// again is there once, and writers, follower and projection all go on.
func TestServerRestartsUnderneath(t *testing.T) {
	t.Run("patient", func(t *testing.T) { restartUnderneath(t, 0) })
	// So short that outages become the callers' business.
	t.Run("impatient", func(t *testing.T) {
		// How many appends are ambiguous first is chance, and is logged.
		restartUnderneath(t, 150*time.Millisecond)
	})
}

func restartUnderneath(t *testing.T, resolve time.Duration) *crew {
	ctx := limited(t, 100*time.Second)
	server := natstest.Start(t)
	log, book := openLog(ctx, t, eventlog.Options{App: "outage", URL: server.URL(), ResolveTimeout: resolve})
	table := tallyTable(book)
	rt := must(everyFew(200).Start(ctx, log, table))(t)
	defer rt.Close()
	reader := follow(ctx, book)
	writers := hire(ctx, book, plain, plain, plain, actor, actor, careful(3), careful(3))
	killed := func() { // with appends under way for certain
		server.Suspend()
		writers.awaitOpen(ctx, t, 3)
		server.Kill()
	}
	for _, end := range []func(){killed, server.Stop, server.Kill} {
		writers.awaitMore(ctx, t, 1000)
		end()
		if resolve > 0 {
			writers.awaitTrouble(ctx, t, 30)
		}
		server.Restart()
	}
	writers.awaitMore(ctx, t, 1000)
	claims := writers.end(t)

	records := readBook(ctx, t, book)
	checkBook(t, records, claims)
	reader.end(ctx, t, records)
	if err := rt.Wait(ctx, eventlog.Position{Feed: "book", Seq: uint64(len(records))}); err != nil {
		t.Fatal(err)
	}
	sameState(t, "live", maps.Collect(table.All()), records)
	if s := rt.Metrics()[0].Snapshots; s.Saves == 0 {
		t.Errorf("snapshots %+v", s)
	}
	if err := rt.Close(); err != nil {
		t.Error(err)
	}
	checkRestart(ctx, t, log, book, records)
	return writers
}
