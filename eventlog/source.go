package eventlog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// source delivers the messages of a feed, from behind a sequence on, in order
// and each once: it starts anew behind the last one where what it reads from
// breaks. It knows nothing of commits. Whether messages are missing between
// two that it delivers is for the Reader to find out.
//
// Which one it is, is decided by what is to be read:
//
//	all, up to an end   openLong: bulk for a long distance, else tail
//	all, and on         follower: what the hub keeps; before that openLong, or
//	                    history where too many others are catching up
//	a key, up to an end openKey: memory, block files, history
//	a key, and on       follower: history, and then what the hub keeps
//
// A history that can't be asked for, and a key of an adopted feed, which may
// have wildcards, are read by a tail.
//
// Its methods are called by one goroutine at a time.
type source interface {
	// next waits for messages and returns those that have come, at least one;
	// or none, and no error, when the server has nothing more for now. They
	// are lent until the next call. The context's error doesn't end the
	// source; every other one does.
	next(ctx context.Context) ([]message, error)
	// close ends it and releases what it has. It is called once.
	close()
}

// markedSource knows which message it begins behind, or delivered last.
type markedSource interface {
	source
	mark() mark // none where it isn't known
}

// untilAvailable tries until the server is there again, at once when the
// connection is back. Other errors than ErrUnavailable end it.
func (f *Feed) untilAvailable(ctx context.Context, try func() error) error {
	back := f.log.nc.StatusChanged(nats.CONNECTED)
	defer f.log.nc.RemoveStatusListener(back)
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		err := try()
		if err == nil || !errors.Is(err, ErrUnavailable) {
			return err
		}
		select {
		case <-time.After(wait):
		case _, open := <-back:
			if !open {
				return f.closedRead()
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-f.closing:
			return f.closedRead()
		}
	}
}

func (f *Feed) closedRead() error {
	return fmt.Errorf("eventlog: read of feed %q: %w", f.name, ErrClosed)
}

// recognise makes sure that the log still has a message that was read before.
func (f *Feed) recognise(ctx context.Context, known mark, st State) error {
	if known.seq < max(st.First, 1) {
		return nil
	}
	m, ok, err := f.get(ctx, getRequest{Seq: known.seq})
	if err != nil || !ok || markOf(&m) == known {
		return err
	}
	return f.lossOr(ctx, &RangeError{Feed: f.name, Want: known.seq + 1, First: st.First, Last: st.Last, class: ErrLostTail, reused: true})
}
