package projection

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tidemark-es/tidemark/dependants"
	"github.com/tidemark-es/tidemark/timeframe"
)

// ErrUnregistered: the register of dependants is damaged, so that this process
// isn't in it, and no log is trimmed.
var ErrUnregistered = errors.New("not registered as a dependant of the log")

const (
	// defaultExpiry is after how long without a running process a unit doesn't
	// keep the log any more.
	defaultExpiry = 30 * 24 * time.Hour
	// replayExpiry is the same for projections without snapshots, which need
	// the whole log while they run.
	replayExpiry = time.Hour
)

// dependantName is under which name a unit is registered.
func dependantName(unit string) string { return "projection." + unit }

// dependencies are this runtime's units as the register has them.
func (rt *Runtime) dependencies() ([]dependants.Dependant, error) {
	var ds []dependants.Dependant
	for _, u := range rt.units {
		if u.twin.failed {
			continue // more of the log wouldn't help it
		}
		zero := make(map[string]uint64, len(u.feeds))
		for feed := range u.feeds {
			zero[feed] = 0
		}
		needs, err := timeframe.FromMap(zero)
		if err != nil {
			return nil, err
		}
		d := dependants.Dependant{Name: dependantName(u.name), Needs: needs, Unit: u.name, Expiry: rt.cfg.Expiry}
		if rt.cfg.NoSnapshots {
			d.Unit, d.Expiry = "", replayExpiry
		}
		ds = append(ds, d)
	}
	return ds, nil
}

// depend registers the units, once. Marks of streams that were created again
// are dropped first, since they say nothing about the present ones.
func (rt *Runtime) depend(ctx context.Context) error {
	ds, err := rt.dependencies()
	if err != nil {
		return err
	}
	incarnations := make(map[string]string)
	for _, u := range rt.units {
		for name, f := range u.feeds {
			incarnations[name] = f.Incarnation()
		}
	}
	r := rt.cfg.Dependants
	if err := r.Current(ctx, incarnations); err != nil {
		return err
	}
	return r.Register(ctx, ds...)
}

// renew registers the units, where that is due again or where they aren't in the
// register any more: it was deleted, or an older one was restored.
func (rt *Runtime) renew(ctx context.Context, last *time.Time, every time.Duration) error {
	if time.Since(*last) < every {
		if there, err := rt.registered(ctx); errors.Is(err, dependants.ErrCorrupt) {
			return err
		} else if err != nil || there {
			return nil // what can't be read now is looked at the next time
		}
	}
	if err := rt.depend(ctx); err != nil {
		return err
	}
	*last = time.Now()
	return nil
}

// registered says whether all units are in the register.
func (rt *Runtime) registered(ctx context.Context) (bool, error) {
	ds, err := rt.cfg.Dependants.List(ctx)
	if err != nil {
		return false, err
	}
	there := make(map[string]bool, len(ds))
	for _, d := range ds {
		there[d.Name] = true
	}
	for _, u := range rt.units {
		if !there[dependantName(u.name)] && !u.twin.failed {
			return false, nil
		}
	}
	return true, nil
}

// lookEvery is how often the units are looked for in the register.
const lookEvery = time.Minute

// keepDepending registers the units, and again and again as a sign of life,
// until ctx ends. Units with snapshots stay registered then: their processes
// come back.
func (rt *Runtime) keepDepending(ctx context.Context) {
	every := rt.cfg.Expiry / 10
	if rt.cfg.NoSnapshots || every <= 0 {
		every = replayExpiry / 10
	}
	var last time.Time
	var late trouble // told once
	for wait := 100 * time.Millisecond; ; {
		next := min(every, lookEvery)
		switch err := rt.renew(ctx, &last, every); {
		case err == nil:
			rt.unregistered.set(nil)
			wait = 100 * time.Millisecond
		case ctx.Err() != nil:
			return
		case errors.Is(err, dependants.ErrTooLate):
			// It has begun to read before that; reading says so if it matters.
			if rt.unregistered.set(nil); late.set(err) {
				rt.cfg.Logger.Warn().Err(err).Msg("projection: the log may be trimmed beyond what is needed")
			}
		case errors.Is(err, dependants.ErrCorrupt):
			if err = fmt.Errorf("projection: %w: %w", ErrUnregistered, err); rt.unregistered.set(err) {
				rt.cfg.Logger.Error().Err(err).Msg("projection: not registered as a dependant of the log")
			}
			next, wait = wait, min(2*wait, time.Minute)
		default:
			rt.cfg.Logger.Warn().Err(err).Msg("projection: not registered as a dependant of the log: who trims doesn't know of it")
			next, wait = wait, min(2*wait, time.Minute)
		}
		select {
		case <-time.After(next):
		case <-ctx.Done():
			return
		}
	}
}

// undepend takes projections without snapshots out of the register.
func (rt *Runtime) undepend() {
	if !rt.cfg.NoSnapshots || rt.cfg.Dependants == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), releaseTimeout)
	defer cancel()
	for _, u := range rt.units {
		if err := rt.cfg.Dependants.Deregister(ctx, dependantName(u.name)); err != nil {
			rt.cfg.Logger.Warn().Err(err).Str("unit", u.name).Msg(fmt.Sprintf("projection: it stays registered for %s", replayExpiry))
		}
	}
}
