package effect

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
)

// marking is where this version's effects begin, and how far they are ended.
type marking struct {
	from map[string]uint64
	// until is when the mark was stored that said so. A position says nothing of
	// what is younger: it was given out again by a feed that has lost its end.
	until time.Time
	at    map[string]uint64 // as recorded last
	last  uint64            // sequence of the last mark
	ids   string            // as recorded last (Marked.IDs)
}

// always is after every event.
var always = time.Unix(1<<40, 0)

// passes says whether an effect was stated in a time of which all effects have
// ended: so it wasn't among them, and another version or interleaving states
// it. One of which there is any outcome was. It counts how far all feeds had
// come: what one process states for an event of one feed, when that of another
// was there, another process may state for the latter.
func (m *marking) passes(at map[string]uint64, cause time.Time, last uint64) bool {
	if last != 0 || cause.After(m.until) {
		return false
	}
	for feed, seq := range at {
		if seq > m.from[feed] {
			return false
		}
	}
	return true
}

// passed is passes of a row.
func (r *runner[I]) passed(id string, row *record[I]) bool {
	return r.mark.passes(r.o.statedAt(id, row), row.Time, row.Last)
}

// begin waits until the table includes all outcomes of whoever held the lease
// before, and finds out where to begin.
func (r *runner[I]) begin(ctx context.Context) error {
	st, err := r.o.outcomes.State(ctx)
	if err != nil {
		return err
	}
	if err := r.o.table.WaitFor(ctx, eventlog.Position{Feed: r.o.outcomes.Name(), Seq: st.Last}); err != nil {
		return err
	}
	row, _ := r.o.table.Get(markKey)
	ids, err := r.o.formsNow(func() record[I] { return row })
	if err != nil {
		return err
	}
	fixed := ids.known
	if !fixed {
		if ids, err = r.fixForms(ctx); err != nil {
			return err
		}
	}
	r.mark.last, r.mark.until, r.mark.ids = row.Last, row.Since, ids.String()
	switch m := row.Mark; {
	case m == nil && r.opts.SkipHistory:
		r.mark.from, r.mark.until = r.positions(), always // until that is recorded
	case m == nil:
	default:
		// The same version, too: all that it stated up to there has an end. What
		// else a replay states comes of another interleaving of the feeds.
		r.mark.from = m.At
		if m.Version == r.o.version && fixed && row.Error == r.mark.ids {
			r.mark.at = m.At
			return nil
		}
	}
	if err := r.putMark(ctx); err != nil {
		return err
	}
	// What was stated has its ID then.
	if err := r.o.table.WaitFor(ctx, eventlog.Position{Feed: r.o.outcomes.Name(), Seq: r.mark.last}); err != nil {
		return err
	}
	if row.Mark == nil {
		row, _ = r.o.table.Get(markKey)
		r.mark.until = row.Since
	}
	return nil
}

// positions is how far the table has come in each feed of intents.
func (r *runner[I]) positions() map[string]uint64 {
	at := r.o.table.At().Map()
	delete(at, r.o.outcomes.Name())
	return at
}

// ended is up to where all effects are ended, or given up: how far the table
// has come, but not up to any effect that is still pending.
func (r *runner[I]) ended() map[string]uint64 {
	at := r.positions() // before the rows: they include it
	for id, row := range r.o.table.All() {
		if row.Stated && row.Status == pending && !r.passed(id, &row) {
			at[row.Feed] = min(at[row.Feed], row.Seq-1)
		}
	}
	return at
}

// putMark records how far the effects are ended, where that has changed. One
// who has lost the lease is refused.
func (r *runner[I]) putMark(ctx context.Context) error {
	at := r.ended()
	if r.mark.at != nil && maps.Equal(at, r.mark.at) {
		return nil
	}
	pos, err := r.o.record(ctx, markKey, r.mark.last, Marked{Version: r.o.version, From: r.mark.from, At: at, IDs: r.mark.ids}, eventlog.Position{})
	if err != nil {
		return fmt.Errorf("effect: outbox %q: mark: %w", r.o.name, err)
	}
	r.mark.at, r.mark.last = at, pos.Seq
	return nil
}
