package projection

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/snapshot"
)

// Runtime runs projections: it restores them, lets them catch up with the
// log and follow it, and saves them. It is safe for concurrent use.
type Runtime struct {
	log   *eventlog.Log
	cfg   Config
	units []*unit
	pairs []*switching // of the units, those that are two versions of one projection

	cancel context.CancelFunc
	wg     sync.WaitGroup
	once   sync.Once
	done   chan struct{} // closed when Close is called
	ended  chan struct{} // closed when nothing runs any more
	err    error         // of Close; set before ended is closed

	progress     sync.Mutex
	unregistered trouble       // with the register of dependants
	compacting   chan struct{} // has the compaction that runs
}

// Start runs projections over a log with the default configuration; see
// Config.Start.
func Start(ctx context.Context, log *eventlog.Log, projections ...Projection) (*Runtime, error) {
	return Config{}.Start(ctx, log, projections...)
}

// Start restores the projections from their snapshots, as far as these
// belong to this log and this code, applies what the log has beyond, and
// returns; then they follow the log until Close. ctx bounds Start alone.
//
// A projection that stops at a bad event doesn't make Start fail: the others
// go on, and Wait, Ready, Status and Config.Stopped tell.
//
// Errors: ErrInvalid (everything that is wrong); eventlog.ErrTrimmed where
// the log no longer reaches its start and no snapshot fits; an
// *eventlog.LossError where a feed's log lost messages that it surely had;
// eventlog.ErrUnavailable; and the context's. Then nothing runs, unless the
// error is an ErrStuck as well: a handler, a migration or the Store hasn't
// returned within half a second of the context's end, and is left behind.
func (c Config) Start(ctx context.Context, log *eventlog.Log, projections ...Projection) (*Runtime, error) {
	if log == nil {
		return nil, fmt.Errorf("projection: %w: nil log", ErrInvalid)
	}
	c, err := c.withDefaults(ctx, log)
	if err != nil {
		return nil, err
	}
	rt := &Runtime{log: log, cfg: c, done: make(chan struct{}), ended: make(chan struct{}), compacting: make(chan struct{}, 1)}
	if rt.units, err = makeUnits(rt, projections); err != nil {
		return nil, err
	}
	if err := rt.intact(); err != nil {
		return nil, err
	}
	if err := within(ctx, "restoring the projections", func() error { rt.recall(ctx); return rt.restore(ctx) }); err != nil {
		return nil, err
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	rt.cancel = cancel
	for _, u := range rt.units {
		if u.twin.failed {
			close(u.ended) // nobody answers
			close(u.over)
			continue
		}
		rt.wg.Go(func() { u.run(run) })
	}
	for _, s := range rt.pairs {
		rt.wg.Go(func() { s.follow(run) })
	}
	rt.wg.Go(func() { rt.sweep(run) })
	rt.wg.Go(func() { rt.keepDepending(run) })
	rt.wg.Go(func() { rt.compactBySize(run) })
	rt.wg.Go(func() { rt.compareOthers(run) })
	if c.Background {
		return rt, nil
	}
	for _, u := range rt.units {
		if u.beside() || u.naps != nil {
			continue
		}
		select {
		case <-u.caught:
		case <-ctx.Done():
			err := fmt.Errorf("projection: start: %w", context.Cause(ctx))
			return nil, errors.Join(err, rt.close(endGrace))
		}
	}
	return rt, nil
}

// intact is about feeds whose logs lost messages that they surely had: what
// would be derived of the rest is no state of theirs.
func (rt *Runtime) intact() error {
	lost := make(map[*eventlog.Feed]error)
	for _, u := range rt.units {
		for _, f := range u.feeds {
			lost[f] = f.Lost()
		}
	}
	return errors.Join(slices.Collect(maps.Values(lost))...)
}

// restore restores all units, side by side.
func (rt *Runtime) restore(ctx context.Context) error {
	errs := make([]error, len(rt.units))
	var wg sync.WaitGroup
	for i, u := range rt.units {
		if u.naps != nil {
			continue // when it is needed
		}
		wg.Go(func() { errs[i] = u.orBeside(u.restore(ctx)) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// sweeper is a store that collects its garbage.
type sweeper interface {
	Sweep(ctx context.Context, grace time.Duration) (snapshot.SweepInfo, error)
}

const (
	sweepEvery = 10 * time.Minute
	sweepGrace = time.Hour // no save takes half as long
)

// sweep removes, now and then, what snapshots have left behind.
func (rt *Runtime) sweep(ctx context.Context) {
	s, ok := rt.cfg.Store.(sweeper)
	if !ok || rt.cfg.NoSnapshots {
		return
	}
	for {
		select {
		case <-time.After(sweepEvery):
		case <-ctx.Done():
			return
		}
		if _, err := s.Sweep(ctx, sweepGrace); err != nil && ctx.Err() == nil {
			rt.cfg.Logger.Warn().Err(err).Msg("projection: sweeping the snapshots")
		}
	}
}

// Close stops every projection at a whole commit, saves what has changed
// (unless the policy says not to), and returns when all is done, or after
// Config.CloseTimeout with an ErrStuck that says what doesn't end: that is left
// behind, and what it would have saved is replayed by the next start. It may be
// called more than once. Close the runtime before its log.
func (rt *Runtime) Close() error { return rt.close(rt.cfg.CloseTimeout) }

func (rt *Runtime) close(timeout time.Duration) error {
	for _, u := range rt.units {
		u.awaited("Runtime.Close", u.name)()
	}
	rt.once.Do(func() {
		close(rt.done)
		rt.cancel()
		go rt.end()
	})
	var over <-chan time.Time // nil: never
	if timeout >= 0 {
		timer := time.NewTimer(timeout)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-rt.ended:
		return rt.err
	case <-over:
		return rt.unended(timeout)
	}
}

func (rt *Runtime) end() {
	defer close(rt.ended)
	rt.wg.Wait()
	rt.undepend()
	var errs []error
	for _, u := range rt.units {
		errs = append(errs, u.closeErr)
	}
	rt.err = errors.Join(errs...)
}

// unended says what doesn't end.
func (rt *Runtime) unended(timeout time.Duration) error {
	var errs []error
	for _, u := range rt.units {
		select {
		case <-u.over:
			continue
		default:
		}
		doing := "it saves, or waits for the server"
		if took, what := u.work.busy(); took > 0 {
			doing = fmt.Sprintf("its handlers have been at %s for %s", what, took.Round(time.Millisecond))
		}
		errs = append(errs, fmt.Errorf("projection: unit %q: %w: it hasn't ended %s after Close: %s", u.name, ErrStuck, timeout, doing))
	}
	if errs == nil {
		errs = append(errs, fmt.Errorf("projection: %w: the runtime hasn't ended %s after Close: it waits for the server or the Store", ErrStuck, timeout))
	}
	return errors.Join(errs...)
}

// endGrace is how long a call goes on after its context's end for what it
// runs to end as well.
const endGrace = 500 * time.Millisecond

// within calls fn, which ends with ctx if all is well, and leaves it behind
// where it doesn't.
func within(ctx context.Context, what string, fn func() error) error {
	done := make(chan error, 1)
	go func() { done <- fn() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	timer := time.NewTimer(endGrace)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return fmt.Errorf("projection: %w: %s goes on after its context's end: %w", ErrStuck, what, context.Cause(ctx))
	}
}
