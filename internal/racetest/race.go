// Package racetest races writers on a feed, with expectations on keys and
// guards on tags, and checks that what they were told is linearizable: that
// no stale append was accepted and no acknowledged one is lost. The model of
// the log is a few registers; the checker is porcupine.
package racetest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/tidemark-es/tidemark/eventlog"
)

// Moved is the event of a race: what the N-th call of a writer did.
type Moved struct {
	Writer string
	N      int
}

// Open opens the feed of a race.
func Open(ctx context.Context, log *eventlog.Log) (*eventlog.Feed, error) {
	return log.Feed(ctx, "race", eventlog.Type[Moved]("moved"))
}

// Tally counts outcomes.
type Tally struct{ Stored, Conflicts, Ambiguous, Unavailable int }

// race collects the history.
type race struct {
	begun time.Time

	mu      sync.Mutex
	history []porcupine.Operation
	unknown map[Moved]porcupine.Operation // ambiguous: the log will tell
	nothing map[Moved]error               // definite: must not be in the log
	tally   Tally
	failed  error
}

// Run lets writers make calls until each made its number of them, or more is
// false when it is asked. Each takes the next of the feeds, which are handles
// on one stream. It fails the test where the history isn't linearizable.
func Run(ctx context.Context, t testing.TB, feeds []*eventlog.Feed, writers, calls int, more func() bool) Tally {
	t.Helper()
	r := &race{begun: time.Now(), unknown: make(map[Moved]porcupine.Operation), nothing: make(map[Moved]error)}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(seed, uint64(w)))
			f := feeds[w%len(feeds)]
			var seen state
			for n := 1; n <= calls && more() && ctx.Err() == nil; n++ {
				me := Moved{fmt.Sprint("w", w), n}
				if random.IntN(10) > 0 { // else with what it saw before
					seen = look(ctx, f, seen)
				}
				r.do(ctx, f, w, me, invent(random, me.Writer, n, seen))
			}
		})
	}
	wg.Wait()
	if r.failed != nil {
		t.Fatal(r.failed)
	}
	r.check(ctx, t, feeds[0])
	return r.tally
}

// look reads heads from the leader; where it doesn't answer, the old ones do.
func look(ctx context.Context, f *eventlog.Feed, s state) state {
	for i := range keys {
		if c, _, err := f.Head(ctx, key(i)); err == nil {
			s.key[i] = c.Seq
		}
	}
	for i := range tags {
		if seq, err := f.LastTagged(ctx, tag(i)); err == nil {
			s.tag[i] = seq
		}
	}
	return s
}

func (r *race) do(ctx context.Context, f *eventlog.Feed, w int, me Moved, c call) {
	op := porcupine.Operation{ClientId: w, Input: c, Call: time.Since(r.begun).Nanoseconds()}
	at, err := perform(ctx, f, me, c)
	op.Return = time.Since(r.begun).Nanoseconds()
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err == nil:
		a := answer{stored: true}
		for _, p := range at {
			a.seqs = append(a.seqs, p.Seq)
		}
		op.Output = a
		r.tally.Stored++
	case errors.Is(err, eventlog.ErrConflict):
		op.Output = answer{}
		r.nothing[me] = err
		r.tally.Conflicts++
	case errors.Is(err, eventlog.ErrAmbiguous):
		r.unknown[me] = op
		r.tally.Ambiguous++
		return
	case errors.Is(err, eventlog.ErrUnavailable):
		r.nothing[me] = err
		r.tally.Unavailable++
		return
	default:
		r.failed = errors.Join(r.failed, fmt.Errorf("%+v: %+v: %w", me, c, err))
		return
	}
	r.history = append(r.history, op)
}

func perform(ctx context.Context, f *eventlog.Feed, me Moved, c call) ([]eventlog.Position, error) {
	tx := eventlog.Transaction{ID: c.id}
	for _, p := range c.parts {
		d := eventlog.Draft{Key: key(p.key), Events: []any{me}}
		if p.exact {
			d.Expect = eventlog.ExpectSeq(p.expect)
		}
		for _, t := range p.tags {
			d.Tags = append(d.Tags, tag(t))
		}
		tx.Drafts = append(tx.Drafts, d)
	}
	for _, g := range c.guards {
		tx.Guards = append(tx.Guards, eventlog.Guard{Tag: tag(g.tag), After: g.after})
	}
	if c.plain {
		d := tx.Drafts[0]
		d.ID = c.id
		at, err := f.AppendDraft(ctx, d)
		return []eventlog.Position{at}, err
	}
	return f.AppendTransaction(ctx, tx)
}

// check reads the log and compares: what was acknowledged is where it was
// acknowledged, what was refused isn't there, what is unknown is there as a
// whole or not at all, and the whole history is linearizable.
func (r *race) check(ctx context.Context, t testing.TB, f *eventlog.Feed) {
	t.Helper()
	found := make(map[Moved][]uint64)
	where := make(map[uint64]string)
	for c, err := range f.Commits(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		var m Moved
		if err := c.Event(0).Decode(&m); err != nil {
			t.Fatal(err)
		}
		found[m] = append(found[m], c.Seq)
		where[c.Seq] = c.Key
	}
	stored := 0
	for _, op := range r.history {
		a := op.Output.(answer)
		if a.stored {
			stored++
		}
		for i, seq := range a.seqs {
			if k := key(op.Input.(call).parts[i].key); where[seq] != k {
				t.Errorf("%+v was acknowledged at %d, where %q is", op.Input, seq, where[seq])
			}
		}
	}
	for m, err := range r.nothing {
		if len(found[m]) > 0 {
			t.Errorf("%+v is at %v, and was answered: %v", m, found[m], err)
		}
	}
	for m, op := range r.unknown {
		if seqs := found[m]; len(seqs) > 0 {
			stored++
			op.Output, op.Return = answer{true, seqs}, math.MaxInt64
			r.history = append(r.history, op)
		}
	}
	if stored != len(found) {
		t.Errorf("%d calls are in the log, %d of those that were made", len(found), stored)
	}
	if got := porcupine.CheckOperationsTimeout(model, r.history, 2*time.Minute); got != porcupine.Ok {
		t.Errorf("the history isn't linearizable: %v", got)
		for _, op := range r.history {
			t.Logf("%d..%d %s", op.Call, op.Return, model.DescribeOperation(op.Input, op.Output))
		}
	}
}
