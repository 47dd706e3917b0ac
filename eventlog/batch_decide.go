package eventlog

import (
	"context"
	"errors"
	"fmt"
)

// decide finds out whether a transaction is in the log already, and whether
// its conditions can still hold; done is false where it is to be sent. It
// prepares the round: the heads that the guards and an identified first
// commit expect. Where examine is true the leader is asked about the other
// expectations as well, which the server checks by itself otherwise.
//
// The conditions are read before the identity is looked for: a send without
// an answer may be stored in between, and would else be in its own way.
func (t *txn) decide(ctx context.Context, examine bool) (pos []Position, err error, done bool) {
	verdict, err := t.conditions(ctx, examine)
	if err != nil {
		return nil, t.orAmbiguous(err), !t.passing(ctx, err)
	}
	first := t.parts[0].draft
	if t.natural || (examine && (t.open > 0 || t.doubled)) {
		head, seq, ok, err := t.find(ctx)
		switch {
		case err != nil:
			return nil, t.orAmbiguous(err), !t.passing(ctx, err)
		case ok:
			return t.verified(ctx, seq)
		}
		if t.natural {
			t.expect = ExpectSeq(head)
			if first.Expect.exact && first.Expect.seq != head {
				verdict = &ConflictError{Feed: t.f.name, Key: first.Key, Expected: first.Expect, Actual: head}
			}
		}
	}
	if verdict != nil {
		return nil, verdict, true
	}
	if t.doubled {
		// The server knows an ID of ours, and it isn't where it belongs.
		if t.orphans++; t.orphans > 1 {
			return nil, t.wrap(fmt.Errorf("%w: ID %q, or one that is made of it", ErrIdentity, t.parts[0].id)), true
		}
	}
	return nil, nil, false
}

// passing says whether an error may be gone at the next try.
func (t *txn) passing(ctx context.Context, err error) bool {
	return errors.Is(err, ErrUnavailable) || ctx.Err() != nil
}

// conditions reads what the transaction's conditions are about; verdict says
// which of them doesn't hold.
func (t *txn) conditions(ctx context.Context, examine bool) (verdict, err error) {
	for i, p := range t.parts {
		e := p.draft.Expect
		if !examine || !e.exact || (i == 0 && t.natural) {
			continue
		}
		m, ok, err := t.f.headOf(ctx, p.msg.subject)
		if err != nil {
			return nil, err
		}
		if ok != (e.seq > 0) || m.seq != e.seq {
			return &ConflictError{Feed: t.f.name, Key: p.draft.Key, Expected: e, Actual: m.seq}, nil
		}
	}
	return t.guards(ctx)
}

func (t *txn) guards(ctx context.Context) (verdict, err error) {
	var most uint64 // the latest sequence that a guard names
	guarded := false
	for _, u := range t.uses {
		if !u.guarded {
			continue
		}
		guarded, most = true, max(most, u.after)
		if u.head, u.last, err = t.f.readTag(ctx, u.subject); err != nil {
			return nil, err
		}
		if u.last > u.after {
			return &TagConflictError{Feed: t.f.name, Tag: u.tag, After: u.after, Actual: u.last}, nil
		}
	}
	if !guarded {
		return nil, nil
	}
	// A sequence that the log doesn't have is of another history, and a tag
	// whose markers were trimmed behind the sequence says nothing.
	st, err := t.f.rangeCheck(ctx, most, true)
	if r, ok := errors.AsType[*RangeError](err); ok {
		return r, nil
	}
	if err != nil {
		return nil, err
	}
	for _, u := range t.uses {
		if u.guarded && u.head == 0 && st.First > u.after+1 {
			return &RangeError{Feed: t.f.name, Want: u.after + 1, First: st.First, Last: st.Last, class: ErrTrimmed}, nil
		}
	}
	return nil, nil
}

// find looks for the transaction's first commit in its key's history, and
// returns the key's head as well.
func (t *txn) find(ctx context.Context) (head, seq uint64, ok bool, err error) {
	first := t.parts[0]
	if e := first.draft.Expect; e.exact && !t.natural {
		// Where it was stored it is the first one behind the expected.
		m, found, err := t.f.get(ctx, getRequest{Seq: e.seq + 1, NextFor: first.msg.subject})
		return 0, m.seq, found && m.id() == first.id, err
	}
	return t.f.findID(ctx, first.draft.Key, first.id, first.draft.After)
}

// verified makes sure that what begins at seq is this transaction: the ID may
// have been used for another one. What was trimmed can't be looked at.
func (t *txn) verified(ctx context.Context, seq uint64) (pos []Position, err error, done bool) {
	for i, p := range t.parts[1:] {
		m, ok, err := t.f.get(ctx, getRequest{Seq: seq + uint64(i) + 1})
		if err != nil {
			return nil, t.orAmbiguous(err), !t.passing(ctx, err)
		}
		if ok && (m.subject != p.msg.subject || m.id() != p.id) {
			return nil, t.wrap(fmt.Errorf("%w: ID %q is at %s@%d already, without key %q behind it", ErrIdentity, t.parts[0].id, t.f.name, seq, p.draft.Key)), true
		}
	}
	return t.positions(seq), nil, true
}
