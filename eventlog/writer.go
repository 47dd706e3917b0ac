package eventlog

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// writer is the one way into a feed's stream from this process: callers in
// front, one ordered pipeline of publishes behind, bounded in flight. Every
// commit that enters leaves with an outcome: acknowledged, refused, or
// ambiguous after it was sent again for Options.ResolveTimeout.
//
// Acknowledgements come back on one subscription; the last token of the
// reply subject says which commit they are for.
type writer struct {
	f     *Feed
	link  link
	slots chan struct{} // one for each commit in flight
	wake  chan struct{} // starts the janitor
	stop  chan struct{}
	wg    sync.WaitGroup

	undeny func()

	mu       sync.Mutex
	refused  map[string]int // publishes that the server didn't permit, by subject
	closed   bool
	token    uint64
	losses   uint64 // of the link, when last looked at
	inflight map[uint64]*Pending
	held     chan struct{} // not nil while quietly holds commits back; closed when they may go on
	idle     chan struct{} // not nil while quietly waits; closed when nothing is in flight
}

// retryEvery is how often commits in flight are looked at. A commit is sent
// again when it has had no answer for Options.RequestTimeout, after the
// connection was made anew, or when the server said that it can't now.
const retryEvery = 250 * time.Millisecond

func newWriter(f *Feed) (*writer, error) {
	w := &writer{
		f:        f,
		slots:    make(chan struct{}, f.log.opts.MaxInFlight),
		wake:     make(chan struct{}, 1),
		stop:     make(chan struct{}),
		inflight: make(map[uint64]*Pending),
	}
	var err error
	if w.link, err = f.openLink(w.onAck, wireShare); err != nil {
		return nil, f.serverError(context.Background(), "open", err)
	}
	w.losses = w.link.losses()
	w.undeny = f.log.watch(w.denied, f.prefix)
	w.wg.Go(w.janitor)
	if l, ok := w.link.(*leaderLink); ok {
		w.wg.Go(func() { w.follow(l) })
	}
	return w, nil
}

// submit hands a commit to the server, after waiting for a free slot. An
// error means that nothing was sent, and p has no outcome.
func (w *writer) submit(ctx context.Context, p *Pending) error {
	pr := &p.pr
	select {
	case w.slots <- struct{}{}:
	default:
		select {
		case w.slots <- struct{}{}:
		case <-ctx.Done():
			return fmt.Errorf("eventlog: append to %s/%.200q: not sent, %d are in flight: %w", w.f.name, pr.draft.Key, cap(w.slots), context.Cause(ctx))
		case <-w.stop:
			return fmt.Errorf("eventlog: append to %s/%.200q: %w", w.f.name, pr.draft.Key, ErrClosed)
		}
	}
	if err := w.lockUnheld(ctx); err != nil {
		<-w.slots
		return fmt.Errorf("eventlog: append to %s/%.200q: not sent: %w", w.f.name, pr.draft.Key, err)
	}
	defer w.mu.Unlock()
	if w.closed {
		<-w.slots
		return fmt.Errorf("eventlog: append to %s/%.200q: %w", w.f.name, pr.draft.Key, ErrClosed)
	}
	w.token++
	p.token = w.token
	p.deadline = time.Now().Add(w.f.resolve)
	w.inflight[p.token] = p
	if len(w.inflight) == 1 {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
	// Publishing under the lock keeps the order in which callers came.
	w.publish(p)
	return nil
}

// await waits until the commits of a key that are in flight have an outcome.
func (w *writer) await(key string) {
	w.mu.Lock()
	var before []*Pending
	for _, p := range w.inflight {
		if p.pr.draft.Key == key {
			before = append(before, p)
		}
	}
	w.mu.Unlock()
	for _, p := range before {
		<-p.done
	}
}

// publish sends a commit; w.mu is held. What fails here is sent again by the
// janitor, except what can never succeed.
func (w *writer) publish(p *Pending) {
	err := w.link.publish(&p.pr.msg, p.token)
	switch {
	case errors.Is(err, nats.ErrMaxPayload):
		w.settle(p, Position{}, w.orAmbiguous(p, w.tooLarge(p)))
		return
	case errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrConnectionDraining):
		w.settle(p, Position{}, w.closedError(p))
		return
	case errors.Is(err, nats.ErrReconnectBufExceeded), errors.Is(err, nats.ErrConnectionReconnecting):
		p.sent = time.Time{} // no connection: nothing went out
		return
	}
	if p.sends++; p.sends > 1 {
		w.f.stats.retries.Add(1)
	}
	p.open++
	p.sent = time.Now()
	if err != nil {
		p.sent = time.Time{} // part of it may have gone out
	}
}

func (w *writer) closedError(p *Pending) error {
	return w.orAmbiguous(p, fmt.Errorf("eventlog: append to %s/%.200q: %w", w.f.name, p.pr.draft.Key, ErrClosed))
}

func (w *writer) tooLarge(p *Pending) error {
	return &TooLargeError{Feed: w.f.name, Key: p.pr.draft.Key, Size: p.pr.msg.size(), Max: int(w.f.log.nc.MaxPayload())}
}

