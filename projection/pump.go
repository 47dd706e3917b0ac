package projection

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/timeframe"
)

// arrival is what a feed's reader hands to the unit, which answers on taken
// when it doesn't need the batch any more.
type arrival struct {
	feed  string
	batch []eventlog.Commit     // may be empty: markers of tags aren't commits
	at    uint64                // how far the feed was read with it
	print timeframe.Fingerprint // of the message there
	err   error
	taken chan struct{} // has room for one answer
}

// pump reads a feed, as from says after a sequence, and hands its batches over. A server that is away is
// waited for, with exponential backoff; nothing is skipped. A batch is lent by
// the reader, which is closed when the batch was taken, or over is closed: when
// the unit looks at none any more. That ctx has ended doesn't tell that.
func (u *unit) pump(ctx context.Context, over <-chan struct{}, f *eventlog.Feed, after uint64, from eventlog.ReadOption, until uint64, out chan<- arrival) {
	const first, longest = 50 * time.Millisecond, 5 * time.Second
	taken := make(chan struct{}, 1)
	wait := first
	for ctx.Err() == nil {
		err := func() error {
			r, err := f.NewReader(ctx, from, eventlog.Progress(), eventlog.Unreadable(), following(until))
			if err != nil {
				return err
			}
			defer r.Close()
			for {
				batch, err := r.Next(ctx)
				if err != nil {
					return err
				}
				if batch == nil {
					if after < until {
						return fmt.Errorf("projection: feed %q ends at %d, and %d was there: %w", f.Name(), after, until, eventlog.ErrLostTail)
					}
					return nil
				}
				at, print, ok := r.At() // a follower has read what it is at
				select {
				case out <- arrival{feed: f.Name(), batch: batch, at: at, print: print, taken: taken}:
				case <-ctx.Done():
					return ctx.Err()
				}
				if after, from = at, eventlog.After(at); ok {
					from = eventlog.AfterMessage(timeframe.Anchor{Seq: at, Print: print})
				}
				select { // it may be held for long
				case <-taken:
				case <-over:
					return ctx.Err()
				}
				wait = first
			}
		}()
		switch {
		case ctx.Err() != nil || err == nil:
			return
		case errors.Is(err, eventlog.ErrUnavailable):
			u.rt.cfg.Logger.Warn().Err(err).Str("unit", u.name).Str("feed", f.Name()).Msg("projection: reading failed, trying again")
			select {
			case <-time.After(wait):
			case <-ctx.Done():
			}
			wait = min(2*wait, longest)
		default:
			select {
			case out <- arrival{feed: f.Name(), err: err}:
			case <-ctx.Done():
			}
			return
		}
	}
}

// readFrom is where a feed is read from: after the message that the unit's state
// ends with, where that is known. The unit's goroutine calls it.
func (u *unit) readFrom(feed string, after uint64) eventlog.ReadOption {
	if p := u.prints[feed]; p != (timeframe.Fingerprint{}) && u.cursor[feed] == after {
		return eventlog.AfterMessage(timeframe.Anchor{Seq: after, Print: p})
	}
	if a := u.lineage[feed].Anchors; len(a) > 0 && a[0].Seq == after {
		return eventlog.AfterMessage(a[0])
	}
	return eventlog.After(after)
}

// following makes a reader end there, or follow where it has no end.
func following(until uint64) eventlog.ReadOption {
	if until == math.MaxUint64 {
		return eventlog.Follow()
	}
	return eventlog.Until(until)
}
