package projection

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/snapshot"
	"github.com/tidemark-es/tidemark/timeframe"
)

// State is what a projection does.
type State string

// The states of a projection.
const (
	CatchingUp State = "catching up" // applies what the log held at the start
	Live       State = "live"        // applies what comes
	Stopped    State = "stopped"     // doesn't go on; Status.Err says why
	Closed     State = "closed"
	Dormant    State = "dormant" // Lazy, and nobody needs it
)

// Status is how one projection is doing.
type Status struct {
	Projection string
	Unit       string
	Version    uint64
	State      State
	At         timeframe.Timeframe // applied, whole commits
	Lag        map[string]uint64   // commits behind the log, by feed; nil from Metrics, and of what is dormant
	// LagTime is how old the oldest commit is that was read and isn't applied
	// yet, by the server's clock and this process's; 0 where there is none.
	LagTime time.Duration
	// Priority is that of the unit; see the option.
	Priority int
	// Held are the events at which feeds of the unit wait for others, because
	// their writers had seen these (eventlog.Draft.Seen).
	Held      []eventlog.Stall
	Rows      int
	Parked    int    // commits that are set aside, and records of skipped ones; see Runtime.Parked
	Applied   uint64 // events, since the start
	Unknown   uint64 // events of unknown types that were passed over since the start (PassUnknown)
	Recovery  Recovery
	Snapshots SnapshotStatus // of the unit
	Err       error          // *StoppedError, or nil
	// Busy is how long the handlers of the unit have been at their present run
	// of commits; 0 where they aren't. A run is made to take milliseconds; after
	// Config.StuckAfter Healthy calls it an ErrStuck.
	Busy time.Duration
	// Beside: it is the version of a BlueGreen that doesn't serve, and isn't
	// looked at by Wait, Ready, Healthy and Timeframe.
	Beside bool
	// Diverged says that another process came to a different state, nil where
	// none is known to. The projection goes on, and Healthy tells it.
	Diverged *DivergedError
	// Lossy is a row that a snapshot would not bring back, nil for none that is
	// known. The projection goes on, and isn't saved.
	Lossy *LossError
}

// Metrics returns every projection's status as far as this process knows it:
// nothing is asked, so Lag is nil. It is meant for exporters.
func (rt *Runtime) Metrics() []Status {
	var out []Status
	for _, u := range rt.units {
		for _, n := range u.nodes {
			out = append(out, u.status(n))
		}
	}
	return out
}

// Status is Metrics with the lag, for which each feed's leader is asked.
func (rt *Runtime) Status(ctx context.Context) ([]Status, error) {
	heads, err := rt.heads(ctx)
	if err != nil {
		return nil, err
	}
	out := rt.Metrics()
	for i := range out {
		if out[i].State == Dormant {
			continue
		}
		out[i].Lag = make(map[string]uint64)
		for feed, seq := range out[i].At.All() {
			out[i].Lag[feed] = heads[feed] - min(heads[feed], seq)
		}
	}
	return out, nil
}

// Timeframe is what all projections together have applied: per feed the
// least of them.
func (rt *Runtime) Timeframe() timeframe.Timeframe {
	m := make(map[string]uint64)
	for _, s := range rt.Metrics() {
		if s.Beside || s.State == Dormant {
			continue
		}
		for feed, seq := range s.At.All() {
			if least, ok := m[feed]; !ok || seq < least {
				m[feed] = seq
			}
		}
	}
	tf, _ := timeframe.FromMap(m) // names of open feeds
	return tf
}

// Ready is nil when every projection is restored, has caught up with what
// the log held at the start, and is at most maxLag commits of a feed behind
// its head now; else it is an ErrNotReady that says which and why. It is
// meant for an application's readiness probe.
func (rt *Runtime) Ready(ctx context.Context, maxLag uint64) error {
	all, err := rt.Status(ctx)
	if err != nil {
		return fmt.Errorf("projection: %w: %w", ErrNotReady, err)
	}
	var errs []error
	for _, s := range all {
		if s.Beside || s.State == Dormant {
			continue
		}
		if s.State != Live {
			errs = append(errs, fmt.Errorf("projection: %q: %w: it is %s%s", s.Projection, ErrNotReady, s.State, because(s.Err)))
			continue
		}
		for feed, lag := range s.Lag {
			if lag > maxLag {
				errs = append(errs, fmt.Errorf("projection: %q: %w: it is %d commits of feed %q behind, %d are allowed", s.Projection, ErrNotReady, lag, feed, maxLag))
			}
		}
	}
	return errors.Join(errs...)
}

