package projectiontest

import (
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/projection"
)

// Epoch is the time of a kit's first commit; each further one is a second
// later, unless At says otherwise.
var Epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// Feed makes a feed without a log. It fails the test where the options are
// wrong.
func Feed(t testing.TB, name string, opts ...eventlog.FeedOption) *eventlog.Feed {
	t.Helper()
	f, err := eventlog.Offline(name, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// Commit is one that a test makes up.
type Commit struct {
	Feed   *eventlog.Feed
	Key    string
	Events []any
	Time   time.Time // zero: a second after the one before
}

// On is a Commit.
func On(feed *eventlog.Feed, key string, events ...any) Commit {
	return Commit{Feed: feed, Key: key, Events: events}
}

// Kit steps commits through projections: Given what was, When something
// comes, Then it shows. It isn't safe for concurrent use.
type Kit struct {
	t    testing.TB
	run  *run
	last *Result // of When, until the next step
}

// New makes a kit of fresh projections, all that read one another. The
// projections can't be started any more.
func New(t testing.TB, projections ...projection.Projection) *Kit {
	t.Helper()
	r, err := newRun(projections)
	if err != nil {
		t.Fatal(err)
	}
	k := &Kit{t: t, run: r}
	t.Cleanup(k.finish)
	return k
}

// settle reports a failure that nobody has asked about, so that a When without
// Then or Fails doesn't hide it.
func (k *Kit) settle() {
	if k.last != nil && k.last.err != nil && !k.last.asked {
		k.t.Helper()
		k.t.Errorf("a commit failed, and neither Then nor Fails was asked about it: %v", k.last.err)
	}
	k.last = nil
}

// finish ends a case.
func (k *Kit) finish() {
	k.settle()
	k.verify(true)
}

// verify reports what handlers must not do, and what doesn't come back; see
// projection.Rehearsal.Verify.
func (k *Kit) verify(all bool) {
	if err := k.run.Verify(all); err != nil {
		k.t.Helper()
		k.t.Error(err)
	}
}

// Reset makes the projections empty, for the next case.
func (k *Kit) Reset() *Kit {
	k.finish()
	k.run.reset()
	return k
}

// Given applies a commit of these events, which must succeed.
func (k *Kit) Given(feed *eventlog.Feed, key string, events ...any) *Kit {
	k.settle()
	if err := k.run.step(On(feed, key, events...)); err != nil {
		k.t.Helper() // here, since it takes as long as a step does
		k.t.Fatalf("given %s/%s %s: %v", feed.Name(), key, eventText(events), err)
	}
	k.verify(false)
	return k
}

// At sets the time of the next commit.
func (k *Kit) At(at time.Time) *Kit {
	k.run.now = at
	return k
}

// When applies a commit of these events; what it did is asked by Then or
// Fails.
func (k *Kit) When(feed *eventlog.Feed, key string, events ...any) *Result {
	k.settle()
	o, err := k.run.apply(On(feed, key, events...))
	k.last = &Result{t: k.t, outcome: o, err: err}
	k.verify(false)
	return k.last
}

// Then checks the state.
func (k *Kit) Then(checks ...Check) *Kit {
	if problems := check(nil, checks); problems != nil {
		k.t.Helper()
		report(k.t, problems)
	}
	return k
}

// run is a rehearsal with its sequences and its clock.
type run struct {
	*projection.Rehearsal
	seq    map[*eventlog.Feed]uint64
	now    time.Time
	commit eventlog.Commit // of the present step, whose memory serves again
}

func newRun(projections []projection.Projection) (*run, error) {
	r, err := projection.Rehearse(projections...)
	if err != nil {
		return nil, err
	}
	return &run{Rehearsal: r, seq: make(map[*eventlog.Feed]uint64), now: Epoch}, nil
}

func (r *run) reset() {
	r.Rehearsal.Reset()
	clear(r.seq)
	r.now = Epoch
}

func (r *run) apply(c Commit) (*projection.Outcome, error) {
	if err := r.next(c); err != nil {
		return nil, err
	}
	return r.Apply(r.commit)
}

// step is apply for who doesn't ask what changed.
func (r *run) step(c Commit) error {
	if err := r.next(c); err != nil {
		return err
	}
	return r.Step(r.commit)
}

// next places a commit as it would be read behind those before it.
func (r *run) next(c Commit) error {
	at := c.Time
	if at.IsZero() {
		at = r.now
	}
	r.now = at.Add(time.Second)
	return r.place(c, r.seq[c.Feed]+1, at)
}

func (r *run) place(c Commit, seq uint64, at time.Time) error {
	r.seq[c.Feed] = seq
	return c.Feed.RehearseInto(&r.commit, eventlog.Draft{Key: c.Key, Events: c.Events}, seq, at)
}

func (r *run) applyAt(c placed) (*projection.Outcome, error) {
	if err := r.place(c.Commit, c.seq, c.at); err != nil {
		return nil, err
	}
	o, err := r.Apply(r.commit)
	if err == nil {
		err = r.Verify(false)
	}
	return o, err
}

func (r *run) stepAt(c placed) error {
	if err := r.place(c.Commit, c.seq, c.at); err != nil {
		return err
	}
	if err := r.Step(r.commit); err != nil {
		return err
	}
	return r.Verify(false)
}
