package process

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"time"

	"github.com/tidemark-es/tidemark/effect"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/storable"
	"github.com/tidemark-es/tidemark/projection"
	"github.com/tidemark-es/tidemark/timeframe"
)

// ErrInvalid: the process manager or what a handler wants is wrong.
var ErrInvalid = errors.New("invalid process")

// Fired is the event of a timer, in the feed <name>-timers.
type Fired struct{ Name string }

// Manager is a state machine for each key: it reacts to events by a new state,
// by appending events, and by setting timers. Give it to projection.Start, and
// let Run carry its reactions out. It is safe for concurrent use.
type Manager[S any] struct {
	projection.Projection // for Start

	name   string
	states *projection.Table[string, row[S]]
	outbox *effect.Outbox[action]
	timers *eventlog.Feed
	feeds  map[string]*eventlog.Feed // that it appends to
}

// row is a key's state and what its last step wants done.
type row[S any] struct {
	State S
	Feed  string // of the step's commit
	Seq   uint64
	Out   []action
	Ended bool
	// Seen is what the process has handled since it began, and what the writers
	// of that had seen: what its reactions follow from.
	Seen timeframe.Timeframe
}

// action is a commit that is wanted, or a timer.
type action struct {
	Name   string
	Feed   string
	Key    string
	Events []eventlog.Encoded
	At     time.Time // of a timer
	Seen   timeframe.Timeframe
}

// New makes a process manager. The name is its projection's. Its states must come
// back from msgpack as they were (docs/types.md). The feeds are
// those that it appends to. Raise the version when the handlers come to other
// states or reactions (see effect for what that means for those of the past).
//
// Errors: ErrInvalid; *eventlog.LossError (ErrLostTail) where the log of one of the
// feeds lost its tail, and nobody has accepted that yet; those of eventlog.Log.Feed.
func New[S any](ctx context.Context, log *eventlog.Log, name string, version uint64, feeds ...*eventlog.Feed) (*Manager[S], error) {
	if err := comesBack[S](name); err != nil {
		return nil, err
	}
	outbox, err := effect.New[action](ctx, log, name+"-reactions", version)
	if err != nil {
		return nil, fmt.Errorf("process %q: %w", name, err)
	}
	timers, err := log.Feed(ctx, name+"-timers", timerTypes()...)
	if err != nil {
		return nil, fmt.Errorf("process %q: timers: %w", name, err)
	}
	m := newManager[S](outbox, timers, name, version)
	for _, f := range feeds {
		switch {
		case f == nil:
			return nil, fmt.Errorf("process %q: %w: nil feed", name, ErrInvalid)
		case f.Log() != log || f.Adopted():
			return nil, fmt.Errorf("process %q: %w: feed %q is of another log, or read-only", name, ErrInvalid, f.Name())
		}
		if err := f.Lost(); err != nil { // else each reaction would fail
			return nil, fmt.Errorf("process %q: %w", name, err)
		}
		m.feeds[f.Name()] = f
	}
	return m, nil
}

// comesBack refuses states that a snapshot would lose.
func comesBack[S any](name string) error {
	if lost := storable.Check(reflect.TypeFor[S](), storable.MsgPack).Problems; len(lost) > 0 {
		return fmt.Errorf("process %q: %w: states: %s", name, ErrInvalid, storable.List(lost))
	}
	return nil
}

func timerTypes() []eventlog.FeedOption { return []eventlog.FeedOption{eventlog.Type[Fired]("fired")} }

func newManager[S any](outbox *effect.Outbox[action], timers *eventlog.Feed, name string, version uint64) *Manager[S] {
	m := &Manager[S]{name: name, outbox: outbox, timers: timers, feeds: map[string]*eventlog.Feed{timers.Name(): timers}}
	m.states = projection.NewTable[string, row[S]](name, projection.Version(version))
	m.Projection = projection.NewUnit(name, m.states, outbox)
	effect.OnChange(outbox, m.states, func(tx *effect.Tx[action], c projection.Change[string, row[S]]) error {
		for _, a := range c.New.Out { // of a row that goes there are none
			tx.WantAt(a.Name, a.At, a)
		}
		return nil
	})
	return m
}

// State is a key's state; ok is false where there is none, or it has ended.
func (m *Manager[S]) State(key string) (s S, ok bool) {
	r, ok := m.states.Get(key)
	if !ok || r.Ended {
		return s, false
	}
	return r.State, true
}

// Timers is the feed of timers that have fired.
func (m *Manager[S]) Timers() *eventlog.Feed { return m.timers }

