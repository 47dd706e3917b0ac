package effect

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/projection"
)

// Offline makes an outbox without a log and without a server, for handlers
// that are tried: by package projectiontest, or a projection.Rehearsal. It
// can't be started, and Run fails with eventlog.ErrOffline. What becomes of its
// effects is said by commits of Outcomes, whose keys are the effects' IDs.
//
// Errors: ErrInvalid.
func Offline[I any](name string, version uint64) (*Outbox[I], error) {
	if err := comesBack[I](name); err != nil {
		return nil, err
	}
	feed, err := eventlog.Offline(name+"-outcomes", outcomeTypes()...)
	if err != nil {
		return nil, fmt.Errorf("effect: outbox %q: %w: %w", name, ErrInvalid, err)
	}
	o := newOutbox[I](nil, "offline", feed, name, version)
	o.forms.Store(&forms{known: true})
	return o, nil
}

// Stated lists the effects that a commit stated, or would state: of an
// Outcome of projection.Runtime.Preview, or of a Rehearsal. They are in the
// order of their IDs. An effect that has an end already isn't among them.
func (o *Outbox[I]) Stated(by *projection.Outcome) []Effect[I] {
	var out []Effect[I]
	for _, c := range o.table.ChangesIn(by) {
		if c.Has && c.New.Stated && !c.Old.Stated && c.New.Status == pending {
			out = append(out, effectOf(c.Key, &c.New))
		}
	}
	slices.SortFunc(out, inOrder[I])
	return out
}

// Due lists the effects that Run would carry out at a time, in the order of
// their events: those that are wanted, not before their NotBefore, and behind
// a failed attempt not before the backoff of these options.
//
// Errors: ErrInvalid, for the options.
func (o *Outbox[I]) Due(at time.Time, opts Options) ([]Effect[I], error) {
	opts, err := opts.plain()
	if err != nil {
		return nil, err
	}
	var out []Effect[I]
	for id, r := range o.table.All() {
		if r.Stated && r.Status == pending && !r.due(&opts).After(at) {
			out = append(out, effectOf(id, &r))
		}
	}
	slices.SortFunc(out, inOrder[I])
	return out, nil
}

// due is when an effect is to be attempted.
func (r *record[I]) due(opts *Options) time.Time {
	due := r.NotBefore
	if r.Attempts > 0 {
		if t := r.Since.Add(opts.wait(r.Attempts)); t.After(due) {
			return t
		}
	}
	return due
}

// Attempt carries an effect out once, as Run does, and returns the event that
// Run would append to Outcomes for it: a Done, a Failed or a GaveUp. It records
// nothing itself, so it is for tests of do.
//
// Errors: ErrInvalid, for the options.
func Attempt[I any](ctx context.Context, e Effect[I], do func(ctx context.Context, e Effect[I]) error, opts Options) (outcome any, err error) {
	if do == nil {
		return nil, fmt.Errorf("effect: %w: nothing that carries out", ErrInvalid)
	}
	if opts, err = opts.plain(); err != nil {
		return nil, err
	}
	return outcomeOf(e.Attempt, carry(ctx, e, do, opts.Timeout), opts.Attempts), nil
}
