//go:build integration && linux

package integration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/natstest"
)

type blob struct{ Data string }

// smallDisk is a file system of its own with a file that fills most of it, so
// that the disk is full before the server's own limit, 3/4 of what it found.
func smallDisk(t *testing.T) (dir, filler string) {
	t.Helper()
	dir = t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=24m"); err != nil {
		t.Skipf("NOT TESTED: a really full disk: this machine doesn't let us mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir, filepath.Join(dir, "filler")
}

// The disk is full: appends end with ErrFull within a second, those that were
// on their way as ambiguous ones; what was acknowledged is there, and nothing
// twice. With room, and the log opened again, it goes on.
func TestFullDisk(t *testing.T) {
	ctx := limited(t, time.Minute)
	dir, filler := smallDisk(t)
	o := eventlog.Options{App: "full", Dir: dir}
	log := must(eventlog.Open(ctx, o))(t)
	feed := must(log.Feed(ctx, "blobs", eventlog.Type[blob]("blob")))(t)
	if err := os.WriteFile(filler, make([]byte, 14<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	acked, ambiguous, refused := make(map[string]uint64), make(map[string]bool), 0
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				id, begun := fmt.Sprintf("w%d/%d", w, i), time.Now()
				pos, err := feed.AppendDraft(ctx, eventlog.Draft{Key: fmt.Sprint(w), ID: id, Events: []any{blob{strings.Repeat("x", 100<<10)}}})
				mu.Lock()
				switch {
				case err == nil:
					acked[id] = pos.Seq
				case !errors.Is(err, eventlog.ErrFull) || time.Since(begun) > 3*time.Second:
					t.Errorf("%s after %v: %v", id, time.Since(begun), err)
				case errors.Is(err, eventlog.ErrAmbiguous):
					ambiguous[id] = true
				default:
					refused++
				}
				mu.Unlock()
				if err != nil && (!errors.Is(err, eventlog.ErrAmbiguous) || t.Failed()) {
					return
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d acknowledged, %d ambiguous, %d refused", len(acked), len(ambiguous), refused)
	if refused == 0 || len(acked) == 0 || len(ambiguous) == 0 || !errors.Is(log.Healthy(ctx), eventlog.ErrFull) {
		t.Errorf("%d acknowledged, %d ambiguous, %d refused; healthy: %v", len(acked), len(ambiguous), refused, log.Healthy(ctx))
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	log = must(eventlog.Open(ctx, o))(t)
	defer log.Close()
	feed = must(log.Feed(ctx, "blobs", eventlog.Type[blob]("blob")))(t)
	for id := range ambiguous { // sent again: there once, from then or from now
		acked[id] = must(feed.AppendDraft(ctx, eventlog.Draft{Key: id[1:2], ID: id, Events: []any{blob{strings.Repeat("x", 100<<10)}}}))(t).Seq
	}
	sameCommits(t, feed, acked)
}

// sameCommits fails unless the feed holds exactly these IDs at these places.
func sameCommits(t *testing.T, feed *eventlog.Feed, want map[string]uint64) {
	t.Helper()
	n := 0
	for c, err := range feed.Commits(limited(t, time.Minute)) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; want[c.ID] != c.Seq {
			t.Errorf("%s is at %d, want %d", c.ID, c.Seq, want[c.ID])
		}
	}
	if n != len(want) {
		t.Errorf("%d commits, want %d", n, len(want))
	}
}

// The account's limit is reached: refused as such, and nothing half done.
func TestAccountFull(t *testing.T) {
	ctx := limited(t, time.Minute)
	s := natstest.Start(t, `accounts { A { jetstream: { max_file: 2MB, max_streams: 2 }, users: [ { user: a, password: x } ] } }`)
	log := must(eventlog.Open(ctx, eventlog.Options{App: "full", URL: s.URL(), User: "a", Password: "x"}))(t)
	defer log.Close()
	feed := must(log.Feed(ctx, "blobs", eventlog.Type[blob]("blob")))(t)
	acked := make(map[string]uint64)
	var err error
	for i := 0; err == nil && i < 100; i++ {
		var pos eventlog.Position
		id := fmt.Sprint("i", i)
		if pos, err = feed.AppendDraft(ctx, eventlog.Draft{Key: "k", ID: id, Events: []any{blob{strings.Repeat("x", 100<<10)}}}); err == nil {
			acked[id] = pos.Seq
		}
	}
	if !errors.Is(err, eventlog.ErrFull) || errors.Is(err, eventlog.ErrAmbiguous) {
		t.Errorf("full: %v", err)
	}
	sameCommits(t, feed, acked)
	if _, err := log.Feed(ctx, "more"); !errors.Is(err, eventlog.ErrRefused) {
		t.Errorf("one stream too many: %v", err)
	}
}

// The server is killed in the middle of appends, again and again: each one is
// acknowledged, refused, or ambiguous; the first are there once, the second
// not at all, the third once or not at all.
func TestServerKilledInTheMiddle(t *testing.T) {
	ctx := limited(t, 2*time.Minute)
	s := natstest.Start(t)
	log := must(eventlog.Open(ctx, eventlog.Options{App: "mid", URL: s.URL(), RequestTimeout: time.Second, ResolveTimeout: 2 * time.Second}))(t)
	defer log.Close()
	feed := must(log.Feed(ctx, "blobs", eventlog.Type[blob]("blob")))(t)
	outcomes := make(map[string]string)
	var mu sync.Mutex
	var wg sync.WaitGroup
	end := make(chan struct{})
	for w := range 8 {
		wg.Go(func() {
			for !t.Failed() {
				select {
				case <-end:
					return
				default:
				}
				id, outcome := appendOnce(ctx, t, feed, fmt.Sprint(w))
				mu.Lock()
				outcomes[id] = outcome
				mu.Unlock()
			}
		})
	}
	progress := func() (n int) {
		mu.Lock()
		defer mu.Unlock()
		for _, o := range outcomes {
			if o == "acknowledged" {
				n++
			}
		}
		return n
	}
	for round := range 4 {
		reached := progress()
		await(ctx, t, "appends go on", func() bool { return progress() > reached+500 })
		s.Kill()
		if round%2 == 1 { // long enough for some to be given up
			select {
			case <-time.After(3 * time.Second):
			case <-ctx.Done():
			}
		}
		s.Restart()
	}
	close(end)
	wg.Wait()
	checkOutcomes(t, feed, outcomes)
}

// appendOnce appends, and says what became of it.
func appendOnce(ctx context.Context, t *testing.T, feed *eventlog.Feed, key string) (id, outcome string) {
	t.Helper()
	p, err := feed.AppendAsync(ctx, eventlog.Draft{Key: key, Events: []any{blob{"x"}}})
	if err != nil {
		t.Error(err)
		return "", ""
	}
	switch _, err = p.Wait(ctx); {
	case err == nil:
		outcome = "acknowledged"
	case errors.Is(err, eventlog.ErrAmbiguous):
		outcome = "ambiguous"
	case errors.Is(err, eventlog.ErrUnavailable) || errors.Is(err, eventlog.ErrRefused):
		outcome = "refused"
	default:
		t.Error(err)
	}
	return p.ID(), outcome
}

func checkOutcomes(t *testing.T, feed *eventlog.Feed, outcomes map[string]string) {
	t.Helper()
	counts, there := make(map[string]int), make(map[string]bool)
	for c, err := range feed.Commits(limited(t, time.Minute)) {
		if err != nil {
			t.Fatal(err)
		}
		if there[c.ID] || outcomes[c.ID] == "refused" || outcomes[c.ID] == "" {
			t.Errorf("%s@%d is there (%s, twice: %v)", c.ID, c.Seq, outcomes[c.ID], there[c.ID])
		}
		there[c.ID] = true
	}
	for id, o := range outcomes {
		counts[o]++
		if o == "acknowledged" && !there[id] {
			t.Errorf("%s was acknowledged and is lost", id)
		}
	}
	t.Logf("%v, %d in the log", counts, len(there))
}
