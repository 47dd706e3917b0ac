package command

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/panics"
)

// State is what decisions are based on: a *projection.Table[string, V] or a
// *projection.Partitioned[V] with a row for each key of the feed.
//
// GetAt's value must include exactly the feed's commits up to seq, or be an
// error. WaitFor returns when GetAt includes a position.
type State[V any] interface {
	GetAt(key, feed string) (v V, ok bool, seq uint64, err error)
	WaitFor(ctx context.Context, at eventlog.Position) error
}

// Decider carries out commands: it reads a key's state, lets a function
// decide, and appends the events on the condition that the state is still the
// key's last. It is safe for concurrent use. One is enough for all kinds of
// commands of a feed; commands to one key through one Decider queue up and
// don't conflict.
type Decider[V any] struct {
	feed  *eventlog.Feed
	state State[V]
	keys  *keys
}

// New makes a decider of commands to a feed's keys, on the state of a table
// that derives from that feed.
func New[V any](feed *eventlog.Feed, state State[V]) (*Decider[V], error) {
	switch {
	case feed == nil:
		return nil, fmt.Errorf("command: %w: nil feed", ErrInvalid)
	case state == nil:
		return nil, fmt.Errorf("command: %w: feed %q: nil state", ErrInvalid, feed.Name())
	case feed.Adopted():
		return nil, fmt.Errorf("command: %w: feed %q: %w", ErrInvalid, feed.Name(), eventlog.ErrReadOnly)
	}
	return &Decider[V]{feed: feed, state: state, keys: newKeys(headsPerShard)}, nil
}

// Result is what a command came to.
type Result struct {
	// At is the commit with the command's events: wait for it to read them
	// from any projection. With None, it is how far the state had come.
	At eventlog.Position
	// None: there was nothing to do, and nothing was appended.
	None bool
	// Duplicate: the events were there before, of a command with the same ID.
	Duplicate bool
}

// Do carries out a command: decide takes the key's state, the zero V where
// there is none, and returns the events to append, or none, or the error with
// which the command is rejected. It may be called several times, so it must
// depend on nothing but the state and the command, and change nothing.
//
// What decide is given includes all events of the key, those of others too:
// an append on an older state is refused by the server, and the command is
// decided again; a rejection is checked against the key's last event before it
// is returned. Other keys and feeds that the state derives from may be older.
//
// Errors: *RejectedError; *ConflictError; *PanicError; ErrInvalid; those of
// eventlog.Feed.Append; a *projection.StoppedError, projection.ErrParked where
// the state lacks events of the key, and others of the state;
// and the context's: nothing was appended. An eventlog.ErrAmbiguous alone
// leaves that open: repeat the command with ID set to the ID that the
// *eventlog.AmbiguousError names.
func (d *Decider[V]) Do(ctx context.Context, key string, decide func(state V) ([]any, error), opts ...Option) (Result, error) {
	o, err := optionsOf(opts)
	if err != nil {
		return Result{}, err
	}
	if decide == nil {
		return Result{}, fmt.Errorf("command: %w: %s/%.200q: nothing that decides", ErrInvalid, d.feed.Name(), key)
	}
	t, err := d.keys.take(ctx, key)
	if err != nil {
		return Result{}, fmt.Errorf("command: %s/%.200q: not begun: %w", d.feed.Name(), key, err)
	}
	r, err := d.inTurn(ctx, t, decide, &o)
	if err == nil && o.applied {
		if err = d.state.WaitFor(ctx, r.At); err == nil {
			_, _, _, err = d.state.GetAt(key, d.feed.Name()) // else it may have been parked
		}
	}
	return r, err
}

// inTurn has the key's turn, and gives it on whatever happens.
func (d *Decider[V]) inTurn(ctx context.Context, t *turn, decide func(V) ([]any, error), o *options) (Result, error) {
	defer d.keys.give(t)
	return d.attempts(ctx, t, decide, o)
}

func (d *Decider[V]) attempts(ctx context.Context, t *turn, decide func(V) ([]any, error), o *options) (Result, error) {
	for n := 1; ; n++ {
		v, at, err := d.read(ctx, t)
		if err != nil {
			return Result{}, err
		}
		var events []any
		no := contain(func() (err error) {
			events, err = decide(v)
			return err
		})
		var last error // why it has to be decided again
		if no != nil || len(events) == 0 {
			r, again, err := d.settle(ctx, t, at, no, o)
			if !again {
				return r, err
			}
			last = err
		} else {
			draft, err := o.draft(t.key, t.head, events)
			if err != nil {
				return Result{}, err
			}
			pos, err := d.appendOn(ctx, t, at, draft)
			if err == nil {
				duplicate := pos.Seq <= t.head
				t.head, t.known = max(t.head, pos.Seq), true
				return Result{At: pos, Duplicate: duplicate}, nil
			}
			conflict, ok := errors.AsType[*eventlog.ConflictError](err)
			if !ok {
				t.known = false
				return Result{}, err
			}
			t.head, t.known, last = conflict.Actual, true, err
		}
		if n == o.attempts {
			return Result{}, &ConflictError{Feed: d.feed.Name(), Key: t.key, Attempts: n, Err: last}
		}
	}
}

