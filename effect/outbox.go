package effect

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/storable"
	"github.com/tidemark-es/tidemark/projection"
)

// Outbox is a projection whose rows are effects that are wanted and not yet
// ended. Give it to projection.Start like a table, and carry the effects out
// by Run. It is safe for concurrent use.
type Outbox[I any] struct {
	// Projection is what Start takes: the table, from the first handler on. Until
	// then it is one that Start refuses, since the table itself has handlers, of
	// outcomes.
	projection.Projection

	name     string
	log      *eventlog.Log
	version  uint64
	table    *projection.Table[string, record[I]]
	outcomes *eventlog.Feed
	tx       Tx[I]

	app   string
	forms atomic.Pointer[forms] // of IDs; nil: the row of the marks says it
	// renames are the IDs that effects will have once it is known which events
	// keep IDs of the first form; the unit's goroutine has them.
	renames map[string]string

	mu     sync.Mutex
	stated map[string]map[string]uint64 // see note
}

// New makes an outbox of intents of type I, which must come back from msgpack as
// they were (docs/types.md). The name is the projection's; the feed of outcomes is called
// <name>-outcomes and is made where it isn't there. Raise the version when the
// handlers state other intents for the same events.
//
// Errors: ErrInvalid; those of eventlog.Log.Feed.
func New[I any](ctx context.Context, log *eventlog.Log, name string, version uint64) (*Outbox[I], error) {
	if log == nil {
		return nil, fmt.Errorf("effect: %w: nil log", ErrInvalid)
	}
	if err := comesBack[I](name); err != nil {
		return nil, err
	}
	feed, err := log.Feed(ctx, name+"-outcomes", outcomeTypes()...)
	if err != nil {
		return nil, fmt.Errorf("effect: outbox %q: %w", name, err)
	}
	forms, err := findForms(ctx, feed)
	if err != nil {
		return nil, fmt.Errorf("effect: outbox %q: its IDs: %w", name, err)
	}
	o := newOutbox[I](log, log.App(), feed, name, version)
	o.forms.Store(forms)
	return o, nil
}

func newOutbox[I any](log *eventlog.Log, app string, outcomes *eventlog.Feed, name string, version uint64) *Outbox[I] {
	o := &Outbox[I]{name: name, log: log, app: app, version: version, outcomes: outcomes, renames: make(map[string]string)}
	o.table = projection.NewTable[string, record[I]](name, projection.Version(version))
	o.Projection = projection.NewTable[string, record[I]](name, projection.Version(version)) // it has no handler
	o.follow()
	return o
}

// comesBack refuses intents that a snapshot would lose.
func comesBack[I any](name string) error {
	if lost := storable.Check(reflect.TypeFor[I](), storable.MsgPack).Problems; len(lost) > 0 {
		return fmt.Errorf("effect: outbox %q: %w: intents: %s", name, ErrInvalid, storable.List(lost))
	}
	return nil
}

// Name is the outbox's.
func (o *Outbox[I]) Name() string { return o.name }

// Outcomes is the feed in which is recorded what became of the effects: Done,
// Failed, GaveUp and so on. Projections may read it.
func (o *Outbox[I]) Outcomes() *eventlog.Feed { return o.outcomes }

// Err is nil while the projection runs, else why it stopped.
func (o *Outbox[I]) Err() error { return o.table.Err() }

// note keeps how far the feeds had come where an effect was stated. It isn't in
// the row: between feeds there is no order, so it differs between processes and
// replays, and rows don't. Of rows from a snapshot it isn't known.
func (o *Outbox[I]) note(id string, cause projection.Cause) {
	before := o.table.At() // this commit
	others := 0
	for feed := range before.All() {
		if feed != cause.Feed && feed != o.outcomes.Name() {
			others++
		}
	}
	if others == 0 {
		return // the row's own position says it all
	}
	at := before.Map()
	delete(at, o.outcomes.Name())
	at[cause.Feed] = cause.Seq
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.stated == nil {
		o.stated = make(map[string]map[string]uint64)
	}
	o.stated[id] = at
}

// statedAt returns that, or the position of the row's commit.
func (o *Outbox[I]) statedAt(id string, r *record[I]) map[string]uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	if at := o.stated[id]; at[r.Feed] == r.Seq {
		return at
	}
	return map[string]uint64{r.Feed: r.Seq}
}

