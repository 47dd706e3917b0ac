package projection

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/timeframe"
)

// ErrAhead: the log hasn't reached the timeframe that was asked for.
var ErrAhead = errors.New("beyond the end of the log")

// UnreachableError says that a state of the past can't be derived: the log no
// longer holds what lies between the newest snapshot that is old enough, or
// the log's beginning, and the timeframe. It is an eventlog.ErrTrimmed.
type UnreachableError struct {
	Unit   string
	Feed   string
	Want   uint64   // the sequence that reading would have to begin at
	First  uint64   // the first one that the log has
	Passed []string // snapshots that couldn't be used, and why
}

func (e *UnreachableError) Error() string {
	s := fmt.Sprintf("projection: unit %q: no retained snapshot is old enough and fits, and feed %q begins at %d where %d is wanted: %v",
		e.Unit, e.Feed, e.First, e.Want, eventlog.ErrTrimmed)
	if len(e.Passed) > 0 {
		s += "\n\t" + strings.Join(e.Passed, "\n\t")
	}
	return s
}

// Unwrap returns eventlog.ErrTrimmed.
func (e *UnreachableError) Unwrap() error { return eventlog.ErrTrimmed }

// Past is a state of the past that AsOf has made.
type Past struct {
	At       timeframe.Timeframe // of all feeds that are read
	Recovery map[string]Recovery // by projection: the snapshot that served, and what was replayed
}

// AsOf is Config.AsOf with the default configuration.
func AsOf(ctx context.Context, log *eventlog.Log, at timeframe.Timeframe, ps ...Projection) (Past, error) {
	return Config{}.AsOf(ctx, log, at, ps...)
}

// AsOfTime is Config.AsOfTime with the default configuration.
func AsOfTime(ctx context.Context, log *eventlog.Log, t time.Time, ps ...Projection) (Past, error) {
	return Config{}.AsOfTime(ctx, log, t, ps...)
}

// AsOf brings fresh projections to the state that they had at a timeframe:
// from the newest retained snapshot that isn't newer, and the events between.
// They can be read then; they follow nothing, and nothing of them is saved.
// What runs at the same time isn't touched, the live projections of the same
// names included.
//
// Of a feed that the timeframe doesn't hold, nothing is included; feeds that
// the projections don't read don't matter. Of the configuration, Store,
// NoSnapshots and Progress count.
//
// Errors: ErrInvalid; ErrAhead; *UnreachableError (eventlog.ErrTrimmed);
// *StoppedError where an event up to there can't be applied;
// eventlog.ErrUnavailable; and the context's. The projections are of no use
// then.
func (c Config) AsOf(ctx context.Context, log *eventlog.Log, at timeframe.Timeframe, ps ...Projection) (Past, error) {
	return c.asOf(ctx, log, ps, func(_ context.Context, f *eventlog.Feed) (uint64, error) {
		seq, _ := at.Get(f.Name())
		return seq, nil
	})
}

// AsOfTime is AsOf the timeframe of a time: of each feed, what its server had
// stored by then, by its clock (Feed.SeqAt). Between feeds that is as exact as
// the clocks are.
func (c Config) AsOfTime(ctx context.Context, log *eventlog.Log, t time.Time, ps ...Projection) (Past, error) {
	return c.asOf(ctx, log, ps, func(ctx context.Context, f *eventlog.Feed) (uint64, error) {
		return f.SeqAt(ctx, t)
	})
}

func (c Config) asOf(ctx context.Context, log *eventlog.Log, ps []Projection, seqAt func(context.Context, *eventlog.Feed) (uint64, error)) (past Past, err error) {
	if log == nil {
		return past, fmt.Errorf("projection: %w: nil log", ErrInvalid)
	}
	if c, err = c.withDefaults(ctx, log); err != nil {
		return past, err
	}
	c.Stopped, c.Parked = nil, nil // they are told of what runs
	rt := &Runtime{log: log, cfg: c, done: make(chan struct{})}
	if rt.units, err = makeUnits(rt, ps); err != nil {
		return past, err
	}
	to := make(map[string]uint64)
	past.Recovery = make(map[string]Recovery)
	for _, u := range rt.units {
		for name, f := range u.feeds {
			if _, known := to[name]; known {
				continue
			}
			if to[name], err = seqAt(ctx, f); err != nil {
				return Past{}, err
			}
		}
		err := within(ctx, "reading up to the timeframe", func() error { return u.goBack(ctx, to) })
		if err != nil {
			return Past{}, err
		}
		for _, n := range u.nodes {
			past.Recovery[n.name] = n.recovery
		}
	}
	past.At, _ = timeframe.FromMap(to) // names of open feeds
	return past, nil
}

// goBack brings a unit to where each of its feeds was at a sequence.
func (u *unit) goBack(ctx context.Context, to map[string]uint64) error {
	defer u.enter()()
	begun := time.Now()
	u.awake()
	cands, problems, _, err := u.candidates(ctx)
	if err != nil {
		return err
	}
	u.upTo = to
	if _, err := u.restoreNodes(ctx, cands, problems); err != nil {
		return err
	}
	if err := u.aimBack(ctx, to, begun); err != nil {
		return err
	}
	for name, seq := range u.barrier {
		if err := u.readTo(ctx, u.feeds[name], seq); err != nil {
			return err
		}
	}
	u.build()
	for name, f := range u.feeds {
		if err := u.readTo(ctx, f, to[name]); err != nil {
			return err
		}
	}
	for _, n := range u.nodes {
		if n.stopped != nil {
			return n.stopped
		}
		n.recovery.Replayed, n.recovery.Took = n.applied, time.Since(begun)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.closed, u.isWhole = true, u.whole()
	return nil
}

// aimBack is aim for a unit that ends at a place of the past.
func (u *unit) aimBack(ctx context.Context, to map[string]uint64, begun time.Time) error {
	u.cursor = make(map[string]uint64)
	u.prints = make(map[string]timeframe.Fingerprint)
	u.lineage = make(map[string]timeframe.Lineage)
	u.target, u.done, u.begun = make(map[string]uint64), make(map[string]uint64), begun
	for name, f := range u.feeds {
		st, err := f.State(ctx)
		if err != nil {
			return fmt.Errorf("projection: unit %q: %w", u.name, err)
		}
		if st.Last < to[name] {
			return fmt.Errorf("projection: unit %q: feed %q ends at %d, and %d is asked for: %w", u.name, name, st.Last, to[name], ErrAhead)
		}
		at := u.start(name)
		if at < to[name] && at+1 < st.First {
			e := &UnreachableError{Unit: u.name, Feed: name, Want: at + 1, First: st.First}
			for _, n := range u.nodes {
				for _, why := range n.recovery.Skipped {
					e.Passed = append(e.Passed, n.name+": "+why)
				}
			}
			return e
		}
		u.cursor[name], u.target[name], u.done[name] = at, to[name], at
	}
	return nil
}

// readTo applies a feed up to a sequence.
func (u *unit) readTo(ctx context.Context, f *eventlog.Feed, to uint64) error {
	name := f.Name()
	if u.cursor[name] >= to {
		return nil
	}
	r, err := f.NewReader(ctx, eventlog.After(u.cursor[name]), eventlog.Until(to), eventlog.Progress(), eventlog.Unreadable())
	if err != nil {
		return err
	}
	defer r.Close()
	for u.cursor[name] < to {
		batch, err := r.Next(ctx)
		if err != nil {
			return err
		}
		if batch == nil {
			break
		}
		at, print, _ := r.At()
		u.apply(ctx, arrival{feed: name, batch: batch, at: at, print: print})
	}
	return nil
}
