package eventlog

import (
	"context"
	"slices"

	"github.com/tidemark-es/tidemark/timeframe"
)

// Confirm makes sure that what the readers of this handle have returned is what
// the stream's leader has, before somebody relies on it for good: saves what is
// derived from it, trims what is below it, or acts on it. It compares the last
// message of what followers were given, one from the inside of what they were
// given since the last time, and those that are named, at which the caller is.
//
// It asks nothing of a stream with one replica, which is its own leader. On
// others it costs 4 requests to the leader, or none where no message is named
// and it was done within the last second.
//
// Errors: ErrLostTail (followers end with it, too; what was derived from the
// lost messages must be rebuilt); ErrUnavailable, ErrClosed.
func (f *Feed) Confirm(ctx context.Context, at ...timeframe.Anchor) error {
	if err := f.online(); err != nil {
		return err
	}
	if !f.replicated.Load() {
		return nil
	}
	if f.closed.Load() {
		return f.closedRead()
	}
	f.hub.mu.Lock()
	var a *auditor
	if f.hub.now != nil {
		a = f.hub.now.auditor
	}
	f.hub.mu.Unlock()
	if a != nil {
		if err := a.look(ctx, auditFresh); err != nil {
			return a.failed(err)
		}
	}
	if len(at) == 0 {
		return nil
	}
	st, err := f.rangeCheck(ctx, 0, true)
	if err != nil {
		return err
	}
	marks := make([]mark, len(at))
	for i, p := range at {
		marks[i] = mark{seq: p.Seq, print: p.Print}
	}
	marks = slices.DeleteFunc(marks, func(m mark) bool { return m.seq == 0 })
	return f.compareMarks(ctx, marks, st)
}
