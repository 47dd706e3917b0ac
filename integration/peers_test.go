//go:build integration

package integration

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/natstest"
	"github.com/tidemark-es/tidemark/projection"
)

// peers opens the same application's log several times, as processes of their
// own would.
func peers(ctx context.Context, t *testing.T, n int, o eventlog.Options) (logs []*eventlog.Log, books []*eventlog.Feed) {
	t.Helper()
	for range n {
		log, book := openLog(ctx, t, o)
		logs, books = append(logs, log), append(books, book)
	}
	return logs, books
}

// R1.9 between processes: each of many appends is sent by all of them at once
// with the same ID. One of them appends it, and all are told the same.
func TestPeersRaceForIdentity(t *testing.T) {
	const appends, keys = 300, 5
	ctx := limited(t, time.Minute)
	const window = 1500 * time.Millisecond // of which a writer has two thirds to get through
	o := eventlog.Options{App: "race", URL: natstest.Start(t).URL(), DuplicateWindow: window}
	_, books := peers(ctx, t, 3, o)
	var first []eventlog.Position
	for round := range 2 {
		for n := 1; n <= appends; n++ {
			got := sendAll(ctx, t, books, eventlog.Draft{
				Key: fmt.Sprintf("k%d", n%keys), ID: eventlog.ActorID("race", uint64(n)),
				Events: []any{added{Writer: "race", N: n, Part: 1, Of: 1}},
			})
			switch {
			case slices.ContainsFunc(got, func(p eventlog.Position) bool { return p != got[0] }):
				t.Fatalf("append %d: %v", n, got)
			case round == 0:
				first = append(first, got[0])
			case first[n-1] != got[0]:
				t.Fatalf("append %d, sent again: %v, at first %v", n, got[0], first[n-1])
			}
		}
		// The next round is sent by those who know nothing of this one, when the
		// server has forgotten its IDs.
		_, books = peers(ctx, t, 3, o)
		sent := time.Now()
		await(ctx, t, "the window is over", func() bool { return round > 0 || time.Since(sent) > window+window/10 })
	}
	records := readBook(ctx, t, books[0])
	checkBook(t, records, nil)
	if len(records) != appends {
		t.Errorf("%d commits of %d appends", len(records), appends)
	}
}

// sendAll lets every book append the draft at once.
func sendAll(ctx context.Context, t *testing.T, books []*eventlog.Feed, d eventlog.Draft) []eventlog.Position {
	t.Helper()
	got, errs := make([]eventlog.Position, len(books)), make([]error, len(books))
	var wg sync.WaitGroup
	for i, b := range books {
		wg.Go(func() { got[i], errs[i] = b.AppendDraft(ctx, d) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatalf("append %s: %v", d.ID, err)
	}
	return got
}

// Exact expectations between processes: each key's commits form one chain.
func TestPeersRaceForKeys(t *testing.T) {
	ctx := limited(t, time.Minute)
	o := eventlog.Options{App: "keys", URL: natstest.Start(t).URL()}
	_, books := peers(ctx, t, 2, o)
	a := hireAs(ctx, "a", books[0], careful(2), careful(2), careful(2), careful(2))
	b := hireAs(ctx, "b", books[1], careful(2), careful(2), careful(2), careful(2))
	a.awaitMore(ctx, t, 500)
	b.awaitMore(ctx, t, 500)
	claims := append(a.end(t), b.end(t)...)
	records := readBook(ctx, t, books[0])
	checkBook(t, records, claims)
	checkChains(t, records)
}

// Two processes run a projection of the same name: one holds the lease and
// saves, the other follows, and both states are right, as is what a third
// process restores.
func TestPeersShareSnapshots(t *testing.T) {
	ctx := limited(t, 90*time.Second)
	o := eventlog.Options{App: "share", URL: natstest.Start(t).URL()}
	logs, books := peers(ctx, t, 2, o)
	tables := make([]*projection.Table[string, tally], 2)
	runtimes := make([]*projection.Runtime, 2)
	for i := range runtimes {
		tables[i] = tallyTable(books[i])
		runtimes[i] = must(everyFew(50).Start(ctx, logs[i], tables[i]))(t)
		defer runtimes[i].Close()
	}
	saves := func() (saved []uint64, owners int) {
		for _, rt := range runtimes {
			s := rt.Metrics()[0].Snapshots
			saved = append(saved, s.Saves)
			if s.Owner {
				owners++
			}
		}
		return saved, owners
	}
	a := hireAs(ctx, "a", books[0], plain, plain)
	b := hireAs(ctx, "b", books[1], plain, actor)
	await(ctx, t, "one saves", func() bool {
		saved, _ := saves()
		return saved[0]+saved[1] >= 20
	})
	claims := append(a.end(t), b.end(t)...)
	records := readBook(ctx, t, books[0])
	checkBook(t, records, claims)
	end := eventlog.Position{Feed: "book", Seq: uint64(len(records))}
	for i, rt := range runtimes {
		if err := rt.Wait(ctx, end); err != nil {
			t.Fatal(err)
		}
		sameState(t, fmt.Sprintf("peer %d", i), maps.Collect(tables[i].All()), records)
		s := rt.Metrics()[0].Snapshots
		t.Logf("peer %d: %d saves, %d failures, %q", i, s.Saves, s.Failures, s.LastError)
		if s.Failures > 0 {
			t.Errorf("peer %d tried %d times in vain", i, s.Failures)
		}
	}
	if saved, owners := saves(); owners != 1 || min(saved[0], saved[1]) != 0 {
		t.Errorf("%d owners, saves %d", owners, saved)
	}
	for _, rt := range runtimes {
		if err := rt.Close(); err != nil {
			t.Error(err)
		}
	}
	third, book := openLog(ctx, t, o)
	if rec := checkRestart(ctx, t, third, book, records); rec.Source != projection.FromSnapshot {
		t.Errorf("recovery %+v", rec)
	}
}
