//go:build integration

package integration

import (
	"context"
	"maps"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/natstest"
)

// Three servers keep everything three times. The leader of the stream is
// killed during writes, three times over, and comes back. What was
// acknowledged is there exactly once; a follower sees each commit once and
// in order; what is sent again is answered with the first position (R1.9);
// and no append with an exact expectation gets through where it doesn't hold.
func TestClusterLosesLeaders(t *testing.T) {
	ctx := limited(t, 150*time.Second)
	cluster := natstest.StartCluster(t, 3)
	o := eventlog.Options{App: "cluster", URL: cluster.URL(), Replicas: 3}
	log, book := openLog(ctx, t, o)
	table := tallyTable(book)
	rt := must(everyFew(200).Start(ctx, log, table))(t)
	defer rt.Close()
	reader := follow(ctx, book)
	writers := hire(ctx, book, plain, plain, plain, actor, actor)
	for range 3 {
		writers.awaitMore(ctx, t, 1000)
		leader := cluster.Leader(book.Stream())
		leader.Kill()
		writers.awaitMore(ctx, t, 500) // with two of three
		t.Logf("%s was killed, %s leads now", leader.Name(), cluster.Leader(book.Stream()).Name())
		_, fresh := openLog(ctx, t, o) // it knows no ID
		checkResent(ctx, t, fresh, writers.sofar())
		leader.Restart()
	}
	writers.awaitMore(ctx, t, 500)
	claims := writers.end(t)

	records := readBook(ctx, t, book)
	checkBook(t, records, claims)
	reader.end(ctx, t, records)
	checkResent(ctx, t, book, claims)
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
	checkReplicas(ctx, t, log, "cluster_book", "KV_cluster_snapshots")
}

// Eight writers decide on what they have read of three keys, while leaders
// are killed: each key's commits form one chain.
func TestClusterChains(t *testing.T) {
	ctx := limited(t, 150*time.Second)
	cluster := natstest.StartCluster(t, 3)
	// So short that what a lost leader leaves open is the callers' business,
	// and that the server doesn't recognise it any more.
	o := eventlog.Options{App: "chains", URL: cluster.URL(), Replicas: 3, DuplicateWindow: 3 * time.Second, ResolveTimeout: 2 * time.Second}
	var crews []*crew
	for _, name := range []string{"a", "b"} {
		_, book := openLog(ctx, t, o)
		crews = append(crews, hireAs(ctx, name, book, careful(3), careful(3), careful(3), careful(3)))
	}
	for range 3 {
		crews[0].awaitMore(ctx, t, 300)
		leader := cluster.Leader(crews[0].book.Stream())
		leader.Kill()
		crews[1].awaitMore(ctx, t, 200)
		leader.Restart()
	}
	crews[0].awaitMore(ctx, t, 200)
	claims := append(crews[0].end(t), crews[1].end(t)...)

	records := readBook(ctx, t, crews[0].book)
	checkBook(t, records, claims)
	checkChains(t, records)
}

// checkReplicas fails unless the streams are kept by three servers.
func checkReplicas(ctx context.Context, t *testing.T, log *eventlog.Log, streams ...string) {
	t.Helper()
	for _, name := range streams {
		s := must(log.JetStream().Stream(ctx, name))(t)
		if info := s.CachedInfo(); info.Config.Replicas != 3 || info.Cluster == nil || len(info.Cluster.Replicas) != 2 {
			t.Errorf("%s has %d replicas: %+v", name, info.Config.Replicas, info.Cluster)
		}
	}
}
