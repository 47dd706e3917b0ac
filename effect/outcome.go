package effect

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/projection"
)

// The events of an outbox's feed (Outbox.Outcomes), whose keys are the
// effects' IDs. Each is appended on the condition that it follows the one
// before, so an effect has one end, whoever tries to record another.
type (
	// Done: the effect was carried out.
	Done struct{ Attempts int }
	// Failed: an attempt failed, and there will be another.
	Failed struct {
		Attempts int // so far, since it was stated or retried
		Error    string
	}
	// GaveUp: no further attempt is made, unless someone asks (Outbox.Retry).
	GaveUp struct {
		Attempts int
		Error    string
	}
	// Retried: an effect that was given up is attempted again.
	Retried struct{ By string }
	// Dropped: an effect that was given up is forgotten.
	Dropped struct{ By string }
	// Passed: the effect isn't carried out, since it was stated for an event
	// behind which another version of the outbox had already gone.
	Passed struct{ Version uint64 }
	// Marked says how far a version's effects are ended: all that were stated
	// for commits up to At that were stored before this event. It carries out
	// what was stated after From.
	Marked struct {
		Version  uint64
		From, At map[string]uint64 // by feed
		// IDs says which events' effects have IDs that begin with a position:
		// "" for all, "2" for none, else up to where. It is what an upgrade needs.
		IDs string
	}
	// Identified is recorded once by an outbox whose IDs began with positions,
	// when later ones get others. A program that doesn't know those stops here.
	Identified struct{}
)

// The keys of events that are of no effect; IDs of effects have a ':' or '@'.
const (
	markKey       = "marks"
	identifiedKey = "ids"
)

// marked is a mark in its row: what Marked had first. More in it would be
// another type of rows, for which no snapshot of before counts; so what IDs
// says is in the row's Error.
type marked struct {
	Version  uint64
	From, At map[string]uint64
}

// status is where an effect stands.
type status uint8

const (
	pending status = iota
	parked         // given up
	ended
)

// record is an effect in the outbox's table. Between events of several feeds
// there is no order: at a replay, the outcomes may come before the intent.
// Then the record waits for it (Stated is false).
type record[I any] struct {
	Intent    I
	Stated    bool
	Key       string
	Feed      string
	Seq       uint64
	Time      time.Time // of the event
	NotBefore time.Time
	Status    status
	Attempts  int
	Error     string
	Since     time.Time // of the last outcome
	Last      uint64    // sequence of the last outcome; 0 for none
	Mark      *marked   // of markKey
}

// outcomeTypes are those of the feed.
func outcomeTypes() []eventlog.FeedOption {
	return []eventlog.FeedOption{
		eventlog.Type[Done]("done"), eventlog.Type[Failed]("failed"), eventlog.Type[GaveUp]("gave-up"),
		eventlog.Type[Retried]("retried"), eventlog.Type[Dropped]("dropped"), eventlog.Type[Passed]("passed"),
		eventlog.Type[Marked]("marked"), eventlog.Type[Identified]("identified"),
	}
}

// follow lets the table handle the outcomes.
func (o *Outbox[I]) follow() {
	handle(o, func(r *record[I], _ Done) { r.Status = ended })
	handle(o, func(r *record[I], _ Dropped) { r.Status = ended })
	handle(o, func(r *record[I], _ Passed) { r.Status = ended })
	handle(o, func(r *record[I], d Failed) { r.Attempts, r.Error = d.Attempts, d.Error })
	handle(o, func(r *record[I], d GaveUp) { r.Status, r.Attempts, r.Error = parked, d.Attempts, d.Error })
	handle(o, func(r *record[I], _ Retried) { r.Status, r.Attempts, r.Error = pending, 0, "" })
	projection.On(o.table, o.outcomes, func(tx *projection.Tx[string, record[I]], e eventlog.Event, m Marked) error {
		now, err := parseForms(m.IDs)
		if err != nil {
			return err
		}
		if was := o.forms.Load(); now.known && (was == nil || !was.known || len(o.renames) > 0) {
			o.rename(tx, now)
		}
		tx.Put(e.Key, record[I]{
			Mark: &marked{Version: m.Version, From: m.From, At: m.At}, Error: m.IDs, Last: e.Seq, Since: e.Time,
		})
		return nil
	})
}

func handle[I, D any](o *Outbox[I], change func(*record[I], D)) {
	projection.On(o.table, o.outcomes, func(tx *projection.Tx[string, record[I]], e eventlog.Event, d D) error {
		r := tx.Value(e.Key)
		change(&r, d)
		r.Last, r.Since = e.Seq, e.Time
		o.forget(e.Key)
		if r.Status == ended && r.Stated {
			tx.Delete(e.Key)
		} else {
			tx.Put(e.Key, r)
		}
		return nil
	})
}

// recordRounds bounds how often an outcome is sent again whose append is
// ambiguous, or expects one that was trimmed.
const recordRounds = 5

// record appends an outcome behind the one that is known. A conflict says that
// somebody else has recorded one.
func (o *Outbox[I]) record(ctx context.Context, id string, last uint64, outcome any, cause eventlog.Position) (eventlog.Position, error) {
	d := eventlog.Draft{Key: id, Expect: eventlog.ExpectSeq(last), Events: []any{outcome}}
	if cause.Seq > 0 {
		d.Header = map[string]string{causeHeader: causeText(cause.Feed, cause.Seq)}
	}
	for n := 1; ; n++ {
		at, err := o.outcomes.AppendDraft(ctx, d)
		if err == nil {
			return at, nil
		}
		unknown, ambiguous := errors.AsType[*eventlog.AmbiguousError](err)
		conflict, refused := errors.AsType[*eventlog.ConflictError](err)
		switch {
		case ctx.Err() != nil || n == recordRounds:
		case ambiguous:
			d.ID, d.After = unknown.ID, last
			continue
		case refused && conflict.Actual == 0 && d.Expect != eventlog.ExpectNew && o.trimmed(ctx, id, last):
			d.Expect = eventlog.ExpectNew
			continue
		}
		return at, fmt.Errorf("effect: %.200q: recording %T: %w", id, outcome, err)
	}
}

// trimmed says whether the outcome that is known was trimmed from the log, and
// nothing was recorded behind it that was trimmed, too: then a key without
// commits is what an outcome has to follow.
func (o *Outbox[I]) trimmed(ctx context.Context, id string, last uint64) bool {
	st, err := o.outcomes.State(ctx)
	if err != nil || st.First <= last {
		return false
	}
	if o.table.WaitFor(ctx, eventlog.Position{Feed: o.outcomes.Name(), Seq: st.First - 1}) != nil {
		return false
	}
	r, _ := o.table.Get(id)
	return r.Last == last
}
