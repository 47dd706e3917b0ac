//go:build integration

package integration

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/effect"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/natstest"
	"github.com/tidemark-es/tidemark/projection"
)

// releaseVariable names the older release that is tested, as a number that the
// list of them is taken in turn by; "all" is each of them.
const releaseVariable = "TIDEMARK_RELEASE"

// releases are those that this run is for.
func releases(t *testing.T) []string {
	v := os.Getenv(releaseVariable)
	if v == "all" || fullOr(1, 0) == 1 {
		return natstest.Releases
	}
	n := time.Now().YearDay()
	if v != "" {
		if _, err := fmt.Sscan(v, &n); err != nil {
			t.Fatalf("%s=%q: %v", releaseVariable, v, err)
		}
	}
	return []string{natstest.Releases[n%len(natstest.Releases)]}
}

// What an application does works on each supported release; what a release
// can't do is an ErrUnsupported, and leaves nothing in the log.
func TestReleases(t *testing.T) {
	for _, version := range releases(t) {
		t.Run(version, func(t *testing.T) {
			server := natstest.StartVersion(t, version)
			r := &releaseTest{T: t, ctx: limited(t, 2*time.Minute), server: server, version: version, acked: map[string]uint64{}}
			r.open()
			for _, step := range []struct {
				name string
				do   func()
			}{
				{"appends", r.appends}, {"transactions", r.transactions}, {"import", r.imports},
				{"reads", r.reads}, {"projection", r.projection}, {"effects", r.effects},
			} {
				step.do()
				if t.Failed() {
					t.Fatalf("on %s: %s", version, step.name)
				}
			}
		})
	}
}

// A server that is too old is told so, and nothing is made on it.
func TestTooOldRelease(t *testing.T) {
	if len(releases(t)) == 1 && os.Getenv(releaseVariable) == "" {
		// It is built in the long runs alone: 2.9 is out of support.
		t.Skip("in .ci/full")
	}
	server := natstest.StartVersion(t, "v2.9.25")
	_, err := eventlog.Open(limited(t, time.Minute), eventlog.Options{App: "old", URL: server.URL()})
	if e, ok := errors.AsType[*eventlog.UnsupportedError](err); !ok || e.Needs != "2.10" || e.Version != "2.9.25" {
		t.Errorf("%v", err)
	}
}

type releaseTest struct {
	*testing.T
	ctx     context.Context
	server  *natstest.Server
	version string
	log     *eventlog.Log
	book    *eventlog.Feed
	acked   map[string]uint64 // positions by ID
}

func (r *releaseTest) open() {
	r.log, r.book = openLog(r.ctx, r, eventlog.Options{App: "release", URL: r.server.URL()})
}

// releaseNumber reads "v2.12.15".
func releaseNumber(t testing.TB, version string) (major, minor int) {
	t.Helper()
	if _, err := fmt.Sscanf(version, "v%d.%d.", &major, &minor); err != nil {
		t.Fatal(err)
	}
	return major, minor
}

func (r *releaseTest) appends() {
	for n := range 50 {
		d := draft("w", n+1, 1+n%3, 5)
		d.ID = fmt.Sprint("id-", n)
		r.acked[d.ID] = must(r.book.AppendDraft(r.ctx, d))(r).Seq
	}
	again := draft("w", 1, 1, 5)
	again.ID = "id-0"
	if pos := must(r.book.AppendDraft(r.ctx, again))(r); pos.Seq != r.acked["id-0"] {
		r.Errorf("sent again, it is at %s", pos)
	}
	again.ID, again.Expect = "", eventlog.ExpectNew
	if _, err := r.book.AppendDraft(r.ctx, again); !errors.Is(err, eventlog.ErrConflict) {
		r.Errorf("expectation: %v", err)
	}
	r.server.Kill()
	r.server.Restart()
	d := draft("w", 51, 1, 5)
	d.ID = "id-50"
	r.acked[d.ID] = must(r.book.AppendDraft(r.ctx, d))(r).Seq
}

func (r *releaseTest) transactions() {
	before := must(r.book.State(r.ctx))(r).Last
	tx := eventlog.Transaction{ID: "tx", Drafts: []eventlog.Draft{draft("t", 1, 1, 5), draft("t", 2, 1, 5)}}
	pos, err := r.book.AppendTransaction(r.ctx, tx)
	tagged := draft("t", 3, 1, 5)
	tagged.Tags, tagged.ID = []string{"red"}, "tagged"
	at, errTagged := r.book.AppendDraft(r.ctx, tagged)
	if _, minor := releaseNumber(r, r.version); minor < 12 {
		if !errors.Is(err, eventlog.ErrUnsupported) || !errors.Is(errTagged, eventlog.ErrUnsupported) || errors.Is(err, eventlog.ErrAmbiguous) {
			r.Errorf("%v; %v", err, errTagged)
		}
		if st := must(r.book.State(r.ctx))(r); st.Last != before {
			r.Errorf("the log went on to %d, from %d", st.Last, before)
		}
		return
	}
	if err != nil || errTagged != nil || pos[1].Seq != pos[0].Seq+1 {
		r.Fatalf("%v, %v; %v", pos, err, errTagged)
	}
	r.acked["tx"], r.acked["tx+1"], r.acked["tagged"] = pos[0].Seq, pos[1].Seq, at.Seq
	tx = eventlog.Transaction{Drafts: []eventlog.Draft{draft("t", 4, 1, 5)}, Guards: []eventlog.Guard{{Tag: "red", After: at.Seq - 1}}}
	if _, err := r.book.AppendTransaction(r.ctx, tx); !errors.Is(err, eventlog.ErrConflict) {
		r.Errorf("guard: %v", err)
	}
}

