package eventlog

import (
	"context"
	"errors"
	"time"
)

// A server that can't read a record doesn't say so: its consumer stops before
// it, and reports that there is nothing more, for ever. So a tail to which
// nothing comes compares where it stands with what the leader says that the log
// holds, and asks the leader for the next message itself:
//
//	the log ends here           all is well
//	the leader has no message   damage, unless it was trimmed or is registered: ErrGap
//	the leader has one          it is on its way; where it still hasn't come the
//	                            next time, the leader's is taken

// lull decides when that is done: at the first sign of idleness after a
// message, and then less and less often.
type lull struct {
	at   uint64        // where the tail stood
	last time.Time     // of the last look
	wait time.Duration // until the next one
	late uint64        // the message that the leader had then, 0 for none
}

const (
	lullFirst = time.Second
	lullMost  = 30 * time.Second
)

// due says whether to look, where the tail stands at a sequence.
func (l *lull) due(at uint64, now time.Time) bool {
	switch {
	case l.wait == 0 || at != l.at:
		*l = lull{at: at, last: now, wait: lullFirst}
		return true
	case now.Sub(l.last) < l.wait:
		return false
	}
	l.last = now
	l.wait = min(2*l.wait, lullMost)
	return true
}

// overdue is called when the server says that there is nothing more. It returns
// a message where the consumer holds that back.
func (t *tail) overdue(ctx context.Context) ([]message, error) {
	t.mu.Lock()
	at := t.got
	t.mu.Unlock()
	if !t.lull.due(at, time.Now()) {
		return nil, nil
	}
	m, ok, err := t.held(ctx, at)
	if errors.Is(err, ErrUnavailable) {
		return nil, nil // that is noticed, and waited for
	}
	if err != nil || !ok {
		return nil, err
	}
	if t.lull.late != m.seq {
		t.lull.late, t.lull.wait = m.seq, lullFirst
		return nil, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.got != at || len(t.buf) > 0 {
		return nil, nil // it has come meanwhile
	}
	t.got, t.last = m.seq, m
	t.broken = errMissed // the consumer is made anew, after this message
	return []message{m}, nil
}

// held is the message after a sequence that the leader has; an error where it
// should have one and hasn't.
func (t *tail) held(ctx context.Context, after uint64) (m message, ok bool, err error) {
	st, err := t.f.asked.get(ctx)
	if err != nil || st.Last <= after {
		return m, false, err
	}
	subject := t.filter
	if subject == "" {
		subject = t.f.everything()
	}
	m, ok, err = t.f.get(ctx, getRequest{Seq: after + 1, NextFor: subject})
	if err != nil || ok || t.filter != "" || t.f.adopted != nil {
		return m, ok, err
	}
	// What was trimmed after the first question isn't lost.
	now, err := t.f.asked.get(ctx)
	if err != nil || now.Incarnation != t.f.incarnation || now.First > st.Last {
		return m, false, err
	}
	want := max(after+1, now.First)
	if known, err := t.f.gaps.explains(ctx, want, st.Last); known || err != nil {
		return m, false, err
	}
	return m, false, &RangeError{Feed: t.f.name, Want: want, First: st.Last + 1, Last: st.Last, class: ErrGap, unread: true}
}
