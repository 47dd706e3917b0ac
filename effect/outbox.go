package effect

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/projection"
)

// Outbox is a projection whose rows are effects that are wanted and not yet
// ended. Give it to projection.Start like a table, and carry the effects out
// by Run. It is safe for concurrent use.
type Outbox[I any] struct {
	projection.Projection // for Start

	name     string
	log      *eventlog.Log
	version  uint64
	table    *projection.Table[string, record[I]]
	outcomes *eventlog.Feed
	tx       Tx[I]

	mu     sync.Mutex
	stated map[string]map[string]uint64 // see note
}

// New makes an outbox of intents of type I, which must be storable in
// msgpack. The name is the projection's; the feed of outcomes is called
// <name>-outcomes and is made where it isn't there. Raise the version when the
// handlers state other intents for the same events.
//
// Errors: ErrInvalid; those of eventlog.Log.Feed.
func New[I any](ctx context.Context, log *eventlog.Log, name string, version uint64) (*Outbox[I], error) {
	if log == nil {
		return nil, fmt.Errorf("effect: %w: nil log", ErrInvalid)
	}
	if err := storable[I](name); err != nil {
		return nil, err
	}
	feed, err := log.Feed(ctx, name+"-outcomes", outcomeTypes()...)
	if err != nil {
		return nil, fmt.Errorf("effect: outbox %q: %w", name, err)
	}
	return newOutbox[I](log, feed, name, version), nil
}

func newOutbox[I any](log *eventlog.Log, outcomes *eventlog.Feed, name string, version uint64) *Outbox[I] {
	o := &Outbox[I]{name: name, log: log, version: version, outcomes: outcomes}
	o.table = projection.NewTable[string, record[I]](name, projection.Version(version))
	o.Projection = o.table
	o.follow()
	return o
}

// storable refuses intents that a snapshot would lose.
func storable[I any](name string) error {
	switch t := reflect.TypeFor[I](); t.Kind() {
	case reflect.Interface, reflect.Chan, reflect.Func, reflect.UnsafePointer, reflect.Uintptr:
		return fmt.Errorf("effect: outbox %q: %w: intents of type %s can't be stored: use a struct", name, ErrInvalid, t)
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
	at := o.table.At().Map() // before this commit
	delete(at, o.outcomes.Name())
	if at[cause.Feed] = cause.Seq; len(at) < 2 {
		return // the row's own position says it all
	}
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
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.stated, id)
}

// Tx is how a handler states intents. It is valid while the handler runs.
type Tx[I any] struct {
	o     *Outbox[I]
	tx    *projection.Tx[string, record[I]]
	id    string // what the intents' IDs begin with
	key   string
	cause projection.Cause
	err   error
}

// Want states an intent. The name tells it from others that are stated for the
// same event; it may be empty for one. The effect's ID is made of the event's
// position and the name: the same whenever and wherever the event is handled.
func (t *Tx[I]) Want(name string, intent I) { t.WantAt(name, time.Time{}, intent) }

// WantAt is Want for an effect that isn't carried out before a time, such as
// e.Time.Add(time.Hour): a durable timer. Take the time from the event, and
// never from a clock.
func (t *Tx[I]) WantAt(name string, notBefore time.Time, intent I) {
	id := t.id
	if name != "" {
		id += "/" + token(name)
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
	if r.Last == 0 {
		t.o.note(id, t.cause)
	}
}

// token makes a part of an ID that headers and subjects can hold; different
// ones of different texts.
func token(s string) string {
	if t := url.PathEscape(s); len(t) <= 48 && !strings.HasPrefix(t, "sha-") {
		return t
	}
	h := sha256.Sum256([]byte(s))
	return "sha-" + hex.EncodeToString(h[:16])
}

// keyToken makes a part of an ID of a table's key: of its text, without its
// methods, where it is one or a number, else of what is stored of it.
func keyToken[K comparable](key K) (string, error) {
	switch v := reflect.ValueOf(key); {
	case v.Kind() == reflect.String:
		return token(v.String()), nil
	case v.CanInt():
		return strconv.FormatInt(v.Int(), 10), nil
	case v.CanUint():
		return strconv.FormatUint(v.Uint(), 10), nil
	}
	b, err := eventlog.MsgPack.Append(nil, &key)
	return token(string(b)), err
}

// eventID is what the IDs of an event's intents begin with. It doesn't change
// when the event's neighbours in its commit get upcasters.
func eventID(e eventlog.Event) string {
	index, sub := e.Stored()
	id := fmt.Sprintf("%s@%d.%d", e.Feed, e.Seq, index)
	if sub > 0 {
		id += fmt.Sprintf("~%d", sub)
	}
	return id
}

// On lets events of a type state effects. For fn, the duties of a handler
// hold (projection.On); it carries nothing out.
func On[I, D any](o *Outbox[I], feed *eventlog.Feed, fn func(tx *Tx[I], e eventlog.Event, d D) error) {
	if fn == nil {
		projection.On[string, record[I], D](o.table, feed, nil)
		return
	}
	projection.On(o.table, feed, func(tx *projection.Tx[string, record[I]], e eventlog.Event, d D) error {
		o.tx = Tx[I]{o: o, tx: tx, id: eventID(e), key: e.Key, cause: projection.Cause{Feed: e.Feed, Seq: e.Seq, Time: e.Time}}
		return errors.Join(fn(&o.tx, e, d), o.tx.err)
	})
}

// OnChange lets changes of a table state effects: such as that a balance has
// fallen below a limit. The names of intents are the change's own; other keys
// that the same commit changed have theirs.
func OnChange[I any, K comparable, V any](o *Outbox[I], src projection.Relation[K, V], fn func(tx *Tx[I], c projection.Change[K, V]) error) {
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
			return fmt.Errorf("effect: key %+v: %w", c.Key, err)
		}
		o.tx = Tx[I]{o: o, tx: tx, id: fmt.Sprintf("%s@%d/%s/%s", c.Cause.Feed, c.Cause.Seq, src.Name(), key), key: c.Cause.Key, cause: c.Cause}
		return errors.Join(fn(&o.tx, c), o.tx.err)
	})
}
