//go:build integration

package integration

import (
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/natstest"
)

// A feed is opened while two of three servers are still starting: it waits
// for the cluster's leader.
func TestFeedOfAStartingCluster(t *testing.T) {
	ctx := limited(t, 90*time.Second)
	cluster := natstest.StartCluster(t, 3)
	log := must(eventlog.Open(ctx, eventlog.Options{App: "starting", URL: cluster.Servers[0].URL(), Replicas: 3, RequestTimeout: 10 * time.Second}))(t)
	t.Cleanup(func() { _ = log.Close() })
	for _, s := range cluster.Servers[1:] {
		s.Kill()
	}
	type outcome struct {
		book *eventlog.Feed
		err  error
	}
	opened := make(chan outcome, 1)
	go func() {
		book, err := openBook(ctx, log)
		opened <- outcome{book, err}
	}()
	for _, s := range cluster.Servers[1:] {
		s.Restart()
	}
	o := <-opened
	if o.err != nil {
		t.Fatal(o.err)
	}
	must(o.book.AppendDraft(ctx, draft("w", 1, 1, 1)))(t)
	if n := len(readBook(ctx, t, o.book)); n != 1 {
		t.Errorf("%d commits", n)
	}
}

// The writer's own connection is with the stream's leader, wherever the log's
// is, and appends go on when that one is killed.
func TestWriterIsWithTheLeader(t *testing.T) {
	ctx := limited(t, 90*time.Second)
	cluster := natstest.StartCluster(t, 3)
	for i, s := range cluster.Servers {
		o := eventlog.Options{App: "leader", URL: s.URL(), Replicas: 3}
		_, book := openLog(ctx, t, o)
		if leader := cluster.Leader(book.Stream()); leader.Clients(writerName) != i+1 {
			t.Errorf("log at %s: %d writers at %s", s.Name(), leader.Clients(writerName), leader.Name())
		}
	}
	_, book := openLog(ctx, t, eventlog.Options{App: "leader", URL: cluster.URL(), Replicas: 3})
	must(book.AppendDraft(ctx, draft("w", 1, 1, 1)))(t)
	cluster.Leader(book.Stream()).Kill()
	must(book.AppendDraft(ctx, draft("w", 2, 1, 1)))(t)
	if n := len(readBook(ctx, t, book)); n != 2 {
		t.Errorf("%d commits", n)
	}
}

const writerName = "tidemark-writer"
