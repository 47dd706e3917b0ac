//go:build integration

package integration

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tidemark-es/tidemark/backup"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/natstest"
	"github.com/tidemark-es/tidemark/projection"
	"github.com/tidemark-es/tidemark/snapshot"
)

// library is an application of a feed of its own, and an adopted one.
type library struct {
	log   *eventlog.Log
	book  *eventlog.Feed
	tally *projection.Table[string, tally]
	loans *projection.Table[string, int]
}

func openLibrary(ctx context.Context, t *testing.T, o eventlog.Options) *library {
	t.Helper()
	log, book := openLog(ctx, t, o)
	loans := must(log.Adopt(ctx, "loans", eventlog.Adoption{
		Stream: "LOANS", Layouts: []eventlog.Layout{{Subject: "loans.{id}.{type}"}},
	}, eventlog.Type[added]("lent")))(t)
	l := &library{log: log, book: book, tally: tallyTable(book), loans: projection.NewTable[string, int]("loans")}
	projection.On(l.loans, loans, func(tx *projection.Tx[string, int], e eventlog.Event, _ added) error {
		tx.Put(e.Key, tx.Value(e.Key)+1)
		return nil
	})
	return l
}

// lend publishes as the owner of the adopted stream does.
func (l *library) lend(ctx context.Context, t *testing.T, n int) {
	t.Helper()
	makeLoans(ctx, t, l.log)
	for i := range n {
		must(l.log.JetStream().Publish(ctx, []string{"loans.a.lent", "loans.b.lent"}[i%2], []byte(`{}`)))(t)
	}
}

func makeLoans(ctx context.Context, t *testing.T, log *eventlog.Log) {
	t.Helper()
	must(log.JetStream().CreateOrUpdateStream(ctx, jetstream.StreamConfig{Name: "LOANS", Subjects: []string{"loans.>"}}))(t)
}

// digests starts the application's projections, and says what they are.
func (l *library) digests(ctx context.Context, t *testing.T) (d map[string]snapshot.Digest, from map[string]projection.Source) {
	t.Helper()
	rt := must(everyFew(1000).Start(ctx, l.log, l.tally, l.loans))(t)
	d, from = make(map[string]snapshot.Digest), make(map[string]projection.Source)
	for _, name := range []string{tallies, "loans"} {
		_, digest, err := rt.Digest(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		d[name] = digest
	}
	for _, s := range must(rt.Status(ctx))(t) {
		from[s.Projection] = s.Recovery.Source
	}
	if err := rt.Close(); err != nil {
		t.Fatal(err)
	}
	return d, from
}

// An application on a server of its own, which is killed (SIGKILL), is backed
// up while it is written to, restored on another server, which is killed too,
// and has the same state there: from its snapshot what it derives from its own
// feed, and anew what it derives from a stream of others, which is in no backup
// of it and is another one here.
func TestBackupBetweenServers(t *testing.T) {
	ctx := limited(t, 2*time.Minute)
	from, to := natstest.Start(t), natstest.Start(t)
	o := eventlog.Options{App: "library", URL: from.URL()}
	plainLog := must(eventlog.Open(ctx, o))(t)
	makeLoans(ctx, t, plainLog)
	if err := plainLog.Close(); err != nil {
		t.Fatal(err)
	}
	l := openLibrary(ctx, t, o)
	l.lend(ctx, t, 20)
	writers := hire(ctx, l.book, plain, actor)
	writers.awaitMore(ctx, t, 100)
	l.digests(ctx, t) // there are snapshots
	from.Kill()
	dir := t.TempDir()
	if _, err := backup.Save(withTimeout(ctx, t, time.Second), l.log, dir); err == nil {
		t.Error("saved without a server")
	}
	if _, err := backup.Verify(dir); !errors.Is(err, backup.ErrNone) {
		t.Errorf("what is there: %v", err)
	}
	from.Restart()
	writers.awaitMore(ctx, t, 100)
	m := must(backup.Save(ctx, l.log, dir))(t)
	claims := writers.end(t)
	must(backup.Verify(dir))(t)

	o.URL = to.URL()
	target := must(eventlog.Open(ctx, o))(t)
	must(backup.Restore(ctx, target, dir))(t)
	makeLoans(ctx, t, target)
	to.Kill() // what is restored is on the disk as much as what is appended
	to.Restart()
	if err := target.Close(); err != nil {
		t.Error(err)
	}
	r := openLibrary(ctx, t, o)
	r.lend(ctx, t, 20)
	records := readBook(ctx, t, r.book)
	n := m.Feeds()[r.book.Stream()]
	if uint64(len(records)) != n {
		t.Errorf("%d commits, %d were saved", len(records), n)
	}
	checkBook(t, records, slices.DeleteFunc(claims, func(c claim) bool { return c.seq > n }))
	digests, source := r.digests(ctx, t)
	sameState(t, "restored", maps.Collect(r.tally.All()), records)
	if got := maps.Collect(r.loans.All()); !maps.Equal(got, map[string]int{"a": 10, "b": 10}) {
		t.Errorf("loans %v", got)
	}
	if source[tallies] != projection.FromSnapshot || source["loans"] != projection.FromReplay {
		t.Errorf("restored from %v", source)
	}
	again := openLibrary(ctx, t, o)
	if second, source := again.digests(ctx, t); !maps.Equal(second, digests) || source["loans"] != projection.FromSnapshot {
		t.Errorf("the next start: digests %v, %v; from %v", second, digests, source)
	}
	for _, s := range m.Notes {
		if strings.Contains(s, tallies) {
			t.Errorf("a note: %s", s)
		}
	}
}

// withTimeout is a context that ends early, for what has to fail.
func withTimeout(ctx context.Context, t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, d)
	t.Cleanup(cancel)
	return ctx
}
