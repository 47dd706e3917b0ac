package effect

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/lease"
	"github.com/tidemark-es/tidemark/projection"
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

// finalTimeout bounds what Run does when its context has ended.
const finalTimeout = 5 * time.Second

// Run carries the outbox's effects out, until ctx ends, which is no error. The
// outbox must have been given to a projection.Start. Any number of processes
// may run it: the holder of the lease effects.<name> carries out, and the
// others wait. do is called by several goroutines for different effects; its
// error, or panic, is a failed attempt (see Permanent).
//
// Errors: ErrInvalid; a *projection.StoppedError, where the outbox stopped;
// projection.ErrClosed; those of the log that aren't eventlog.ErrUnavailable.
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
	for {
		err := opts.Leases.Hold(ctx, "effects."+o.name, func(ctx context.Context, l *lease.Lease) error {
			r := &runner[I]{o: o, do: do, opts: opts, lease: l, plan: newSchedule(), results: make(chan result)}
			return r.run(ctx)
		})
		switch {
		case ctx.Err() != nil:
			return nil
		case !errors.Is(err, eventlog.ErrUnavailable) && !errors.Is(err, eventlog.ErrConflict):
			return err
		}
		opts.Logger.Warn().Err(err).Str("outbox", o.name).Msg("effect: the log is away, or another process has taken over: trying again")
		select {
		case <-time.After(opts.Backoff):
		case <-ctx.Done():
			return nil
		}
	}
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
}

type result struct {
	j     *job
	again time.Duration // 0: there is an outcome
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
	err := r.loop(ctx, deltas, ended)
	stop()
	_ = w.Close()
	for ; r.running > 0; r.running-- {
		<-r.results
	}
	if r.lease.Valid() {
		fctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finalTimeout)
		defer cancel()
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
			if res.again > 0 {
				r.plan.again(res.j, time.Now().Add(res.again))
			}
		case <-due:
		case <-marks.C:
			if err := r.putMark(ctx); err != nil && ctx.Err() == nil {
				return err
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
		go func() { r.results <- result{j, r.attempt(ctx, j)} }()
	}
	return nil // a result will come
}

// attempt carries an effect out once and records what came of it. It returns
// when to try again, where nothing could be recorded.
func (r *runner[I]) attempt(ctx context.Context, j *job) (again time.Duration) {
	row, ok := r.o.table.Get(j.id)
	if !ok || row.Last != j.last || row.Status != pending {
		return 0 // the table's change is on its way
	}
	outcome := any(Passed{Version: r.o.version})
	if !r.mark.passes(&row.Feed, row.Seq, row.Last) {
		err := carry(ctx, effectOf(j.id, &row), r.do, r.opts.Timeout)
		if err != nil && ctx.Err() != nil {
			return r.opts.Backoff // it was interrupted
		}
		outcome = outcomeOf(row.Attempts+1, err, r.opts.Attempts)
	}
	// What was carried out is recorded also when the lease or ctx has ended.
	wctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.opts.Timeout)
	defer cancel()
	_, err := r.o.record(wctx, j.id, j.last, outcome)
	switch {
	case err == nil || errors.Is(err, eventlog.ErrConflict): // another one has recorded its end
		return 0
	default:
		r.opts.Logger.Error().Err(err).Str("outbox", r.o.name).Str("effect", j.id).Msg("effect: no outcome could be recorded: it will be carried out again")
		return r.opts.Backoff
	}
}

// outcomeOf is what becomes of an effect by its n-th attempt.
func outcomeOf(n int, err error, most int) any {
	switch {
	case err == nil:
		return Done{Attempts: n}
	case n >= most || errors.Is(err, ErrPermanent):
		return GaveUp{Attempts: n, Error: err.Error()}
	}
	return Failed{Attempts: n, Error: err.Error()}
}

// carry calls do.
func carry[I any](ctx context.Context, e Effect[I], do func(ctx context.Context, e Effect[I]) error, timeout time.Duration) (err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return do(ctx, e)
}
