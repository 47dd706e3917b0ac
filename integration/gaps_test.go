//go:build integration

package integration

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/natstest"
)

// On three servers: a key is erased, another purged by hand, and a stray message
// passed over. It counts in another process that has the feed open meanwhile,
// under another leader, and after all servers were killed.
func TestClusterGaps(t *testing.T) {
	ctx := limited(t, 150*time.Second)
	cluster := natstest.StartCluster(t, 3)
	o := eventlog.Options{App: "a", URL: cluster.URL(), Replicas: 3}
	open := func() *eventlog.Feed {
		log := must(eventlog.Open(ctx, o))(t)
		t.Cleanup(func() { log.Close() })
		return must(log.Feed(ctx, "accounts", eventlog.Type[blob]("blob")))(t)
	}
	f, other := open(), open()
	must(f.Append(ctx, "first", eventlog.ExpectNew, blob{"x"}))(t)
	for i := range 30 {
		must(f.Append(ctx, fmt.Sprint("k", i%3), eventlog.ExpectAny, blob{"x"}))(t)
	}
	stray := must(f.Log().JetStream().Publish(ctx, "a.accounts.stray", []byte("x")))(t).Sequence
	must(f.Append(ctx, "k2", eventlog.ExpectAny, blob{"x"}))(t)

	if n, err := f.Erase(ctx, eventlog.Note{Reason: "Art. 17"}, "k0", 0); n != 10 || err != nil {
		t.Fatalf("erased %d, %v", n, err)
	}
	if err := f.Pass(ctx, eventlog.Note{Reason: "nats pub"}, stray); err != nil {
		t.Fatal(err)
	}
	s := must(f.Log().JetStream().Stream(ctx, f.Stream()))(t)
	if err := s.Purge(ctx, jetstream.WithPurgeSubject("a.accounts.k1")); err != nil {
		t.Fatal(err)
	}
	for _, f := range []*eventlog.Feed{f, other} {
		e, ok := errors.AsType[*eventlog.GapsError](f.Check(ctx))
		if !ok || e.Missing != 10 || !strings.Contains(e.Error(), "AcceptGap") {
			t.Errorf("check: %v", e)
		}
	}
	if n, err := other.AcceptGap(ctx, eventlog.Note{Reason: "purged"}, 0, 0); n != 10 || err != nil {
		t.Fatalf("accepted %d, %v", n, err)
	}
	check := func(what string, f *eventlog.Feed) {
		t.Helper()
		var got []uint64
		for c, err := range f.Commits(ctx) {
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			got = append(got, c.Seq)
		}
		if len(got) != 12 || got[0] != 1 || got[1] != 4 || got[10] != 31 || got[11] != stray+1 || !slices.IsSorted(got) {
			t.Errorf("%s: read %d", what, got)
		}
		if err := f.Log().Healthy(ctx); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	check("here", f)
	check("elsewhere", other)
	leader := cluster.Leader(f.Stream())
	leader.Kill()
	cluster.Leader(f.Stream())
	check("under another leader", open())
	leader.Restart()
	for _, s := range cluster.Servers {
		s.Kill()
	}
	cluster.Restart(cluster.Servers...)
	cluster.Leader(f.Stream())
	check("after all were killed", open())
	check("by who saw it all", other)
}
