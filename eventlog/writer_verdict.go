package eventlog

import (
	"context"
	"fmt"
	"time"
)

// lookInto settles a commit whose answer says too little by asking the
// leader, away from the subscription's goroutine; w.mu is held.
func (w *writer) lookInto(p *Pending, a ack) {
	p.busy = true
	w.wg.Go(func() {
		ctx, cancel := context.WithDeadline(context.Background(), p.deadline)
		defer cancel()
		pos, err, known := w.verdict(ctx, p, a)
		w.mu.Lock()
		defer w.mu.Unlock()
		p.busy = false
		if known {
			w.settle(p, pos, err)
			return
		}
		p.sent = time.Time{} // send it again
	})
}

// verdict finds out what became of a commit. known is false where that can't
// be said yet: the commit is sent again, which is safe until its deadline.
func (w *writer) verdict(ctx context.Context, p *Pending, a ack) (pos Position, err error, known bool) {
	if a.outcome() == ackDuplicate {
		// The server compares IDs across the stream; ours count within a key.
		m, ok, err := w.f.get(ctx, getRequest{Seq: a.Seq})
		if err != nil {
			return pos, nil, false
		}
		if ok && m.subject != p.pr.msg.subject {
			return pos, fmt.Errorf("eventlog: append to %s/%.200q: %w: ID %q is at %s@%d already", w.f.name, p.pr.draft.Key, ErrIdentity, p.pr.id, w.f.name, a.Seq), true
		}
		// Where it isn't there any more it was trimmed, after it was stored.
		return Position{Feed: w.f.name, Seq: a.Seq}, nil, true
	}
	// Where the expectation held once, the first commit of the key behind
	// the expected one is ours.
	next, found, err := w.f.get(ctx, getRequest{Seq: p.pr.draft.Expect.seq + 1, NextFor: p.pr.msg.subject})
	switch {
	case err != nil:
		return pos, nil, false
	case found && next.id() == p.pr.id:
		return Position{Feed: w.f.name, Seq: next.seq}, nil, true
	case !found && a.outcome() == ackInFlight:
		return pos, nil, false // of somebody else, or ours; not decided
	}
	// The server named the head where it knew it. It may have moved on since.
	actual := a.actual()
	if head, ok, err := w.f.get(ctx, getRequest{LastFor: p.pr.msg.subject}); err == nil && ok {
		actual = head.seq
	}
	return pos, w.conflict(p, actual), true
}
