package projection

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/tidemark-es/tidemark/dependants"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/snapshot"
	"github.com/tidemark-es/tidemark/timeframe"
)

// ErrUnverified: a unit's newest snapshot can't be relied on, so what it
// stands for isn't trimmed; Compact's report says which and why.
var ErrUnverified = errors.New("snapshot not verified")

// CompactOptions say how a compaction goes; the zero value is a good default.
type CompactOptions struct {
	// DryRun saves, writes and trims nothing, and reports what would be done.
	DryRun bool
	// Margin is how many commits below what is needed stay all the same, for
	// each feed. Default 0.
	Margin uint64
	// MinAge keeps what was appended lately, by the server's clock. Default 0.
	MinAge time.Duration
	// Feeds limits trimming to these. Default: all that the runtime's
	// projections read.
	Feeds []string
	// NoSave relies on the snapshots that are there.
	NoSave bool

	step func(string) error // tests fail here
}

// CompactReport is what a compaction found and did.
type CompactReport struct {
	DryRun bool
	Units  []CompactUnit
	Feeds  []CompactFeed
	Took   time.Duration
}

// CompactUnit is what is known of one unit that snapshots stand for.
type CompactUnit struct {
	Unit     string
	Snapshot string              // the newest one's ID; "" where there is none
	At       timeframe.Timeframe // of it
	Needs    timeframe.Timeframe // what its retained snapshots leave open
	Keys     uint64              // that were read back
	Compared bool                // with the rows that the projections of this process had at its cut
	Verified bool                // read back whole, and of this log
	Note     string              // why it isn't verified, or wasn't saved; else ""
}

// CompactFeed is what was done to one feed.
type CompactFeed struct {
	Feed        string
	First, Last uint64            // before
	From        uint64            // where it begins afterwards; First where it stays
	Trimmed     bool              // false in a dry run, and where there was nothing to do
	Holds       []dependants.Hold // who needs what, the slowest first
	Note        string            // why it wasn't trimmed
}

// Compact saves the runtime's units, reads back what is stored for all units
// that depend on its feeds, compares the rows of those that it saved with the
// live ones (ErrLossy where they differ: nothing that they stand for is trimmed
// then), and trims each feed below what the slowest of all
// dependants needs. It is meant to be called now and then, by hand or as
// Config.Compaction says; docs/trimming.md is its manual.
//
// Each retained snapshot stays usable: the messages that prove to which log it
// belongs, and all behind them, stay. A feed that no verified snapshot stands
// for isn't trimmed. What is appended meanwhile isn't touched. It can be
// interrupted at any point without harm, and calling it again completes it.
//
// The error joins what went wrong: ErrUnverified, those of the store, of
// eventlog.Feed.Trim and of the register. The report is of use beside it.
func (rt *Runtime) Compact(ctx context.Context, o CompactOptions) (CompactReport, error) {
	begun := time.Now()
	c := &compaction{rt: rt, o: o, report: CompactReport{DryRun: o.DryRun}, saved: make(map[string]savedUnit)}
	if c.o.step == nil {
		c.o.step = func(string) error { return nil }
	}
	err := c.alone(ctx)
	c.report.Took = time.Since(begun)
	if err != nil {
		err = fmt.Errorf("projection: compact: %w", err)
	}
	return c.report, err
}

// compaction is one call of Compact.
type compaction struct {
	rt     *Runtime
	o      CompactOptions
	report CompactReport

	saved  map[string]savedUnit // by this call, whose rows can be compared with it
	units  []compactedUnit
	states map[string]eventlog.State // of the feeds, before
	errs   []error
}

// unitLister is a store that knows all of its units.
type unitLister interface {
	Units(ctx context.Context) ([]string, error)
}

// alone runs it when no other one of this runtime does: the tables are compared
// with one snapshot at a time.
func (c *compaction) alone(ctx context.Context) error {
	for _, u := range c.rt.units { // the other one may wait for them
		defer u.awaited("a call that saves (RetryParked, DropParked, Compact)", u.name)()
	}
	select {
	case c.rt.compacting <- struct{}{}:
		defer func() { <-c.rt.compacting }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() {
		for _, s := range c.saved {
			s.compare.end()
		}
	}()
	return c.run(ctx)
}

// savedUnit is what a compaction has saved of a unit.
type savedUnit struct {
	id      snapshot.ID // zero where nothing was
	compare *comparing
}

func (c *compaction) run(ctx context.Context) error {
	cfg := &c.rt.cfg
	if cfg.NoSnapshots {
		return fmt.Errorf("%w: these projections have no snapshots, so they need the whole log", ErrInvalid)
	}
	feeds, err := c.feeds(ctx)
	if err != nil {
		return err
	}
	if !c.o.DryRun {
		if err := c.rt.depend(ctx); err != nil {
			return err
		}
	}
	if err := c.o.step("registered"); err != nil {
		return err
	}
	notes := c.save(ctx)
	if err := c.o.step("saved"); err != nil {
		return err
	}
	if err := c.verifyAll(ctx, notes); err != nil {
		return err
	}
	if err := c.o.step("verified"); err != nil {
		return err
	}
	if err := c.mark(ctx, feeds); err != nil {
		return err
	}
	if !c.o.DryRun {
		c.trim(ctx, feeds)
	}
	return errors.Join(c.errs...)
}

// feeds are those that may be trimmed.
func (c *compaction) feeds(ctx context.Context) (map[string]*eventlog.Feed, error) {
	all := make(map[string]*eventlog.Feed)
	for _, u := range c.rt.units {
		maps.Copy(all, u.feeds)
	}
	feeds := all
	if c.o.Feeds != nil {
		feeds = make(map[string]*eventlog.Feed)
		for _, name := range c.o.Feeds {
			if feeds[name] = all[name]; all[name] == nil {
				return nil, fmt.Errorf("%w: feed %q: %w", ErrInvalid, name, ErrNotRead)
			}
		}
	}
	c.states = make(map[string]eventlog.State, len(feeds))
	for name, f := range feeds {
		st, err := f.State(ctx)
		if err != nil {
			return nil, err
		}
		if st.Incarnation != f.Incarnation() {
			return nil, fmt.Errorf("feed %q: %w", name, eventlog.ErrRecreated)
		}
		c.states[name] = st
	}
	return feeds, nil
}

// save saves this runtime's units. One that can't be saved is no reason to
// stop: its older snapshots hold the log.
func (c *compaction) save(ctx context.Context) map[string]string {
	notes := make(map[string]string)
	if c.o.NoSave || c.o.DryRun {
		return notes
	}
	for _, u := range c.rt.units {
		if u.twin.failed {
			continue // there is nothing to save
		}
		s := savedUnit{compare: &comparing{}}
		c.saved[u.name] = s
		var err error
		if s.id, err = u.saveFor(ctx, s.compare); err == nil {
			c.saved[u.name] = s
			continue
		}
		s.compare.end()
		notes[u.name] = err.Error()
		if !errors.Is(err, ErrNotOwner) {
			c.errs = append(c.errs, err)
		}
	}
	return notes
}

func idOf(m *snapshot.Manifest) string {
	if m == nil {
		return ""
	}
	return m.ID.String()
}