// On lets a manager react to events of a type. keyOf says which of its keys an
// event is for; nil is the event's own key, and "" none. For both functions,
// the duties of a handler hold (projection.On): they carry nothing out.
func On[S, D any](m *Manager[S], feed *eventlog.Feed, keyOf func(e eventlog.Event, d D) string, fn func(do *Step[S], e eventlog.Event, d D) error) {
	if fn == nil {
		projection.On[string, row[S], D](m.states, feed, nil)
		return
	}
	projection.On(m.states, feed, func(tx *projection.Tx[string, row[S]], e eventlog.Event, d D) error {
		key := e.Key
		if keyOf != nil {
			key = keyOf(e, d)
		}
		if key == "" {
			return nil
		}
		s, err := begin(m, tx, key, e)
		if err != nil {
			return err
		}
		return s.end(fn(s, e, d))
	})
}

// OnTimer lets a manager react to its timers. One that was set before the
// state moved on fires all the same: look at the state.
func OnTimer[S any](m *Manager[S], fn func(do *Step[S], e eventlog.Event, name string) error) {
	if fn == nil {
		projection.On[string, row[S], Fired](m.states, m.timers, nil)
		return
	}
	On(m, m.timers, nil, func(do *Step[S], e eventlog.Event, f Fired) error { return fn(do, e, f.Name) })
}

// Step is one reaction. It is valid while the handler runs.
type Step[S any] struct {
	m   *Manager[S]
	tx  *projection.Tx[string, row[S]]
	key string
	e   eventlog.Event
	row row[S]
	err error
}

func begin[S any](m *Manager[S], tx *projection.Tx[string, row[S]], key string, e eventlog.Event) (*Step[S], error) {
	old, ok := tx.Get(key)
	s := &Step[S]{m: m, tx: tx, key: key, e: e, row: old}
	if s.row.Feed != e.Feed || s.row.Seq != e.Seq { // else another event of the same commit
		s.row.Feed, s.row.Seq, s.row.Out = e.Feed, e.Seq, nil
	}
	s.row.Out = append([]action(nil), s.row.Out...) // values are replaced
	if !ok {
		s.row.Ended = true // until the handler sets a state
	}
	return s, s.see()
}

// see adds the event to what the process has seen.
func (s *Step[S]) see() error {
	theirs, err := s.e.Seen()
	if err != nil {
		return err
	}
	this, err := timeframe.Of(timeframe.Entry{Feed: s.e.Feed, Seq: s.e.Seq})
	if err != nil {
		return err
	}
	s.row.Seen = timeframe.Merge(s.row.Seen, timeframe.Merge(theirs, this))
	return nil
}

func (s *Step[S]) end(err error) error {
	if err = errors.Join(err, s.err); err != nil {
		return err
	}
	if s.row.Ended && len(s.row.Out) == 0 {
		s.tx.Delete(s.key) // nor is one made for an event that nothing came of
		return nil
	}
	s.tx.Put(s.key, s.row)
	return nil
}

// Key is the process's key.
func (s *Step[S]) Key() string { return s.key }

// State is the key's state, the zero S where there is none.
func (s *Step[S]) State() S { return s.row.State }

// Set sets the state. It is replaced, never changed in place.
func (s *Step[S]) Set(state S) { s.row.State, s.row.Ended = state, false }

// End forgets the state, behind what this step wants.
func (s *Step[S]) End() {
	var zero S
	s.row.State, s.row.Ended = zero, true
}

// Append wants events to be appended to a key of a feed that New was given, as
// one commit, once. Commits of one step, and those of several steps, are
// appended in no particular order. Each says what the process had handled until
// then (eventlog.Draft.Seen), so that who reads it together with that, this
// manager included, handles it behind that, live and at every replay.
func (s *Step[S]) Append(feed *eventlog.Feed, key string, events ...any) {
	var problem string
	switch {
	case feed == nil:
		problem = "append to a nil feed"
	case s.m.feeds[feed.Name()] != feed:
		problem = fmt.Sprintf("append to feed %q, which New wasn't given: name it there", feed.Name())
	case len(events) == 0:
		problem = fmt.Sprintf("append of no events to %s/%.200q", feed.Name(), key)
	}
	if problem != "" {
		s.err = errors.Join(s.err, fmt.Errorf("process %q: %w: %s", s.m.name, ErrInvalid, problem))
		return
	}
	a := action{Feed: feed.Name(), Key: key}
	for _, v := range events {
		e, err := feed.EncodeEvent(v)
		if err != nil {
			s.err = errors.Join(s.err, err)
			return
		}
		a.Events = append(a.Events, e)
	}
	s.want(a)
}

// After sets a timer of the key, which fires so long after the event, once. It
// is as durable as the log: one that is due while nothing runs fires then.
func (s *Step[S]) After(d time.Duration, name string) {
	e, err := s.m.timers.EncodeEvent(Fired{Name: name})
	if err != nil {
		s.err = errors.Join(s.err, err)
		return
	}
	s.want(action{Feed: s.m.timers.Name(), Key: s.key, Events: []eventlog.Encoded{e}, At: s.e.Time.Add(d)})
}

// want numbers the reactions of a commit to a key.
func (s *Step[S]) want(a action) {
	a.Name, a.Seen = strconv.Itoa(len(s.row.Out)), s.row.Seen
	s.row.Out = append(s.row.Out, a)
}
