//go:build integration

package integration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/natstest"
)

// A feed with one replica in a cluster has a mirror on another server, which
// answers direct gets for it (mirror_direct). The feed's server is set back, and
// its numbers are used again: the mirror keeps the lost tail. What a key has is
// the feed's word all the same.
func TestMirrorOfAFeedThatWasSetBack(t *testing.T) {
	ctx := limited(t, 2*time.Minute)
	cluster := natstest.StartCluster(t, 3)
	log := must(eventlog.Open(ctx, eventlog.Options{App: "mirrored", URL: cluster.URL()}))(t)
	defer log.Close()
	feed := must(openPatiently(ctx, log, "f"))(t)
	n := 0
	write := func(f *eventlog.Feed, times int) {
		for range times {
			n++
			must(f.Append(ctx, fmt.Sprint("k", n%3), eventlog.ExpectAny, added{Writer: "w", N: n, Part: 1, Of: 1}))(t)
		}
	}
	write(feed, 30)
	origin := cluster.Leader(feed.Stream())
	mirrorElsewhere(ctx, t, cluster, log, feed.Stream(), origin)
	copied := filepath.Join(t.TempDir(), "copy")
	origin.Stop()
	must(0, os.CopyFS(copied, os.DirFS(origin.StreamDir(feed.Stream()))))(t)
	cluster.Restart(origin)
	write(feed, 30)
	await(ctx, t, "the mirror to have all", func() bool { return mirrored(ctx, t, log) == 60 })
	must(0, log.Close())(t) // or its mark would come later, while the loss isn't accepted
	origin.Stop()
	must(0, os.RemoveAll(origin.StreamDir(feed.Stream())))(t)
	must(0, os.CopyFS(origin.StreamDir(feed.Stream()), os.DirFS(copied)))(t)
	cluster.Restart(origin)

	again := must(eventlog.Open(ctx, eventlog.Options{App: "mirrored", URL: cluster.URL()}))(t)
	defer again.Close()
	f := must(openPatiently(ctx, again, "f"))(t)
	if loss, lost := errors.AsType[*eventlog.LossError](f.Check(ctx)); lost { // the mark says so
		must(0, f.AcceptLoss(ctx, loss.From, loss.To))(t)
	}
	write(f, 60)
	if st := must(f.State(ctx))(t); st.Last != 90 {
		t.Fatalf("it ends at %d: nothing was lost", st.Last)
	}
	// Some of them are answered by the mirror, by chance.
	for i := range 12 {
		reading := must(eventlog.Open(ctx, eventlog.Options{App: "mirrored", URL: cluster.Servers[i%3].URL()}))(t)
		f := must(openPatiently(ctx, reading, "f"))(t)
		for k := range 3 {
			key := fmt.Sprint("k", k)
			var want, got []uint64
			for seq := uint64(1); seq <= 90; seq++ {
				if c, ok := mustLookup(ctx, t, f, seq); ok && c.Key == key {
					want = append(want, seq)
					if _, err := recordOf(&c); err != nil {
						t.Fatal(err)
					}
				}
			}
			for c, err := range f.Commits(ctx, eventlog.OfKey(key)) {
				if err != nil {
					t.Fatal(err)
				}
				own, _ := mustLookup(ctx, t, f, c.Seq)
				if got = append(got, c.Seq); own.ID != c.ID {
					t.Errorf("%s@%d is %s, which the feed doesn't have", key, c.Seq, c.ID)
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s: %v, want %v", key, got, want)
			}
		}
		_ = reading.Close()
	}
}

func mustLookup(ctx context.Context, t *testing.T, f *eventlog.Feed, seq uint64) (eventlog.Commit, bool) {
	t.Helper()
	c, ok, err := f.Lookup(ctx, seq)
	if err != nil {
		t.Fatal(err)
	}
	return c, ok
}

// mirrorElsewhere makes a mirror of a stream on another server than the
// stream's.
func mirrorElsewhere(ctx context.Context, t *testing.T, cluster *natstest.Cluster, log *eventlog.Log, stream string, origin *natstest.Server) {
	t.Helper()
	for range 50 {
		must(log.JetStream().CreateStream(ctx, jetstream.StreamConfig{
			Name: mirrorName, Mirror: &jetstream.StreamSource{Name: stream}, MirrorDirect: true, AllowDirect: true,
		}))(t)
		if cluster.Leader(mirrorName) != origin {
			return
		}
		if err := log.JetStream().DeleteStream(ctx, mirrorName); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
			t.Fatal(err)
		}
	}
	t.Fatal("the mirror is always placed with its origin")
}

const mirrorName = "mirror"

func mirrored(ctx context.Context, t *testing.T, log *eventlog.Log) uint64 {
	s, err := log.JetStream().Stream(ctx, mirrorName)
	if err != nil {
		return 0
	}
	return s.CachedInfo().State.LastSeq
}