func (o *Outbox[I]) forget(id string) {
	delete(o.renames, id)
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.stated, id)
}

// move keeps what note has of an effect under its new ID.
func (o *Outbox[I]) move(id, now string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if at, ok := o.stated[id]; ok {
		o.stated[now] = at
		delete(o.stated, id)
	}
}

// Tx is how a handler states intents. It is valid while the handler runs.
type Tx[I any] struct {
	o     *Outbox[I]
	tx    *projection.Tx[string, record[I]]
	event eventlog.Event // that is handled, or
	table string         // whose change is,
	// rowKey being the token of the changed key.
	rowKey string
	key    string
	cause  projection.Cause
	err    error
}

// Want states an intent. The name tells it from others that are stated for the
// same event; it may be empty for one. The effect's ID is made of the event's
// identity and the name: the same whenever and wherever the event is handled.
func (t *Tx[I]) Want(name string, intent I) { t.WantAt(name, time.Time{}, intent) }

// WantAt is Want for an effect that isn't carried out before a time, such as
// e.Time.Add(time.Hour): a durable timer. Take the time from the event, and
// never from a clock.
func (t *Tx[I]) WantAt(name string, notBefore time.Time, intent I) {
	id, later, err := t.ids(name)
	if err != nil {
		t.err = err
		return
	}
	r, _ := t.tx.Get(id)
	switch {
	case r.Stated:
		t.err = fmt.Errorf("effect: %w: two intents %q for one event: give them names", ErrInvalid, name)
		return
	case r.Status == ended:
		t.tx.Delete(id)
		return
	}
	r.Intent, r.Stated, r.Key, r.NotBefore = intent, true, t.key, notBefore
	r.Feed, r.Seq, r.Time = t.cause.Feed, t.cause.Seq, t.cause.Time
	t.tx.Put(id, r)
	if later != "" {
		t.o.renames[id] = later
	}
	if r.Last == 0 {
		t.o.note(id, t.cause)
	}
}

// ids is an intent's ID, and the one that it may get later (forms.go).
func (t *Tx[I]) ids(name string) (id, later string, err error) {
	f, err := t.o.formsNow(func() record[I] { return t.tx.Value(markKey) })
	switch {
	case err != nil || !f.first(t.cause.Feed, t.cause.Seq, t.cause.Time):
		return t.id(name), "", err
	case f.known:
		return t.firstID(name), "", nil
	}
	return t.firstID(name), t.id(name), nil
}

// On lets events of a type state effects. For fn, the duties of a handler
// hold (projection.On); it carries nothing out.
func On[I, D any](o *Outbox[I], feed *eventlog.Feed, fn func(tx *Tx[I], e eventlog.Event, d D) error) {
	o.Projection = o.table
	if fn == nil {
		projection.On[string, record[I], D](o.table, feed, nil)
		return
	}
	projection.On(o.table, feed, func(tx *projection.Tx[string, record[I]], e eventlog.Event, d D) error {
		o.tx = Tx[I]{o: o, tx: tx, event: e, key: e.Key, cause: projection.Cause{Feed: e.Feed, Seq: e.Seq, Time: e.Time}}
		return errors.Join(fn(&o.tx, e, d), o.tx.err)
	})
}

// OnChange lets changes of a table state effects: such as that a balance has
// fallen below a limit. The names of intents are the change's own; other keys
// that the same commit changed have theirs.
func OnChange[I any, K comparable, V any](o *Outbox[I], src projection.Relation[K, V], fn func(tx *Tx[I], c projection.Change[K, V]) error) {
	o.Projection = o.table
	if fn == nil {
		projection.OnChange[string, record[I], K, V](o.table, src, nil)
		return
	}
	projection.OnChange(o.table, src, func(tx *projection.Tx[string, record[I]], c projection.Change[K, V]) error {
		if c.Cause.Rebuild() {
			return nil // nothing has happened
		}
		key, err := keyToken(c.Key)
		if err != nil {
			return fmt.Errorf("effect: key %.200q: %w", fmt.Sprint(c.Key), err)
		}
		o.tx = Tx[I]{o: o, tx: tx, table: src.Name(), rowKey: key, key: c.Cause.Key, cause: c.Cause}
		return errors.Join(fn(&o.tx, c), o.tx.err)
	})
}
