package effect

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/projection"
	"github.com/tidemark-es/tidemark/timeframe"
)

// The first releases made IDs of positions. What such an outbox has recorded,
// and what it has begun, is known under those IDs alone: with others, effects
// that are done would be carried out again. So there is one place in each feed
// up to which events keep IDs of the first form, for ever, and each process,
// and each replay, must come to the same one.
//
//   - The holder of the lease fixes it, once, when it takes over for the first
//     time: at the ends of the feeds. What the process before it has begun, or
//     ended, is of events up to there.
//   - First it records Identified. A program of the first releases doesn't know
//     this event, and stops at it: else it would go on with IDs of its own.
//   - Then it records the place in a mark, and each later mark has it, too. So
//     it is in the log or, where that is trimmed, in the row of the marks.
//   - Until a table has handled that mark, all that it states has IDs of the
//     first form. The mark gives those their IDs that are of later events. So
//     the rows are the same whenever it comes.
//
// An outbox that had no outcomes when it was made has no such place: all its
// IDs are of the present form.

// forms says which events' effects have IDs of the first form: those up to a
// position which aren't younger than that. What is appended under the same
// positions later, since the feed has lost its end, is younger. It doesn't
// change.
type forms struct {
	known bool // else all are: the place isn't fixed yet
	upto  timeframe.Timeframe
	until time.Time
}

// first says whether an event's effects have IDs of the first form.
func (f *forms) first(feed string, seq uint64, at time.Time) bool {
	if !f.known {
		return true
	}
	upto, _ := f.upto.Get(feed)
	return seq <= upto && !at.After(f.until)
}

// formsText begins the text of known forms; a place follows, where there is
// one: nanoseconds since 1970, and positions.
const formsText = "2"

func (f *forms) String() string {
	switch {
	case !f.known:
		return ""
	case f.upto.IsEmpty():
		return formsText
	}
	return formsText + " " + strconv.FormatInt(f.until.UnixNano(), 10) + " " + f.upto.String()
}

// parseForms is String's inverse.
func parseForms(s string) (*forms, error) {
	if s == "" {
		return &forms{}, nil
	}
	head, place, _ := strings.Cut(s, " ")
	if head != formsText {
		return nil, fmt.Errorf("effect: IDs of the form %q aren't known: a later release has made them", s)
	}
	f := &forms{known: true}
	if place == "" {
		return f, nil
	}
	nanos, upto, _ := strings.Cut(place, " ")
	n, err := strconv.ParseInt(nanos, 10, 64)
	if err == nil {
		f.until = time.Unix(0, n).UTC()
		f.upto, err = timeframe.Parse(upto)
	}
	if err != nil {
		return nil, fmt.Errorf("effect: IDs of the form %q: %w", s, err)
	}
	return f, nil
}

// findForms looks what the log says about the forms of IDs. nil: that was
// trimmed, and the row of the marks has it.
func findForms(ctx context.Context, outcomes *eventlog.Feed) (*forms, error) {
	c, ok, err := outcomes.Head(ctx, markKey)
	if err != nil {
		return nil, err
	}
	if ok {
		var m Marked
		if err := c.Event(c.Len() - 1).Decode(&m); err != nil {
			return nil, err
		}
		return parseForms(m.IDs)
	}
	st, err := outcomes.State(ctx)
	switch {
	case err != nil || st.Last > 0 && st.First > 1:
		return nil, err
	case st.Last > 0:
		return &forms{}, nil // there are outcomes, and was no mark
	}
	return &forms{known: true}, nil
}

// formsNow are the forms of IDs, as far as they are known by now: of the
// outbox, or else of the row of the marks.
func (o *Outbox[I]) formsNow(marks func() record[I]) (*forms, error) {
	f := o.forms.Load()
	if f == nil {
		var err error
		if f, err = parseForms(marks().Error); err != nil {
			return nil, err
		}
		o.forms.Store(f)
	}
	return f, nil
}

// rename gives effects of later events the IDs that they have from now on.
func (o *Outbox[I]) rename(tx *projection.Tx[string, record[I]], f *forms) {
	o.forms.Store(f)
	for id, now := range o.renames {
		r, ok := tx.Get(id)
		if !ok || !r.Stated || r.Last != 0 || f.first(r.Feed, r.Seq, r.Time) {
			continue
		}
		tx.Delete(id)
		tx.Put(now, r)
		o.move(id, now)
	}
}

// fixForms makes the place up to which events keep IDs of the first form.
func (r *runner[I]) fixForms(ctx context.Context) (*forms, error) {
	_, err := r.o.outcomes.Append(ctx, identifiedKey, eventlog.ExpectAny, Identified{})
	if err != nil {
		return nil, err
	}
	f := &forms{known: true}
	for name := range r.positions() {
		feed, err := r.o.log.Opened(name)
		if err != nil {
			return nil, err
		}
		st, err := feed.State(ctx)
		if err != nil {
			return nil, err
		}
		if f.upto, err = f.upto.With(name, st.Last); err != nil {
			return nil, err
		}
		if st.LastTime.After(f.until) {
			f.until = st.LastTime
		}
	}
	return f, nil
}
