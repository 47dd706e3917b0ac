//go:build integration

package integration

import (
	"context"
	"fmt"
	"maps"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/projection"
	"github.com/tidemark-es/tidemark/snapshot"
)

// claim is an append that was acknowledged to its writer.
type claim struct {
	writer string
	n      int
	key    string
	seq    uint64
}

// checkBook fails unless the log holds every writer's appends from the first
// to some last one in order, each once and whole, and what was acknowledged
// where the acknowledgement said. A writer that starts over after a crash
// has a new name.
func checkBook(t testing.TB, records []record, claims []claim) {
	t.Helper()
	count := make(map[string]int)
	for i, r := range records {
		if r.seq != uint64(i+1) {
			t.Fatalf("commit %d of the log has sequence %d", i+1, r.seq)
		}
		if want := count[r.writer()] + 1; r.n() != want {
			t.Errorf("%s: append %d of %s, where %d is expected", at(r.seq), r.n(), r.writer(), want)
		}
		count[r.writer()] = r.n()
		for j, a := range r.events {
			if a.Writer != r.writer() || a.N != r.n() || a.Part != j+1 || a.Of != len(r.events) {
				t.Errorf("%s: event %d of %d is %+v", at(r.seq), j+1, len(r.events), a)
			}
		}
	}
	for _, c := range claims {
		if c.seq == 0 || c.seq > uint64(len(records)) {
			t.Errorf("%+v was acknowledged, and the log ends at %d", c, len(records))
			continue
		}
		if r := records[c.seq-1]; r.writer() != c.writer || r.n() != c.n || r.key != c.key {
			t.Errorf("%+v was acknowledged, and there is append %d of %s to %s", c, r.n(), r.writer(), r.key)
		}
	}
}

// checkChains fails where an append with an exact expectation got through
// although its key was elsewhere.
func checkChains(t testing.TB, records []record) {
	t.Helper()
	last := make(map[string]uint64)
	for _, r := range records {
		if r.prev() != last[r.key] {
			t.Errorf("%s: append %d of %s expected key %s at %d, and it was at %d", at(r.seq), r.n(), r.writer(), r.key, r.prev(), last[r.key])
		}
		last[r.key] = r.seq
	}
}

// checkSnapshots fails unless every snapshot that could be restored is whole,
// belongs into the log, and holds exactly what the log folds to at its tag.
// It returns the newest one's position, 0 for none.
func checkSnapshots(ctx context.Context, t testing.TB, log *eventlog.Log, records []record) (newest uint64) {
	t.Helper()
	store := must(snapshot.Open(ctx, snapshot.Options{App: log.App(), Conn: log.Conn(), JetStream: log.JetStream(), Replicas: log.Replicas()}))(t)
	for i, c := range must(store.Candidates(ctx, tallies))(t) {
		if c.Problem != nil {
			t.Errorf("snapshot %s: %v", c.ID, c.Problem)
			continue
		}
		seq, _ := c.Manifest.Tag.At.Get("book")
		if i == 0 {
			newest = seq
		}
		if seq > uint64(len(records)) {
			t.Errorf("snapshot %s is at %d, and the log ends at %d", c.ID, seq, len(records))
			continue
		}
		state := make(map[string]tally)
		for e, err := range store.Load(ctx, c.Manifest, tallies) {
			if err != nil {
				t.Fatalf("snapshot %s: %v", c.ID, err)
			}
			var s tally
			if err := eventlog.MsgPack.Decode(e.Value, &s); err != nil {
				t.Fatalf("snapshot %s: key %q: %v", c.ID, e.Key, err)
			}
			state[string(e.Key)] = s
		}
		sameState(t, fmt.Sprintf("snapshot %d at %d", i, seq), state, records[:seq])
	}
	return newest
}

