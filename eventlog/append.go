package eventlog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// Append appends events to a key as one commit: all of them or none, stored
// and read together. It returns when the server has acknowledged them (on a
// cluster: a quorum), with the commit's position.
//
// Errors: ErrConflict (expect doesn't hold), ErrInvalidKey, ErrInvalidType,
// ErrTooLarge, ErrRefused, ErrUnavailable, ErrClosed: nothing was appended.
// ErrAmbiguous: nobody knows yet, also when ctx ends before the answer; the
// error names the ID to send it again with.
func (f *Feed) Append(ctx context.Context, key string, expect Expectation, events ...any) (Position, error) {
	return f.AppendDraft(ctx, Draft{Key: key, Expect: expect, Events: events})
}

// AppendDraft is Append with all that a commit can carry.
func (f *Feed) AppendDraft(ctx context.Context, d Draft) (Position, error) {
	p, err := f.AppendAsync(ctx, d)
	if err != nil {
		return Position{}, err
	}
	return p.Wait(ctx)
}

// AppendAsync hands a commit to the writer and returns without waiting for
// its outcome; it waits, until ctx ends, only while Options.MaxInFlight
// commits are on their way. Commits that are handed over one after another
// reach the server in that order, except those with an ID of yours, whose
// identity is looked up first, and those that had to be sent again.
func (f *Feed) AppendAsync(ctx context.Context, d Draft) (*Pending, error) {
	pr, err := f.prepare(d)
	if err != nil {
		return nil, err
	}
	if f.closed.Load() {
		return nil, fmt.Errorf("eventlog: append to %s/%s: %w", f.name, d.Key, ErrClosed)
	}
	if pr.natural {
		return f.appendIdentified(ctx, pr), nil
	}
	return f.writer.submit(ctx, pr)
}

// Pending is an append on its way.
type Pending struct {
	f    *Feed
	pr   prepared
	done chan struct{}

	// Written once, before done is closed.
	pos Position
	err error

	// Owned by the writer, under its lock.
	token    uint64
	deadline time.Time
	sent     time.Time // last time; zero: send again as soon as possible
	sends    int       // how often it went out
	open     int       // how many of those had no answer; open <= sends
	busy     bool      // an outcome is being looked into
}

func newPending(f *Feed, pr prepared) *Pending {
	return &Pending{f: f, pr: pr, done: make(chan struct{})}
}

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

func (p *Pending) finish(pos Position, err error) {
	s := &p.f.stats
	switch {
	case err == nil:
		s.commits.Add(1)
		s.events.Add(uint64(p.pr.events))
		s.bytes.Add(uint64(len(p.pr.msg.Data)))
	case errors.Is(err, ErrConflict):
		s.conflicts.Add(1)
	case errors.Is(err, ErrAmbiguous):
		s.ambiguous.Add(1)
	default:
		s.refused.Add(1)
	}
	p.pos, p.err = pos, err
	close(p.done)
}

// appendIdentified appends a commit whose ID the caller gave, and which may
// be in the log already. Within its key the ID is looked for first, and the
// commit is then appended on the condition that nothing has come since: so
// the answer holds beyond the server's window for duplicates, and however
// many processes try at once.
func (f *Feed) appendIdentified(ctx context.Context, pr prepared) *Pending {
	p := newPending(f, pr)
	if pos, err, done := f.identifiedOnce(ctx, pr); done {
		// The common case needs no goroutine: it was found, or refused.
		p.finish(pos, err)
		return p
	}
	go func() {
		for {
			pos, err, done := f.identifiedTry(ctx, pr)
			if done {
				p.finish(pos, err)
				return
			}
		}
	}()
	return p
}

// identifiedOnce answers from what is known of the key without publishing.
func (f *Feed) identifiedOnce(ctx context.Context, pr prepared) (Position, error, bool) {
	if err := ctx.Err(); err != nil {
		return Position{}, err, true
	}
	if seq, ok := f.ids.find(pr.draft.Key, pr.id); ok {
		return Position{Feed: f.name, Seq: seq}, nil, true
	}
	return Position{}, nil, false
}

// identifiedTry is one round; done is false when another commit came between
// looking and appending.
func (f *Feed) identifiedTry(ctx context.Context, pr prepared) (pos Position, err error, done bool) {
	key := pr.draft.Key
	head, err := f.refreshIDs(ctx, key, pr.draft.After)
	if err != nil {
		return pos, err, true
	}
	if seq, ok := f.ids.find(key, pr.id); ok {
		return Position{Feed: f.name, Seq: seq}, nil, true
	}
	if e := pr.draft.Expect; e.exact && e.seq != head {
		return pos, &ConflictError{Feed: f.name, Key: key, Expected: e, Actual: head}, true
	}
	attempt := pr
	attempt.draft.Expect = ExpectSeq(head)
	attempt.msg = &nats.Msg{Subject: pr.msg.Subject, Header: cloneHeader(pr.msg.Header, head), Data: pr.msg.Data}
	inner, err := f.writer.submit(ctx, attempt)
	if err != nil {
		return pos, err, true
	}
	pos, err = inner.Wait(ctx)
	if errors.Is(err, ErrConflict) {
		// Somebody was faster, perhaps with this very ID: look once more.
		return pos, nil, false
	}
	if err == nil {
		f.ids.add(key, pr.id, pos.Seq, head)
	}
	return pos, err, true
}
