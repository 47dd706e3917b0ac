package eventlog

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/nats-io/nats.go"
)

// ErrPredecessor: an earlier append of the same Ordered handle to the key
// failed, or its outcome isn't known. Nothing of this one was sent.
var ErrPredecessor = errors.New("an earlier append to the key failed")

// PredecessorError is an ErrPredecessor. Err is why the earlier one failed.
type PredecessorError struct {
	Feed string
	Key  string
	ID   string // of the one that failed
	Err  error
}

func (e *PredecessorError) Error() string {
	return fmt.Sprintf("eventlog: append to %s/%.200q: not sent, since %q, handed over before, failed: %v: look into that, then call Ordered.Resume", e.Feed, e.Key, e.ID, e.Err)
}

func (e *PredecessorError) Unwrap() []error { return []error{ErrPredecessor, e.Err} }

// ExpectPrevious appends only where the key is as this Ordered handle's last
// append to it left it: so a pipeline of appends to one key is as safe as if
// each had waited for the one before. It is for Ordered handles, behind an
// append to the key that expected something else.
var ExpectPrevious = Expectation{exact: true, previous: true}

// Ordered is a handle through which the appends to one key take effect in
// the order in which they were handed over, or not at all: one is on its way
// at a time, and when it fails, or its outcome stays unknown, those behind it
// fail with ErrPredecessor, until Resume. Between keys there is no order, and
// any number of keys are under way at once.
//
// A Feed's own AppendAsync is faster for many appends to one key, and keeps
// their order too unless one of them has to be sent again or is refused.
//
// An Ordered is safe for concurrent use; the order is that of the calls. It
// remembers each key that it has appended to, some 100 bytes.
type Ordered struct {
	f     *Feed
	slots chan struct{} // bounds what waits

	mu   sync.Mutex
	keys map[string]*orderedKey
}

type orderedKey struct {
	queue  []*Pending
	served bool   // a goroutine is at it
	last   uint64 // sequence of the handle's last append, 0 for none
	failed *PredecessorError
}

// Ordered makes a handle. It needs no closing.
func (f *Feed) Ordered() *Ordered {
	return &Ordered{f: f, slots: make(chan struct{}, f.log.opts.MaxInFlight), keys: make(map[string]*orderedKey)}
}

// Append is Feed.Append in the handle's order.
func (o *Ordered) Append(ctx context.Context, key string, expect Expectation, events ...any) (Position, error) {
	p, err := o.AppendAsync(ctx, Draft{Key: key, Expect: expect, Events: events})
	if err != nil {
		return Position{}, err
	}
	return p.Wait(ctx)
}

// AppendAsync is Feed.AppendAsync in the handle's order.
func (o *Ordered) AppendAsync(ctx context.Context, d Draft) (*Pending, error) {
	p := newPending(o.f)
	expect := d.Expect
	if expect.previous {
		d.Expect = ExpectAny // it is set when its turn comes
	}
	if err := o.f.prepare(&p.pr, d); err != nil {
		return nil, err
	}
	p.pr.draft.Expect = expect
	select {
	case o.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("eventlog: append to %s/%.200q: not sent, %d are waiting: %w", o.f.name, d.Key, cap(o.slots), context.Cause(ctx))
	case <-o.f.closing:
		return nil, fmt.Errorf("eventlog: append to %s/%.200q: %w", o.f.name, d.Key, ErrClosed)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	k := o.keys[d.Key]
	if k == nil {
		k = &orderedKey{}
		o.keys[d.Key] = k
	}
	if k.failed != nil {
		<-o.slots
		return nil, k.failed
	}
	k.queue = append(k.queue, p)
	if !k.served {
		k.served = true
		go o.serve(k)
	}
	return p, nil
}

// Resume lets a key be appended to again after a failure, which it returns;
// nil where there was none. Where the failed one was ambiguous, it may still
// take effect.
func (o *Ordered) Resume(key string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	k := o.keys[key]
	if k == nil || k.failed == nil {
		return nil
	}
	err := k.failed.Err
	k.failed, k.last = nil, 0
	return err
}

// serve sends a key's appends one after another, until none waits.
func (o *Ordered) serve(k *orderedKey) {
	for {
		o.mu.Lock()
		if len(k.queue) == 0 {
			k.queue, k.served = nil, false
			o.mu.Unlock()
			return
		}
		p, failed, last := k.queue[0], k.failed, k.last
		k.queue = k.queue[1:]
		o.mu.Unlock()
		var pos Position
		var err error
		if failed != nil {
			err = failed
		} else {
			pos, err = o.send(p, last)
		}
		o.mu.Lock()
		switch {
		case err == nil:
			k.last = pos.Seq
		case k.failed == nil:
			k.failed = &PredecessorError{Feed: o.f.name, Key: p.pr.draft.Key, ID: p.pr.id, Err: err}
		}
		o.mu.Unlock()
		p.finish(pos, err)
		<-o.slots
	}
}

// send gives one append its outcome.
func (o *Ordered) send(p *Pending, last uint64) (Position, error) {
	inner := newPending(o.f)
	inner.pr = p.pr
	if p.pr.draft.Expect.previous {
		if last == 0 {
			return Position{}, fmt.Errorf("eventlog: append to %s/%.200q: %w: ExpectPrevious without a previous append of this handle", o.f.name, p.pr.draft.Key, ErrInvalid)
		}
		inner.pr.msg = p.pr.msg.with(nats.ExpectedLastSubjSeqHdr, strconv.FormatUint(last, 10))
		inner.pr.draft.Expect = ExpectSeq(last)
	}
	if err := o.f.start(context.Background(), inner); err != nil {
		return Position{}, err
	}
	<-inner.done // it has a deadline of its own
	return inner.pos, inner.err
}
