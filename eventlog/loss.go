package eventlog

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidemark-es/tidemark/internal/highwater"
)

// LossError is an ErrLostTail of a whole feed: messages that the log surely had
// aren't in it any more. They were on the disk (an embedded log), or
// acknowledged by the servers, so neither the end of a process nor a power
// failure explains that: files were damaged, set back to an older copy, or
// taken away.
//
// The feed is open, so that it can be looked into and repaired, and it is good
// for nothing else: appends, readers, lookups of keys and the start of a
// projection are refused with this error. There are two ways on: a backup that
// has the messages is restored (backup.Restore); or the loss is accepted, once,
// by Feed.AcceptLoss with exactly this range.
type LossError struct {
	Feed   string
	Stream string
	// From and To are the sequences that are lost, both inclusive. Where the
	// log goes on after From, other messages have those numbers by now.
	From, To uint64
	Last     uint64 // where the log ends
	Reason   string
}

func (e *LossError) Error() string {
	return fmt.Sprintf("eventlog: feed %q: %v: messages %d to %d of stream %s surely were in it: %s: restore a backup that has them, or give them up by Feed.AcceptLoss(ctx, %d, %d)",
		e.Feed, ErrLostTail, e.From, e.To, e.Stream, e.Reason, e.From, e.To)
}

func (e *LossError) Unwrap() error { return ErrLostTail }

// AcceptLoss gives up messages that the log surely had, and lost: exactly those
// from one sequence to the other, both inclusive, as the LossError names them.
// From then on the log counts as it is, and the feed can be used. It is for an
// operator who has decided so, about this loss: another one is a LossError
// again. What was derived from the lost messages is refused by its anchors, and
// derived anew. Where nothing is lost, nothing is done.
//
// Errors: ErrInvalid where another range is lost; those of State; and those of
// writing the mark, after which nothing was accepted.
func (f *Feed) AcceptLoss(ctx context.Context, from, to uint64) error {
	if err := f.online(); err != nil {
		return err
	}
	w := f.water
	if w.store == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	j, o, err := w.judge(ctx)
	switch {
	case err != nil:
		return err
	case j.Verdict != highwater.Lost:
		w.lost.Store(nil)
		return nil
	case j.From != from || j.To != to:
		return fmt.Errorf("eventlog: accept the loss of %d to %d: %w: that isn't what is lost: %w", from, to, ErrInvalid, w.loss(j, o))
	}
	return w.accept(ctx, j, o)
}

// intact is the LossError of a feed whose log lost what it surely had, as far as
// that is known: it asks nothing.
func (f *Feed) intact() error {
	if loss := f.water.lost.Load(); loss != nil {
		return loss
	}
	return nil
}

// lossOr is for a reader that found the log shorter than it was, or another: it
// is a LossError where the mark says that too, and else what the reader says.
func (f *Feed) lossOr(ctx context.Context, found *RangeError) error {
	if loss, ok := errors.AsType[*LossError](f.water.check(ctx, false)); ok {
		return loss
	}
	return found
}

// Lost is the loss that is known of the feed's log, a *LossError, or nil. It
// asks nothing: the log is compared when the feed is opened, after each
// reconnect, every 10 s, and by Check.
func (f *Feed) Lost() error { return f.intact() }
