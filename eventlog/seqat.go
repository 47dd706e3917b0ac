package eventlog

import (
	"context"
	"time"
)

// SeqAt returns the sequence of the last commit, or marker, that the feed's
// stream had stored at t, t included; 0 where it had none. Times are the
// server's: where its clock was set back, the answer is one of the places
// where the log passed t.
//
// It asks the leader for a few messages, about as many as the log's length has
// bits. ErrTrimmed where the log no longer reaches back to t.
func (f *Feed) SeqAt(ctx context.Context, t time.Time) (uint64, error) {
	if err := f.online(); err != nil {
		return 0, err
	}
	st, err := f.State(ctx)
	if err != nil {
		return 0, err
	}
	if !t.Before(st.LastTime) {
		return st.Last, nil
	}
	// The messages below low are of t or before, those from high on are later.
	low, high := st.First, st.Last+1
	for low < high {
		mid := low + (high-low)/2
		m, ok, err := f.get(ctx, getRequest{Seq: mid, NextFor: f.everything()})
		switch {
		case err != nil:
			return 0, err
		case !ok || m.seq >= high: // nothing is left between
			high = mid
		case m.time().After(t):
			high = mid
		default:
			low = m.seq + 1
		}
	}
	if low == st.First && st.First > 1 {
		return 0, &RangeError{Feed: f.name, Want: st.First - 1, First: st.First, Last: st.Last, class: ErrTrimmed}
	}
	return low - 1, nil
}
