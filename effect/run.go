package effect

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/lease"
	"github.com/tidemark-es/tidemark/projection"

	"github.com/tidemark-es/tidemark/internal/grace"
)

// Effect is what is to be carried out.
type Effect[I any] struct {
	// ID is the same at every attempt, in every process, and after every
	// rebuild. Give it to whoever carries the effect out, so that a second
	// attempt can be recognised (an idempotency key).
	ID     string
	Intent I
	Key    string            // of the event that it was stated for
	Cause  eventlog.Position // of that event's commit
	Time   time.Time         // when that was stored
	// Attempt counts from 1; attempts that left no outcome aren't counted.
	Attempt int
	// NotBefore is the time before which it isn't carried out; zero where
	// there is none.
	NotBefore time.Time
}

func effectOf[I any](id string, r *record[I]) Effect[I] {
	return Effect[I]{ID: id, Intent: r.Intent, Key: r.Key, Cause: eventlog.Position{Feed: r.Feed, Seq: r.Seq}, Time: r.Time, Attempt: r.Attempts + 1, NotBefore: r.NotBefore}
}

const (
	// finalTimeout bounds what Run does when its context has ended.
	finalTimeout = 5 * time.Second
	// maxAway is the longest pause between tries to reach a log that is away.
	maxAway = 5 * time.Second
	// maxError bounds what an outcome holds of an error's text, in bytes.
	maxError = 4096
)

// Run carries the outbox's effects out, until ctx ends, which is no error. The
// outbox must have been given to a projection.Start. Any number of processes
// may run it: the holder of the lease effects.<name> carries out, and the
// others wait. do is called by several goroutines for different effects; its
// error, or panic, is a failed attempt (see Permanent).
//
// Errors: ErrInvalid; projection.ErrInvalid, where it wasn't given to Start; a
// *projection.StoppedError, where the outbox stopped; projection.ErrClosed; do's
// where that is eventlog.ErrLostTail: it isn't an attempt, and Run may be called
// again when the loss has been accepted (eventlog.Feed.AcceptLoss); those of the log that don't pass (eventlog.ErrUnavailable and ErrAmbiguous
// do: it goes on when the log is back).
func (o *Outbox[I]) Run(ctx context.Context, do func(ctx context.Context, e Effect[I]) error, opts Options) error {
	if do == nil {
		return fmt.Errorf("effect: outbox %q: %w: nothing that carries out", o.name, ErrInvalid)
	}
	if o.log == nil {
		return fmt.Errorf("effect: outbox %q: %w", o.name, eventlog.ErrOffline)
	}
	opts, err := opts.withDefaults(o.log)
	if err != nil {
		return err
	}
	tell := newTeller(opts)
	caller := ctx
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	go func() { stop(o.stopped(ctx)) }() // also while another process has the lease
	for {
		err := opts.Leases.Hold(ctx, "effects."+o.name, func(ctx context.Context, l *lease.Lease) error {
			r := &runner[I]{o: o, do: do, opts: opts, lease: l, plan: newSchedule(), results: make(chan result), tell: tell}
			return r.run(ctx)
		})
		switch {
		case caller.Err() != nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case !passing(err):
			return err
		}
		opts.Logger.Warn().Err(err).Str("outbox", o.name).Msg("effect: the log is away, or another process has taken over: trying again")
		select {
		case <-time.After(min(opts.Backoff, maxAway)):
		case <-ctx.Done():
		}
	}
}

// stopped waits until the outbox's projection ends, and says why.
func (o *Outbox[I]) stopped(ctx context.Context) error {
	return o.table.WaitFor(ctx, eventlog.Position{Feed: o.outcomes.Name(), Seq: math.MaxUint64})
}

// passing says whether an error of the log may be gone the next time: it is
// away, or another process has taken over.
func passing(err error) bool {
	return errors.Is(err, eventlog.ErrUnavailable) || errors.Is(err, eventlog.ErrAmbiguous) || errors.Is(err, eventlog.ErrConflict)
}