// checkRestart starts the projection anew and fails unless it comes to what
// the records fold to, from the snapshot where there is one.
func checkRestart(ctx context.Context, t testing.TB, log *eventlog.Log, book *eventlog.Feed, records []record) projection.Recovery {
	t.Helper()
	newest := checkSnapshots(ctx, t, log, records)
	table := tallyTable(book)
	rt := must(readOnly().Start(ctx, log, table))(t)
	defer rt.Close()
	sameState(t, "restarted", maps.Collect(table.All()), records)
	events := 0
	for _, r := range records[newest:] {
		events += len(r.events)
	}
	rec := rt.Metrics()[0].Recovery
	want := projection.FromSnapshot
	switch {
	case len(records) == 0:
		want = projection.FromNothing
	case newest == 0:
		want = projection.FromReplay
	}
	from, _ := rec.From.Get("book")
	if rec.Source != want || from != newest || rec.Replayed != uint64(events) || len(rec.Skipped) > 0 {
		t.Errorf("the newest snapshot is at %d of %d, %d events behind: recovery %+v", newest, len(records), events, rec)
	}
	return rec
}

// checkResent sends the last appends of each identified writer again, which
// must be answered with the first positions: R1.9.
func checkResent(ctx context.Context, t testing.TB, book *eventlog.Feed, claims []claim) {
	t.Helper()
	left := make(map[string]int)
	for i := len(claims) - 1; i >= 0; i-- {
		c := claims[i]
		if !strings.HasPrefix(c.writer, identifiedPrefix) || left[c.writer] == 3 {
			continue
		}
		left[c.writer]++
		pos, err := book.AppendDraft(ctx, identified(c.writer, c.n))
		if err != nil || pos.Seq != c.seq {
			t.Errorf("%+v, sent again: %s, %v", c, pos, err)
		}
	}
}

func at(seq uint64) string { return fmt.Sprintf("book@%d", seq) }

// await polls until the condition holds, and fails when ctx ends first.
func await(ctx context.Context, t testing.TB, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, context.Cause(ctx))
		}
	}
}

// limited is the test's context with a time limit of its own. A virtual machine
// may stand still for minutes, as those of CI do: that doesn't count, and is
// logged. When the time is over, where the goroutines of the test and of ours
// wait is logged first: a CI run that says "context deadline exceeded" alone
// can't be explained.
func limited(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	var watching sync.WaitGroup
	watching.Go(func() {
		every := min(time.Second, d/10)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for last, left := time.Now(), d; left > 0; {
			select {
			case now := <-tick.C:
				passed := now.Sub(last)
				if last = now; passed > 10*time.Second {
					t.Logf("this process stood still until %s for %v", now.Format(time.TimeOnly), passed)
				}
				left -= min(passed, 2*every)
			case <-ctx.Done():
				return
			}
		}
		t.Logf("the %v that this test has are over; its goroutines:\n%s", d, stacks())
		cancel(context.DeadlineExceeded)
	})
	t.Cleanup(func() {
		cancel(nil)
		watching.Wait()
	})
	return ctx
}

// stacks are the goroutines that are in this module's code, equal ones once, and
// those of the tests first. Their functions are named from the one that waits.
func stacks() string {
	var all strings.Builder
	if err := pprof.Lookup("goroutine").WriteTo(&all, 1); err != nil {
		return err.Error()
	}
	const module = "github.com/tidemark-es/tidemark/"
	var tests, others strings.Builder
	for stack := range strings.SplitSeq(all.String(), "\n\n") {
		count, frames, _ := strings.Cut(strings.TrimSpace(stack), " @ ")
		count = count[strings.LastIndex(count, "\n")+1:] // the first one is after a heading
		if !strings.Contains(frames, module) || strings.Contains(frames, "integration.stacks") {
			continue
		}
		to := &others
		if strings.Contains(frames, module+"integration.") {
			to = &tests
		}
		fmt.Fprintf(to, "%s in", count)
		for line := range strings.Lines(frames) {
			// "#	0x4a5b6c	package.function+0x12c	/path/file.go:123"
			if f := strings.Fields(line); len(f) == 4 && f[0] == "#" {
				name, _, _ := strings.Cut(f[2], "+")
				fmt.Fprintf(to, " %s:%s", strings.TrimPrefix(name, module), f[3][strings.LastIndex(f[3], ":")+1:])
			}
		}
		to.WriteString("\n")
	}
	return tests.String() + others.String()
}
