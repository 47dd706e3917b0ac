package eventlog

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// Trim removes all commits below a sequence; the one there, and all behind it,
// stay. It is for who knows that nobody needs what goes, as
// projection.Runtime.Compact does; docs/trimming.md says what it takes away
// beside the events: appends are judged by what is left, so ExpectNew holds
// for a key whose last commit is gone, a guard on a tag sees no commits that
// are gone, and an ID of a commit that is gone is appended again.
//
// A feed that begins there already, or later, is left as it is, so trimming
// again after an error is harmless. It returns the feed's state afterwards.
//
// Errors: ErrInvalid (0, or beyond the last commit: one stays, by which the
// log is recognised); ErrMissing, ErrRecreated; ErrRefused where the stream
// denies it (Drift names deny_purge); ErrDenied, ErrUnavailable, ErrClosed. It
// may have happened in part after ErrUnavailable, from the oldest on.
func (f *Feed) Trim(ctx context.Context, from uint64) (State, error) {
	if err := f.online(); err != nil {
		return State{}, err
	}
	if f.closed.Load() {
		return State{}, fmt.Errorf("eventlog: trim of feed %q: %w", f.name, ErrClosed)
	}
	st, err := f.State(ctx)
	if barred := f.keeper.refusal(); barred != nil {
		return st, barred
	}
	if err != nil {
		return st, err
	}
	if from == 0 || from > st.Last {
		return st, fmt.Errorf("eventlog: trim of feed %q to %d: %w: it holds %d to %d, and the last one stays", f.name, from, ErrInvalid, st.First, st.Last)
	}
	if st.stored >= from {
		return st, nil
	}
	var resp struct {
		Error *jetstream.APIError `json:"error"`
	}
	if err := f.ask(ctx, "STREAM.PURGE."+f.stream, map[string]uint64{"seq": from}, &resp); err != nil {
		return st, f.serverError(ctx, "trim", err)
	}
	if resp.Error != nil {
		return st, f.serverError(ctx, "trim", resp.Error)
	}
	before := st
	if st, err = f.State(ctx); err != nil {
		return st, err
	}
	if barred := f.keeper.refusal(); barred != nil {
		return st, barred // deleted and created again at this moment
	}
	if st.stored < from || st.Last < before.Last {
		return st, fmt.Errorf("eventlog: trim of feed %q to %d: %w: it holds %d to %d now", f.name, from, ErrUnavailable, st.First, st.Last)
	}
	return st, nil
}