// orAmbiguous is err where no send of the commit may have been stored, and
// otherwise ambiguous: a refusal says nothing about the sends before it.
func (w *writer) orAmbiguous(p *Pending, err error) error {
	if p.open == 0 {
		return err
	}
	return w.ambiguous(p, err)
}

func (w *writer) ambiguous(p *Pending, why error) error {
	return &AmbiguousError{Feed: w.f.name, Key: p.pr.draft.Key, ID: p.pr.id, Err: why}
}

// settle gives a commit its outcome; w.mu is held.
func (w *writer) settle(p *Pending, pos Position, err error) {
	if _, ok := w.inflight[p.token]; !ok {
		return // a second answer, to a commit that was sent twice
	}
	delete(w.inflight, p.token)
	if w.idle != nil && len(w.inflight) == 0 {
		close(w.idle)
		w.idle = nil
	}
	// Another round follows a conflict of an identified append.
	if !p.pr.natural || !errors.Is(err, ErrConflict) {
		w.f.stats.outcome(&p.pr, err)
	}
	<-w.slots
	p.finish(pos, err)
}

// onAck is called by the link for each answer, one at a time.
func (w *writer) onAck(token uint64, data []byte, noResponders bool) {
	a := ack{noResponders: true}
	if !noResponders {
		a = w.f.acks.read(data)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if a.foreign {
		w.f.keeper.foreign(a)
	}
	p := w.inflight[token]
	if p == nil || p.busy {
		return
	}
	switch a.outcome() {
	case ackStored:
		w.f.keeper.acked(a.Seq)
		w.f.frontier.note(a.Seq)
		w.settle(p, Position{Feed: w.f.name, Seq: a.Seq}, nil)
	case ackRetry:
		// Not stored, or not to be understood; the janitor sends it again.
		if !a.garbled {
			p.open--
		}
		p.sent = time.Time{}
	case ackForeign:
		w.settle(p, Position{}, w.ambiguous(p, w.f.keeper.refusal()))
	case ackRefused:
		p.open--
		w.settle(p, Position{}, w.orAmbiguous(p, w.refusal(p, a)))
	case ackConflict:
		if p.sends == 1 {
			// It was sent once, so the commit in its way is another's.
			w.settle(p, Position{}, w.conflict(p, a.actual()))
			return
		}
		w.lookInto(p, a)
	default: // a duplicate, or a conflict that names no sequence
		w.lookInto(p, a)
	}
}

func (w *writer) refusal(p *Pending, a ack) error {
	if a.Error.ErrorCode == codeTooLarge {
		return w.tooLarge(p)
	}
	return &ServerError{Feed: w.f.name, Op: "append", Code: int(a.Error.ErrorCode), Description: a.Error.Description}
}

func (w *writer) conflict(p *Pending, actual uint64) error {
	return &ConflictError{Feed: w.f.name, Key: p.pr.draft.Key, Expected: p.pr.draft.Expect, Actual: actual}
}

// janitor sends commits again whose acknowledgement is overdue, and gives
// them up as ambiguous at their deadline. It sleeps while nothing is in
// flight.
func (w *writer) janitor() {
	for {
		select {
		case <-w.wake:
		case <-w.stop:
			return
		}
		for w.sweep(time.Now()) {
			select {
			case <-time.After(retryEvery):
			case <-w.stop:
				return
			}
		}
	}
}

// sweep looks at every commit in flight and says whether there are any.
func (w *writer) sweep(now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.overdue(now) {
		switch {
		case w.f.keeper.refusal() != nil:
			w.settle(p, Position{}, w.orAmbiguous(p, w.f.keeper.refusal()))
		case now.After(p.deadline) && p.open == 0:
			w.settle(p, Position{}, fmt.Errorf("eventlog: append to %s/%.200q: %w: nothing was stored in %v", w.f.name, p.pr.draft.Key, ErrUnavailable, w.f.resolve))
		case now.After(p.deadline):
			w.settle(p, Position{}, w.ambiguous(p, nats.ErrTimeout))
		default:
			w.publish(p)
		}
	}
	return len(w.inflight) > 0
}

// overdue returns the commits to send again, in the order they came.
func (w *writer) overdue(now time.Time) (late []*Pending) {
	patience := w.f.log.opts.RequestTimeout
	if n := w.link.losses(); n != w.losses || w.f.keeper.refusal() != nil {
		// What was on its way when the connection broke may be lost.
		w.losses, patience = n, 0
		clear(w.refused)
	}
	for _, p := range w.inflight {
		if !p.busy && (now.Sub(p.sent) > patience || now.After(p.deadline)) {
			late = append(late, p)
		}
	}
	sortPending(late)
	return late
}

// close waits for what is in flight, at most until its deadline, and ends
// the writer.
func (w *writer) close() {
	w.mu.Lock()
	w.closed = true
	waiting := make([]*Pending, 0, len(w.inflight))
	for _, p := range w.inflight {
		waiting = append(waiting, p)
	}
	w.mu.Unlock()
	for _, p := range waiting {
		select {
		case <-p.done:
		case <-time.After(time.Until(p.deadline) + retryEvery):
		}
	}
	close(w.stop)
	w.undeny()
	w.link.close()
	w.mu.Lock()
	for _, p := range waiting {
		w.settle(p, Position{}, w.closedError(p))
	}
	w.mu.Unlock()
	w.wg.Wait()
}