// runner carries out while it holds the lease.
type runner[I any] struct {
	o       *Outbox[I]
	do      func(ctx context.Context, e Effect[I]) error
	opts    Options
	lease   *lease.Lease
	plan    *schedule
	mark    marking
	running int
	results chan result
	last    uint64 // of the outcomes that it has recorded
	tell    *teller
}

// result is what came of an attempt.
type result struct {
	j     *job
	at    uint64        // of the outcome that this process has recorded
	again time.Duration // when to try again, where nothing could be recorded
	fatal error         // Run ends with it
}

func (r *runner[I]) run(ctx context.Context) error {
	if err := r.begin(ctx); err != nil {
		return err
	}
	w := r.o.table.Watch(projection.WithRows())
	deltas := make(chan projection.Delta[string, record[I]])
	ended := make(chan error, 1)
	wctx, stop := context.WithCancel(ctx)
	go func() {
		for d, err := range w.Deltas(wctx) {
			if err != nil {
				ended <- err
				return
			}
			select {
			case deltas <- d:
			case <-wctx.Done():
			}
		}
	}()
	told := make(chan struct{})
	go func() {
		defer close(told)
		r.tellOrphans(wctx)
	}()
	err := r.loop(ctx, deltas, ended)
	stop()
	_ = w.Close()
	<-told
	for ; r.running > 0; r.running-- {
		r.last = max(r.last, (<-r.results).at)
	}
	if r.lease.Valid() {
		fctx, cancel := grace.After(ctx, finalTimeout)
		defer cancel()
		// Else what has just ended would be pending still. Where the projection
		// has ended, that has to do.
		_ = r.o.table.WaitFor(fctx, eventlog.Position{Feed: r.o.outcomes.Name(), Seq: r.last})
		if err := r.putMark(fctx); err != nil {
			r.opts.Logger.Warn().Err(err).Str("outbox", r.o.name).Msg("effect: how far the effects are ended wasn't recorded")
		}
	}
	return err
}

