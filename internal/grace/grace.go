// Package grace bounds what is still to be done when a context has ended: to
// give something back, or to learn the outcome of a write. Every call returns
// within a second of its context's end, that included.
package grace

import (
	"context"
	"time"
)

// Time is how long it may take after the context's end.
const Time = 600 * time.Millisecond

// After is a context that goes on for Time when ctx has ended, and for most at
// most. Call cancel when it isn't needed any more.
func After(ctx context.Context, most time.Duration) (after context.Context, cancel context.CancelFunc) {
	after, end := context.WithTimeout(context.WithoutCancel(ctx), most)
	stop := context.AfterFunc(ctx, func() {
		timer := time.NewTimer(Time)
		defer timer.Stop()
		select {
		case <-timer.C:
			end()
		case <-after.Done():
		}
	})
	return after, func() { stop(); end() }
}
