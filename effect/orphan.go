package effect

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
)

// Orphan is an effect that was attempted, or ended, and whose cause isn't in
// the log: its feed has lost its end, was restored from an older backup, or has
// another event at that place by now. It has happened outside, and the log
// doesn't say why. It counts for no other event.
type Orphan struct {
	ID    string
	Cause eventlog.Position // where the cause was
	// Outcome is where its last outcome is in Outcomes, and Since when that was
	// stored.
	Outcome eventlog.Position
	Since   time.Time
	// Reason says what is at the cause's place.
	Reason string
}

// Orphans lists the effects whose cause isn't in the log, in the order of where
// their causes were. Run warns of them. It asks the log for each effect of
// which the table has an outcome and no intent, which are none as a rule. What
// was trimmed, of either feed, isn't among them: nobody can tell; nor what the
// table hasn't read yet.
//
// Errors: those of eventlog.Feed.State and Lookup; ErrOffline.
func (o *Outbox[I]) Orphans(ctx context.Context) ([]Orphan, error) {
	if o.log == nil {
		return nil, fmt.Errorf("effect: outbox %q: %w", o.name, eventlog.ErrOffline)
	}
	return o.orphans(ctx, 0)
}

// orphans looks at so many outcomes at most; 0 for all.
func (o *Outbox[I]) orphans(ctx context.Context, most int) ([]Orphan, error) {
	at := o.table.At().Map() // before the rows: they include it
	var found []Orphan
	for id, r := range o.table.All() {
		if r.Stated || r.Last == 0 || r.Mark != nil {
			continue
		}
		found = append(found, Orphan{ID: id, Outcome: eventlog.Position{Feed: o.outcomes.Name(), Seq: r.Last}, Since: r.Since})
		if len(found) == most {
			break
		}
	}
	states := make(map[string]eventlog.State)
	out := found[:0]
	for _, c := range found {
		lost, err := o.lost(ctx, &c, at, states)
		if err != nil {
			return nil, fmt.Errorf("effect: outbox %q: the cause of %.200q: %w", o.name, c.ID, err)
		}
		if lost {
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b Orphan) int {
		return cmp.Or(cmp.Compare(a.Cause.Feed, b.Cause.Feed), cmp.Compare(a.Cause.Seq, b.Cause.Seq), cmp.Compare(a.ID, b.ID))
	})
	return out, nil
}

// lost says whether the cause isn't in the log, and fills in where it was and
// what is there.
func (o *Outbox[I]) lost(ctx context.Context, c *Orphan, at map[string]uint64, states map[string]eventlog.State) (bool, error) {
	outcome, ok, err := o.outcomes.Lookup(ctx, c.Outcome.Seq)
	if err != nil || !ok {
		return false, err
	}
	if c.Cause, ok = o.causeOf(c.ID, &outcome); !ok {
		return false, nil
	}
	feed, err := o.log.Opened(c.Cause.Feed)
	if err != nil {
		return false, nil // it isn't read by this program: another version's
	}
	st, ok := states[c.Cause.Feed]
	if !ok {
		if st, err = feed.State(ctx); err != nil {
			return false, err
		}
		states[c.Cause.Feed] = st
	}
	switch seq := c.Cause.Seq; {
	case seq > st.Last:
		c.Reason = fmt.Sprintf("the feed ends at %d", st.Last)
		return true, nil
	case seq < st.First, seq > at[c.Cause.Feed]:
		return false, nil
	}
	there, ok, err := feed.Lookup(ctx, c.Cause.Seq)
	switch {
	case err != nil:
		return false, err
	case !ok:
		c.Reason = "there is no commit"
		return !feed.Adopted(), nil // whose owner may have removed it
	case o.causes(&there, c):
		return false, nil
	}
	c.Reason = fmt.Sprintf("there is another commit, %s", there.Identity())
	return true, nil
}

// causeOf is where the cause of an effect is, by an outcome of it.
func (o *Outbox[I]) causeOf(id string, outcome *eventlog.Commit) (eventlog.Position, bool) {
	if _, ok := o.hashIn(id); !ok {
		return position(id)
	}
	feed, seq, _ := strings.Cut(outcome.Event(0).Header(causeHeader), "@")
	n, err := strconv.ParseUint(seq, 10, 64)
	return eventlog.Position{Feed: feed, Seq: n}, err == nil
}

// causes says whether a commit is the cause that an effect's ID names. An ID of
// the first form names a position alone: there it is one that was stored before
// the outcome.
func (o *Outbox[I]) causes(c *eventlog.Commit, of *Orphan) bool {
	hash, ok := o.hashIn(of.ID)
	if !ok {
		return !c.Time.After(of.Since)
	}
	if causeHash(o.app, c.Feed, c.Key, c.Identity()) == hash {
		return true
	}
	for i := range c.Len() { // it may be packed out of several drafts
		if id, _, _ := c.Event(i).Identity(); causeHash(o.app, c.Feed, c.Key, id) == hash {
			return true
		}
	}
	return false
}

// mostOutcomes is how many outcomes Run looks at to tell of orphans, and
// mostNamed how many of those it names.
const (
	mostOutcomes = 1000
	mostNamed    = 5
)

// tellOrphans warns of them, where there are any, when the table has come to
// where its feeds end now. Where the log doesn't answer, Orphans can be asked
// later.
func (r *runner[I]) tellOrphans(ctx context.Context) {
	for name := range r.positions() {
		feed, err := r.o.log.Opened(name)
		if err != nil {
			return
		}
		st, err := feed.State(ctx)
		if err != nil {
			return
		}
		reach, err := feed.Reach(ctx, st)
		if err != nil || r.o.table.WaitFor(ctx, eventlog.Position{Feed: name, Seq: reach}) != nil {
			return
		}
	}
	found, err := r.o.orphans(ctx, mostOutcomes)
	if err != nil || len(found) == 0 {
		return
	}
	ids := make([]string, 0, mostNamed)
	for _, c := range found[:min(len(found), mostNamed)] {
		ids = append(ids, c.ID+" of "+c.Cause.String())
	}
	r.opts.Logger.Warn().Str("outbox", r.o.name).Int("effects", len(found)).Strs("first", ids).Msg("effect: these effects have happened, and what they followed from isn't in the log: see Outbox.Orphans")
}
