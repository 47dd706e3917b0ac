package eventlog

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// keyQueues holds, for each key, the identified appends that wait for their
// turn. One at a time is looked up and appended: each is conditional on the
// key's head, so several of one key would only push each other aside, at a
// cost that grows with their square. Other appends to the key wait behind
// them for the same reason, and keep their order by it.
type keyQueues struct {
	slots  chan struct{} // one for each append in a queue or being identified
	served atomic.Int64  // len(waiting), to be read without the lock

	mu      sync.Mutex
	waiting map[string][]*Pending // the key is there while a goroutine serves it
}

func newKeyQueues(size int) *keyQueues {
	return &keyQueues{slots: make(chan struct{}, size), waiting: make(map[string][]*Pending)}
}

// busy says whether appends to the key have to wait for others.
func (q *keyQueues) busy(key string) bool {
	if q.served.Load() == 0 {
		return false
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	_, ok := q.waiting[key]
	return ok
}

// join puts p at the end and says whether it needs a goroutine to serve it.
func (q *keyQueues) join(p *Pending) (serve bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	key := p.pr.draft.Key
	ps, served := q.waiting[key]
	q.waiting[key] = append(ps, p)
	q.served.Store(int64(len(q.waiting)))
	return !served
}

// next takes the first one; nil ends the service of the key.
func (q *keyQueues) next(key string) *Pending {
	q.mu.Lock()
	defer q.mu.Unlock()
	ps := q.waiting[key]
	if len(ps) == 0 {
		delete(q.waiting, key)
		q.served.Store(int64(len(q.waiting)))
		return nil
	}
	q.waiting[key] = ps[1:]
	return ps[0]
}

// enqueue appends a commit whose ID the caller gave, and which may be in the
// log already, or one that comes behind such a commit. Within its key the ID
// is looked for first, and the commit is then appended on the condition that
// nothing has come since: so the answer holds beyond the server's window for
// duplicates, and however many processes try at once.
func (f *Feed) enqueue(ctx context.Context, p *Pending) error {
	key := p.pr.draft.Key
	if p.pr.natural {
		if seq, ok := f.ids.find(key, p.pr.id); ok {
			p.finish(Position{Feed: f.name, Seq: seq}, nil)
			return nil
		}
	}
	select {
	case f.queues.slots <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("eventlog: append to %s/%.200q: not sent, %d are waiting: %w", f.name, key, cap(f.queues.slots), context.Cause(ctx))
	case <-f.closing:
		return fmt.Errorf("eventlog: append to %s/%.200q: %w", f.name, key, ErrClosed)
	}
	if f.queues.join(p) {
		go f.serveKey(key)
	}
	return nil
}

func (f *Feed) serveKey(key string) {
	for p := f.queues.next(key); p != nil; p = f.queues.next(key) {
		if p.tagged != nil || p.pr.natural {
			// What was handed over before goes another way to the server, and
			// must not be overtaken.
			f.writer.await(key)
		}
		if p.tagged != nil {
			p.finish(f.batches.run(p.tagged))
		} else if p.pr.natural {
			p.finish(f.identify(&p.pr))
		} else if err := f.writer.submit(context.Background(), p); err != nil {
			f.stats.outcome(&p.pr, err)
			p.finish(Position{}, err)
		}
		<-f.queues.slots
	}
}

// identify gives one append its outcome: its rounds of looking and appending
// take Options.ResolveTimeout at most, and an append that was sent has as
// long for its answer.
func (f *Feed) identify(pr *prepared) (Position, error) {
	ctx, cancel := context.WithTimeout(context.Background(), f.resolve)
	defer cancel()
	for {
		pos, err, done := f.identifyOnce(ctx, pr)
		if done {
			return pos, err
		}
		var pause <-chan time.Time
		if errors.Is(err, ErrUnavailable) {
			pause = time.After(retryEvery)
		} else if ctx.Err() == nil {
			continue
		}
		select {
		case <-pause:
			continue
		case <-ctx.Done():
			err = fmt.Errorf("eventlog: append to %s/%.200q: %w: ID %q could not be settled in %v, nothing was stored (%v)", f.name, pr.draft.Key, ErrUnavailable, pr.id, f.resolve, err)
		case <-f.closing:
			err = fmt.Errorf("eventlog: append to %s/%.200q: %w", f.name, pr.draft.Key, ErrClosed)
		}
		f.stats.outcome(pr, err)
		return Position{}, err
	}
}

// identifyOnce is one round; done is false when another commit came between
// looking and appending (ErrConflict), and when the server doesn't answer
// (ErrUnavailable).
func (f *Feed) identifyOnce(ctx context.Context, pr *prepared) (pos Position, err error, done bool) {
	key := pr.draft.Key
	head, seq, ok, err := f.findID(ctx, key, pr.id, pr.draft.After)
	switch {
	case errors.Is(err, ErrUnavailable) || (err != nil && ctx.Err() != nil):
		return pos, err, false
	case err != nil:
		f.stats.outcome(pr, err)
		return pos, err, true
	case ok:
		return Position{Feed: f.name, Seq: seq}, nil, true
	}
	if e := pr.draft.Expect; e.exact && e.seq != head {
		err = &ConflictError{Feed: f.name, Key: key, Expected: e, Actual: head}
		f.stats.outcome(pr, err)
		return pos, err, true
	}
	inner := newPending(f)
	inner.pr = prepared{
		draft: pr.draft, id: pr.id, events: pr.events, natural: true,
		msg: pr.msg.with(nats.ExpectedLastSubjSeqHdr, strconv.FormatUint(head, 10)),
	}
	inner.pr.draft.Expect = ExpectSeq(head)
	if err := f.writer.submit(ctx, inner); err != nil {
		if ctx.Err() != nil {
			return pos, err, false
		}
		f.stats.outcome(pr, err)
		return pos, err, true
	}
	<-inner.done // it has a deadline of its own
	pos, err = inner.pos, inner.err
	if errors.Is(err, ErrConflict) {
		// Somebody was faster, perhaps with this very ID: look once more.
		return pos, err, false
	}
	if err == nil {
		f.ids.add(key, pr.id, pos.Seq, head)
	}
	return pos, err, true
}