// Healthy is nil while the log answers and nothing is wrong with a projection;
// else all that is, joined: it has stopped (ErrStopped); a handler or a View
// hasn't returned for Config.StuckAfter (ErrStuck); its snapshots aren't saved
// (ErrUnsaved); a snapshot wouldn't bring a row back (ErrLossy); another process
// came to a different state (ErrDiverged); the register of dependants is damaged
// (ErrUnregistered). It is meant for alerts. What a restart doesn't mend is
// among it, so a probe that restarts the process should look at ErrStuck and
// ErrStopped alone.
func (rt *Runtime) Healthy(ctx context.Context) error {
	errs := []error{rt.log.Healthy(ctx), rt.unregistered.get()}
	for _, s := range rt.pairs {
		errs = append(errs, s.unknown.get())
	}
	told := make(map[string]bool) // units
	for _, u := range rt.units {
		errs = append(errs, u.stuck())
	}
	for _, s := range rt.Metrics() {
		if s.Beside {
			continue
		}
		if s.Err != nil {
			errs = append(errs, s.Err)
		}
		if s.Lossy != nil {
			errs = append(errs, s.Lossy)
		}
		if e := s.Snapshots.Unsaved; e != nil && !told[s.Unit] {
			told[s.Unit] = true
			errs = append(errs, e)
		}
		if s.Diverged != nil {
			errs = append(errs, s.Diverged)
		}
		if s.State == Closed {
			errs = append(errs, fmt.Errorf("projection: %q: %w", s.Projection, ErrClosed))
		}
	}
	return errors.Join(errs...)
}

// Err is nil while the table's projection runs, else why it stopped.
func (t *Table[K, V]) Err() error { return t.n.err() }

// SnapshotStats returns the counters of the snapshot store, where it is the
// default one.
func (rt *Runtime) SnapshotStats() (snapshot.Stats, bool) {
	s, ok := rt.cfg.Store.(*snapshot.Store)
	if !ok {
		return snapshot.Stats{}, false
	}
	return s.Stats(), true
}

func because(err error) string {
	if err == nil {
		return ""
	}
	return ": " + err.Error()
}

func (u *unit) status(n *node) Status {
	rows, parked := n.state.size(), 0
	if n.park != nil {
		parked = n.park.t.size()
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	s := Status{
		Projection: n.name, Unit: u.name, Version: n.version, State: CatchingUp,
		At: n.at(), Rows: rows, Applied: n.applied, Unknown: n.unknown.Load(), Recovery: n.recovery, Snapshots: u.saver.status,
		Diverged: n.diverged, Lossy: n.lost, Parked: parked,
	}
	s.Beside = u.beside()
	s.Snapshots.describe(u.saver.owner)
	s.Priority = u.priority
	s.Busy, _ = u.work.busy()
	if !u.closed && n.stopped == nil && !n.dormant {
		s.LagTime = u.lagTime(n)
		for _, w := range u.held {
			if at := w.Position; n.feeds[at.Feed] != nil && n.pos[at.Feed] >= at.Seq {
				continue // it has just been released
			}
			w.For = time.Since(w.since)
			s.Held = append(s.Held, w.Stall)
		}
	}
	if s.Recovery.Took == 0 && !u.begun.IsZero() && !u.isCaught {
		s.Recovery.Took, s.Recovery.Replayed = time.Since(u.begun), n.applied
	}
	switch {
	case n.stopped != nil:
		s.State, s.Err = Stopped, n.stopped
	case u.closed:
		s.State = Closed
	case u.asleepLocked(n):
		s.State, s.At = Dormant, timeframe.Timeframe{}
	case u.isCaught:
		s.State = Live
	}
	return s
}

func (rt *Runtime) heads(ctx context.Context) (map[string]uint64, error) {
	feeds := make(map[string]*eventlog.Feed)
	for _, u := range rt.units {
		maps.Copy(feeds, u.feeds)
	}
	heads := make(map[string]uint64, len(feeds))
	for name, f := range feeds {
		st, err := f.State(ctx)
		if err != nil {
			return nil, err
		}
		if heads[name], err = f.Reach(ctx, st); err != nil {
			return nil, err
		}
	}
	return heads, nil
}
