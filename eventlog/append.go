package eventlog

import (
	"context"
	"fmt"
	"time"
)

// Append appends events to a key as one commit: all of them or none, stored
// and read together. It returns when the server has acknowledged them (on a
// cluster: a quorum), with the commit's position.
//
// Errors: ErrConflict (expect doesn't hold), ErrInvalidKey, ErrInvalidType,
// ErrTooLarge, ErrIdentity, ErrRefused, ErrFull, ErrDenied, ErrMissing,
// ErrRecreated, ErrUnavailable, ErrClosed, and the context's where it had
// ended before: nothing was appended. ErrAmbiguous:
// nobody knows yet, also when ctx ends before the answer; the error names the
// ID to send it again with.
func (f *Feed) Append(ctx context.Context, key string, expect Expectation, events ...any) (Position, error) {
	return f.AppendDraft(ctx, Draft{Key: key, Expect: expect, Events: events})
}

// AppendDraft is Append with all that a commit can carry. Its further error
// is ErrNotSynced, of Synced drafts: the SyncError says whether nothing was
// appended, or the commit is in the log and may not be on the disk.
func (f *Feed) AppendDraft(ctx context.Context, d Draft) (Position, error) {
	p, err := f.AppendAsync(ctx, d)
	if err != nil {
		return Position{}, err
	}
	return p.Wait(ctx)
}

// AppendAsync hands a commit to the writer and returns without waiting for
// its outcome; it waits, until ctx ends, only while Options.MaxInFlight
// commits are on their way. What comes after it doesn't depend on ctx.
// Commits that are handed over one after another reach the server in that
// order, except those that had to be sent again. Those with an ID of yours,
// whose identity is looked up first, and those with tags keep it within their
// key alone, and so do others to a key that such ones wait for. Ordered keeps
// it always.
//
// An error that it returns itself is definite: nothing was sent.
func (f *Feed) AppendAsync(ctx context.Context, d Draft) (*Pending, error) {
	p := newPending(f)
	if err := f.prepare(&p.pr, d); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("eventlog: append to %s/%.200q: not sent: %w", f.name, d.Key, context.Cause(ctx))
	}
	if err := f.start(ctx, p); err != nil {
		return nil, err
	}
	return p, nil
}

// start sends a prepared append on its way.
func (f *Feed) start(ctx context.Context, p *Pending) error {
	if p.pr.draft.Durability == Acked {
		return f.hand(ctx, p)
	}
	if err := f.syncer.admit(ctx, p); err != nil {
		return err
	}
	err := f.hand(ctx, p)
	if err != nil {
		f.syncer.release(p)
	}
	return err
}

// hand gives a prepared append to the writer, or to its key's queue.
func (f *Feed) hand(ctx context.Context, p *Pending) error {
	key := p.pr.draft.Key
	if err := f.usable(key); err != nil {
		return err
	}
	if p.pr.draft.Expect.exact {
		if err := f.records.expect(ctx, p.pr.msg.subject); err != nil {
			return fmt.Errorf("eventlog: append to %s/%.200q: not sent: %w", f.name, key, err)
		}
	}
	if len(p.pr.draft.Tags) > 0 {
		err := f.allowAtomic(ctx)
		if err != nil {
			return err
		}
		if p.tagged, err = f.tagged(&p.pr); err != nil {
			return err
		}
	}
	switch {
	case p.pr.natural || p.tagged != nil || f.queues.busy(key):
		return f.enqueue(ctx, p)
	default:
		return f.writer.submit(ctx, p)
	}
}

// Pending is an append on its way.
type Pending struct {
	f      *Feed
	pr     prepared
	tagged *txn // where the commit has tags
	done   chan struct{}
	syncs  bool // the syncer has admitted it, and gives it its outcome

	// Written once, before done is closed.
	pos Position
	err error

	// Owned by the writer, under its lock.
	token    uint64
	deadline time.Time
	sent     time.Time // last time; zero: send again as soon as possible
	sends    int       // how often it went out
	open     int       // how many of those may have been stored; open <= sends
	busy     bool      // an outcome is being looked into
}

func newPending(f *Feed) *Pending { return &Pending{f: f, done: make(chan struct{})} }

// ID is the commit's identity.
func (p *Pending) ID() string { return p.pr.id }

// Done is closed when the outcome is known.
func (p *Pending) Done() <-chan struct{} { return p.done }

// Wait returns the outcome, as Append does. When ctx ends first it returns
// an ErrAmbiguous; the append goes on, and Wait can be called again.
func (p *Pending) Wait(ctx context.Context) (Position, error) {
	select {
	case <-p.done:
		return p.pos, p.err
	default:
	}
	select {
	case <-p.done:
		return p.pos, p.err
	case <-ctx.Done():
		return Position{}, &AmbiguousError{Feed: p.f.name, Key: p.pr.draft.Key, ID: p.pr.id, Err: context.Cause(ctx)}
	}
}

// finish gives the outcome, once, and for a Synced append when it is on the
// disk.
func (p *Pending) finish(pos Position, err error) {
	if p.syncs {
		p.f.syncer.finish(p, pos, err)
		return
	}
	p.complete(pos, err)
}

func (p *Pending) complete(pos Position, err error) {
	p.pos, p.err = pos, err
	close(p.done)
}
