package projection

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tidemark-es/tidemark/dependants"
	"github.com/tidemark-es/tidemark/eventlog"
)

// trimPlan is how far one feed may be trimmed: pure, so that it can be tested
// without a log. covered says that a verified snapshot stands for the feed.
func trimPlan(feed string, st eventlog.State, holds []dependants.Hold, covered bool, margin uint64) CompactFeed {
	f := CompactFeed{Feed: feed, First: st.First, Last: st.Last, From: st.First, Holds: holds}
	if !covered || len(holds) == 0 {
		f.Note = "no verified snapshot stands for it"
		return f
	}
	from := min(holds[0].After, st.Last) // the message there stays
	from -= min(from, margin)
	if from <= st.First {
		f.Note = fmt.Sprintf("%q needs what follows %d", holds[0].By, holds[0].After)
		if margin > 0 {
			f.Note += fmt.Sprintf(", and %d more stay", margin)
		}
		return f
	}
	f.From = from
	return f
}

// mark decides how far each feed is trimmed, and puts it down, so that who
// registers from now on is told.
func (c *compaction) mark(ctx context.Context, feeds map[string]*eventlog.Feed) error {
	plan := func(ds []dependants.Dependant) (map[string]dependants.Mark, error) {
		c.report.Feeds = nil
		marks := make(map[string]dependants.Mark)
		holds := dependants.Holds(c.withUnregistered(ds), c.position)
		for _, name := range slices.Sorted(maps.Keys(feeds)) {
			f := trimPlan(name, c.states[name], holds[name], c.covered(name), c.o.Margin)
			if f.From > f.First && c.o.MinAge > 0 {
				if err := c.keepYoung(ctx, feeds[name], &f); err != nil {
					return nil, err
				}
			}
			if f.From > f.First {
				marks[name] = dependants.Mark{Incarnation: feeds[name].Incarnation(), From: f.From}
			}
			c.report.Feeds = append(c.report.Feeds, f)
		}
		return marks, nil
	}
	r := c.rt.cfg.Dependants
	if c.o.DryRun {
		ds, err := r.List(ctx)
		if err != nil {
			return err
		}
		_, err = plan(ds)
		return err
	}
	if err := r.Trim(ctx, plan); err != nil {
		return err
	}
	return c.o.step("marked")
}

// withUnregistered adds the units that have snapshots and were never
// registered, as those of an older release.
func (c *compaction) withUnregistered(ds []dependants.Dependant) []dependants.Dependant {
	known := make(map[string]bool)
	for _, d := range ds {
		known[d.Unit] = true
	}
	ds = slices.Clone(ds)
	for i, u := range c.units {
		if !known[u.name] {
			ds = append(ds, dependants.Dependant{Name: dependantName(u.name), Unit: u.name, Needs: c.report.Units[i].Needs})
		}
	}
	return ds
}

// covered says whether a verified snapshot includes the feed.
func (c *compaction) covered(feed string) bool {
	return slices.ContainsFunc(c.units, func(u compactedUnit) bool {
		_, reads := u.needs[feed]
		return reads && u.verified
	})
}

// keepYoung lowers a plan to what is older than MinAge, by bisection: the
// times of a feed's messages ascend, and none is missing.
func (c *compaction) keepYoung(ctx context.Context, f *eventlog.Feed, p *CompactFeed) error {
	limit := time.Now().Add(-c.o.MinAge)
	low, high := p.First, p.From // low: may go or is the first; high: stays
	for low < high {
		mid := low + (high-low)/2
		at, ok, err := f.TimeAt(ctx, mid)
		if err != nil {
			return err
		}
		if ok && at.Before(limit) {
			low = mid + 1
		} else {
			high = mid
		}
	}
	if high < p.From {
		p.From = high
		p.Note = fmt.Sprintf("what is younger than %s stays", c.o.MinAge)
	}
	return nil
}

// trim does what the plan says. A feed that can't be trimmed leaves the others
// to be.
func (c *compaction) trim(ctx context.Context, feeds map[string]*eventlog.Feed) {
	for i := range c.report.Feeds {
		f := &c.report.Feeds[i]
		if f.From <= f.First {
			continue
		}
		err := feeds[f.Feed].Confirm(ctx)
		if err == nil {
			_, err = feeds[f.Feed].Trim(ctx, f.From)
		}
		if err == nil {
			f.Trimmed = true
			c.rt.cfg.Logger.Info().Str("feed", f.Feed).Uint64("from", f.From).Uint64("was", f.First).Msg("projection: feed trimmed")
			err = c.o.step("trimmed " + f.Feed)
		} else {
			f.Note = err.Error()
		}
		if err != nil {
			c.errs = append(c.errs, err)
		}
		if ctx.Err() != nil {
			return
		}
	}
}