// imports twice: the second one finds all.
func (r *releaseTest) imports() {
	const n = 500
	input := func(part int) iter.Seq2[eventlog.Draft, error] {
		return func(yield func(eventlog.Draft, error) bool) {
			for i := range part {
				d := draft("im", i+1, 1, 7)
				d.ID = fmt.Sprint("im-", i)
				if !yield(d, nil) {
					return
				}
			}
		}
	}
	for i, c := range []struct{ part, appended, skipped int }{{n / 2, n / 2, 0}, {n, n / 2, n / 2}} {
		res, err := r.book.Import(r.ctx, input(c.part), eventlog.ImportOptions{})
		if err != nil || res.Appended != uint64(c.appended) || res.Skipped != uint64(c.skipped) {
			r.Errorf("import %d: %+v, %v", i, res, err)
		}
	}
	last := map[string]int{}
	for c, err := range r.book.Commits(r.ctx) {
		if err != nil {
			r.Fatal(err)
		}
		a := must(eventlog.Decode[added](c.Event(0)))(r)
		if a.Writer != "im" {
			continue
		}
		if a.N <= last[c.Key] {
			r.Errorf("key %s: %d after %d", c.Key, a.N, last[c.Key])
		}
		last[c.Key] = a.N
		r.acked[c.ID] = c.Seq
	}
	if len(last) != 7 {
		r.Errorf("keys %v", last)
	}
}

func (r *releaseTest) reads() {
	sameCommits(r.T, r.book, r.acked)
	byKey := map[string]int{}
	for c, err := range r.book.Commits(r.ctx) {
		if err != nil {
			r.Fatal(err)
		}
		byKey[c.Key]++
	}
	for key, want := range byKey {
		for range 2 { // the second time from what is kept
			n := 0
			for _, err := range r.book.Commits(r.ctx, eventlog.OfKey(key)) {
				if err != nil {
					r.Fatal(err)
				}
				n++
			}
			if n != want {
				r.Errorf("key %s: %d commits, want %d", key, n, want)
			}
		}
	}
	n := 0
	for _, err := range r.book.Commits(r.ctx, eventlog.Follow()) {
		if err != nil {
			r.Fatal(err)
		}
		if n++; n == len(r.acked) {
			break
		}
	}
}

// projection: derived, then restored, and the log trimmed for it.
func (r *releaseTest) projection() {
	for _, from := range []projection.Source{projection.FromReplay, projection.FromSnapshot} {
		table := tallyTable(r.book)
		rt := must(everyFew(100).Start(r.ctx, r.log, table))(r)
		equalTallies(r, table, fold(readBook(r.ctx, r, r.book)))
		if source := rt.Metrics()[0].Recovery.Source; source != from {
			r.Errorf("from %s, want %s", source, from)
		}
		if err := rt.Wait(r.ctx, must(r.book.AppendDraft(r.ctx, draft("live", 1, 1, 5)))(r)); err != nil {
			r.Fatal(err)
		}
		if from == projection.FromSnapshot {
			if rep := must(rt.Compact(r.ctx, projection.CompactOptions{}))(r); !rep.Feeds[0].Trimmed {
				r.Errorf("%+v", rep)
			}
		}
		if err := rt.Close(); err != nil {
			r.Fatal(err)
		}
	}
}

func equalTallies(r *releaseTest, table *projection.Table[string, tally], want map[string]tally) {
	n := 0
	for k, v := range table.All() {
		if n++; v != want[k] {
			r.Errorf("key %s: %+v, want %+v", k, v, want[k])
		}
	}
	if n != len(want) {
		r.Errorf("%d rows, want %d", n, len(want))
	}
}

func (r *releaseTest) effects() {
	log, orders, letters, err := openPost(r.ctx, r.server.URL())
	if err != nil {
		r.Fatal(err)
	}
	defer log.Close()
	rt := must(projection.Start(r.ctx, log, letters))(r)
	defer rt.Close()
	ctx, cancel := context.WithCancel(r.ctx)
	sent := make(chan string, 100)
	ended := make(chan error, 1)
	go func() {
		ended <- letters.Run(ctx, func(_ context.Context, e effect.Effect[letter]) error { sent <- e.Intent.To; return nil }, effect.Options{})
	}()
	const n = 20
	for i := range n {
		must(orders.Append(r.ctx, fmt.Sprint("order-", i), eventlog.ExpectNew, placed{"x"}))(r)
	}
	got := map[string]bool{}
	for len(got) < n {
		select {
		case to := <-sent:
			got[to] = true
		case <-r.ctx.Done():
			r.Fatalf("%d of %d letters", len(got), n)
		}
	}
	await(r.ctx, r, "outcomes", func() bool { return letters.Pending() == 0 })
	cancel()
	if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
		r.Error(err)
	}
}