func (r *runner[I]) loop(ctx context.Context, deltas <-chan projection.Delta[string, record[I]], ended <-chan error) error {
	marks := time.NewTicker(r.opts.MarkEvery)
	defer marks.Stop()
	for {
		due := r.start(ctx)
		select {
		case d := <-deltas:
			for i := range d.Changes {
				r.note(&d.Changes[i])
			}
		case res := <-r.results:
			r.running--
			r.last = max(r.last, res.at)
			if res.fatal != nil {
				return res.fatal
			}
			if res.again > 0 {
				r.plan.again(res.j, time.Now().Add(res.again))
			}
		case <-due:
		case <-marks.C:
			switch err := r.putMark(ctx); {
			case err == nil:
			case errors.Is(err, eventlog.ErrConflict), !passing(err):
				return err
			default: // the next one may be recorded
				r.opts.Logger.Warn().Err(err).Str("outbox", r.o.name).Msg("effect: how far the effects are ended wasn't recorded")
			}
		case err := <-ended:
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// note schedules what a change of the table asks for.
func (r *runner[I]) note(c *projection.Change[string, record[I]]) {
	v := &c.New
	if !c.Has || !v.Stated || v.Status != pending {
		r.plan.drop(c.Key)
		return
	}
	r.plan.want(c.Key, v.Last, v.Seq, v.due(&r.opts))
}

// start begins what is due, and returns what tells when more is.
func (r *runner[I]) start(ctx context.Context) <-chan time.Time {
	for r.running < r.opts.Parallel && ctx.Err() == nil && r.lease.Valid() {
		j, due := r.plan.next(time.Now())
		if j == nil {
			if due.IsZero() {
				return nil
			}
			return time.After(time.Until(due))
		}
		r.running++
		go func() {
			res := r.attempt(ctx, j)
			res.j = j
			r.results <- res
		}()
	}
	return nil // a result will come
}

// attempt carries an effect out once and records what came of it.
//
// One that needs a feed whose log has lost its tail is no attempt: it would fail
// until an operator has decided, and all attempts would be used up by then. So
// Run ends, and says why.
func (r *runner[I]) attempt(ctx context.Context, j *job) (res result) {
	row, ok := r.o.table.Get(j.id)
	if !ok || row.Last != j.last || row.Status != pending {
		return res // the table's change is on its way
	}
	outcome := any(Passed{Version: r.o.version})
	var failure *Failure
	if !r.passed(j.id, &row) {
		if err := r.confirmed(ctx); err != nil && ctx.Err() == nil {
			r.opts.Logger.Error().Err(err).Str("outbox", r.o.name).Str("effect", j.id).Msg("effect: the log's leader doesn't confirm what it follows from: it isn't carried out yet")
			return result{again: min(r.opts.Backoff, maxAway)}
		} else if err != nil {
			return result{again: r.opts.Backoff}
		}
		if err := r.durable(ctx); err != nil && ctx.Err() != nil {
			return result{again: r.opts.Backoff}
		} else if err != nil {
			r.opts.Logger.Error().Err(err).Str("outbox", r.o.name).Str("effect", j.id).Msg("effect: what it follows from could not be brought to the disk: it isn't carried out yet")
			return result{again: min(r.opts.Backoff, maxAway)}
		}
		err := carry(ctx, effectOf(j.id, &row), r.do, r.opts.Timeout)
		if err != nil && ctx.Err() != nil {
			return result{again: r.opts.Backoff} // it was interrupted
		}
		if errors.Is(err, eventlog.ErrLostTail) {
			return result{fatal: fmt.Errorf("effect: outbox %q: %.200q: %w", r.o.name, j.id, err)}
		}
		outcome = outcomeOf(row.Attempts+1, err, r.opts.Attempts)
		failure = r.failure(j.id, &row, outcome, err)
	}
	r.tell.failed(failure)
	res.at, res.again = r.settle(ctx, j, outcome, eventlog.Position{Feed: row.Feed, Seq: row.Seq})
	if res.at > 0 {
		r.tell.gaveUp(failure)
	}
	return res
}

// durable brings to the disk all that the outbox's state follows from, where
// the log is one that can do that: an effect must not outlive its cause.
// Elsewhere what is acknowledged is as durable as it gets.
func (r *runner[I]) durable(ctx context.Context) error {
	for name, seq := range r.o.table.At().All() {
		feed, err := r.o.log.Opened(name)
		if err != nil {
			return err
		}
		err = feed.Sync(ctx, seq)
		if e, ok := errors.AsType[*eventlog.SyncError](err); err != nil && (!ok || e.Err != nil) {
			return err
		}
	}
	return nil
}

// confirmed makes sure that what the outbox's state follows from is what the
// log's leader has: on a cluster whose quorum was set back, an effect would else
// be carried out for an event that is gone.
func (r *runner[I]) confirmed(ctx context.Context) error {
	for name := range r.o.table.At().All() {
		feed, err := r.o.log.Opened(name)
		if err != nil {
			return err
		}
		if err := feed.Confirm(ctx); err != nil {
			return err
		}
	}
	return nil
}

// settle records an outcome. Where that fails it is tried again for as long as
// the lease is held: carrying the effect out once more would be worse. What was
// carried out is recorded also when the lease or ctx has ended, in one try.
func (r *runner[I]) settle(ctx context.Context, j *job, outcome any, cause eventlog.Position) (at uint64, again time.Duration) {
	for n := 1; ; n++ {
		wctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.opts.Timeout)
		pos, err := r.o.record(wctx, j.id, j.last, outcome, cause)
		cancel()
		if err == nil || errors.Is(err, eventlog.ErrConflict) { // another one has recorded its end
			return pos.Seq, 0
		}
		r.opts.Logger.Error().Err(err).Str("outbox", r.o.name).Str("effect", j.id).Msg("effect: an outcome could not be recorded yet: where this process ends before, the effect is carried out again")
		select {
		case <-time.After(min(r.opts.wait(n), maxAway)):
		case <-ctx.Done():
			return 0, r.opts.Backoff
		}
	}
}
