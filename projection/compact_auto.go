package projection

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
)

// CompactPolicy says when a runtime compacts by itself (Runtime.Compact). Its
// zero value is: never.
type CompactPolicy struct {
	// Bytes compacts when a feed's stream is larger than this. 0: never.
	Bytes uint64
	// Every is how often sizes are looked at (default 1 min).
	Every time.Duration
	// Options are those of each compaction.
	Options CompactOptions
}

// outgrown says whether a feed is to be compacted: it is over the limit, and
// has grown by a tenth since the last compaction, which may have been held up
// by a slow dependant.
func (p CompactPolicy) outgrown(now, after uint64) bool {
	return now > p.Bytes && now > after+after/10
}

// compactBySize compacts when a feed has outgrown the policy. One that fails,
// or finds a unit without a snapshot, is tried again with the next look.
func (rt *Runtime) compactBySize(ctx context.Context) {
	p := rt.cfg.Compaction
	if p.Bytes == 0 || rt.cfg.NoSnapshots {
		return
	}
	feeds := make(map[string]*eventlog.Feed)
	for _, u := range rt.units {
		maps.Copy(feeds, u.feeds)
	}
	after := make(map[string]uint64) // size behind the last compaction
	sizes := func() map[string]uint64 {
		m := make(map[string]uint64, len(feeds))
		for name, f := range feeds {
			if st, err := f.State(ctx); err == nil {
				m[name] = st.Bytes
			}
		}
		return m
	}
	for {
		select {
		case <-time.After(cmp.Or(p.Every, time.Minute)):
		case <-ctx.Done():
			return
		}
		due := false
		for name, n := range sizes() {
			due = due || p.outgrown(n, after[name])
		}
		if !due || !rt.ownsAny() {
			continue
		}
		r, err := rt.Compact(ctx, p.Options)
		switch {
		case err == nil && r.verified():
			after = sizes()
		case err != nil && ctx.Err() == nil:
			rt.cfg.Logger.Warn().Err(err).Msg("projection: compaction")
		}
	}
}

// ownsAny says whether this process saves any of its units: who merely
// follows leaves compacting to the one that does.
func (rt *Runtime) ownsAny() bool {
	return slices.ContainsFunc(rt.units, func(u *unit) bool {
		l, _ := u.saver.owner.held()
		return l != nil
	})
}

// verified says whether every unit had a snapshot to rely on. Otherwise the
// next look may find one.
func (r CompactReport) verified() bool {
	return !slices.ContainsFunc(r.Units, func(u CompactUnit) bool { return !u.Verified })
}
