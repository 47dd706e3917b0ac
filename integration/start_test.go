//go:build integration

package integration

import (
	"errors"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/natstest"
)

// A feed is opened while two of three servers are still starting: it waits
// for the cluster's leader, and where they don't come no longer than it says.
func TestFeedOfAStartingCluster(t *testing.T) {
	ctx := limited(t, 90*time.Second)
	cluster := natstest.StartCluster(t, 3)
	log := must(eventlog.Open(ctx, eventlog.Options{App: "starting", URL: cluster.Servers[0].URL(), Replicas: 3, RequestTimeout: 10 * time.Second}))(t)
	t.Cleanup(func() { _ = log.Close() })
	const timeout = 500 * time.Millisecond
	impatient := must(eventlog.Open(ctx, eventlog.Options{App: "starting", URL: cluster.Servers[0].URL(), Replicas: 3, RequestTimeout: timeout}))(t)
	t.Cleanup(func() { _ = impatient.Close() })
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
	for _, s := range cluster.Servers[1:] {
		s.Kill()
	}
	begun := time.Now()
	_, err := impatient.Feed(ctx, "another", eventlog.Type[added]("added"))
	if took := time.Since(begun); !errors.Is(err, eventlog.ErrUnavailable) || took < timeout || took > 4*timeout+time.Second {
		t.Errorf("without a leader, after %v: %v", took, err)
	}
}

// A writer publishes to the stream's leader, wherever the log's connection is,
// and appends go on when the leader is killed, or says nothing any more.
func TestWriterIsWithTheLeader(t *testing.T) {
	ctx := limited(t, 2*time.Minute)
	cluster := natstest.StartCluster(t, 3)
	writers := 0 // that need a second connection
	for _, s := range cluster.Servers {
		o := eventlog.Options{App: "leader", URL: s.URL(), Replicas: 3}
		log, book := openLog(ctx, t, o)
		leader := cluster.Leader(book.Stream())
		// Clients follow a server that shuts down to another one, else stay.
		if log.JetStream().Conn().ConnectedServerName() != leader.Name() {
			writers++
		}
		await(ctx, t, "the second connection", func() bool { return leader.Clients(writerName) == writers })
	}
	_, book := openLog(ctx, t, eventlog.Options{App: "leader", URL: cluster.URL(), Replicas: 3})
	must(book.AppendDraft(ctx, draft("w", 1, 1, 1)))(t)
	killed := cluster.Leader(book.Stream())
	killed.Kill()
	must(book.AppendDraft(ctx, draft("w", 2, 1, 1)))(t)
	killed.Restart()
	silent := cluster.Leader(book.Stream())
	silent.Suspend()
	must(book.AppendDraft(ctx, draft("w", 3, 1, 1)))(t)
	if n := len(readBook(ctx, t, book)); n != 3 {
		t.Errorf("%d commits", n)
	}
}

const writerName = "tidemark-writer"