// patience is how long the state may take to include what the key's head is
// thought to be, before the leader is asked whether it is.
const patience = time.Second

// read returns a state that includes the key's head, as far as that is known:
// t.head <= at. Whether it is the head is for the append to find out.
func (d *Decider[V]) read(ctx context.Context, t *turn) (v V, at uint64, err error) {
	for {
		v, ok, at, err := d.state.GetAt(t.key, d.feed.Name())
		if err != nil {
			return v, 0, err
		}
		switch {
		case t.known && t.head <= at:
			return v, at, nil
		case t.known:
			err = d.await(ctx, t)
		case !ok && at > 0:
			t.head, t.known = 0, true // if it isn't new, the append is refused
		default:
			err = d.ask(ctx, t)
		}
		if err != nil {
			return v, 0, err
		}
	}
}

// await waits for the state to include the key's head. A log that has lost its
// tail may never have it again.
func (d *Decider[V]) await(ctx context.Context, t *turn) error {
	short, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := d.state.WaitFor(short, eventlog.Position{Feed: d.feed.Name(), Seq: t.head})
	if err != nil && short.Err() != nil && ctx.Err() == nil {
		return d.ask(ctx, t)
	}
	return err
}

// ask asks the leader for the key's head.
func (d *Decider[V]) ask(ctx context.Context, t *turn) error {
	c, _, err := d.feed.Head(ctx, t.key)
	if err != nil {
		t.known = false
		return err
	}
	t.head, t.known = c.Seq, true
	return nil
}

// settle ends a command that appends nothing, where it was decided on the
// key's last state; else it is decided again.
func (d *Decider[V]) settle(ctx context.Context, t *turn, at uint64, no error, o *options) (r Result, again bool, err error) {
	if _, panicked := errors.AsType[*PanicError](no); panicked {
		return r, false, no
	}
	if err := d.ask(ctx, t); err != nil {
		return r, false, err
	}
	if t.head > at {
		return r, true, &eventlog.ConflictError{Feed: d.feed.Name(), Key: t.key, Expected: eventlog.ExpectSeq(at), Actual: t.head}
	}
	if o.id != "" {
		pos, ok, err := d.feed.Find(ctx, t.key, o.id, 0)
		if err != nil || ok {
			return Result{At: pos, Duplicate: ok}, false, err
		}
	}
	if no != nil {
		return r, false, &RejectedError{Feed: d.feed.Name(), Key: t.key, At: at, Err: no}
	}
	return Result{At: eventlog.Position{Feed: d.feed.Name(), Seq: at}, None: true}, false, nil
}

// resolveRounds bounds how often an append whose outcome isn't known is sent
// again; each takes as long as eventlog.Options.ResolveTimeout at most.
const resolveRounds = 3

// appendOn appends what was decided on a state that includes the feed up to at.
// Where the key's head was only guessed, or remembered from before others wrote,
// and is not beyond that, the decision was on the last state all the same: it is
// appended on the right head, which can be refused only for what came since.
func (d *Decider[V]) appendOn(ctx context.Context, t *turn, at uint64, draft eventlog.Draft) (eventlog.Position, error) {
	pos, err := d.append(ctx, t, draft)
	conflict, ok := errors.AsType[*eventlog.ConflictError](err)
	if !ok || conflict.Actual > at || conflict.Actual == t.head {
		return pos, err
	}
	t.head = conflict.Actual
	draft.Expect = eventlog.ExpectSeq(t.head)
	return d.append(ctx, t, draft)
}

// append appends, and finds out what became of it where that isn't known: what
// is sent again has the same identity and the same expectation, so it is
// found, or refused, or appended now.
func (d *Decider[V]) append(ctx context.Context, t *turn, draft eventlog.Draft) (eventlog.Position, error) {
	pos, err := d.feed.AppendDraft(ctx, draft)
	unknown, ok := errors.AsType[*eventlog.AmbiguousError](err)
	if !ok {
		return pos, err
	}
	if draft.ID == "" {
		draft.ID, draft.After = unknown.ID, t.head // it was made up behind that
	}
	for range resolveRounds {
		if ctx.Err() != nil {
			break
		}
		pos, again := d.feed.AppendDraft(ctx, draft)
		if again == nil || errors.Is(again, eventlog.ErrConflict) {
			return pos, again
		}
	}
	return eventlog.Position{}, err
}

// contain calls what the user gave; a panic is an error.
func contain(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &PanicError{Value: p, At: panics.Place(), Stack: string(debug.Stack())}
		}
	}()
	return f()
}
