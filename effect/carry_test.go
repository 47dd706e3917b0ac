package effect

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A handler that never returns is a failed attempt, and keeps nobody waiting.
func TestHandlerThatNeverReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		never := make(chan struct{})
		defer close(never)
		begun := time.Now()
		err := carry(t.Context(), Effect[int]{}, func(context.Context, Effect[int]) error {
			<-never
			return nil
		}, time.Minute)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "doesn't heed") || time.Since(begun) != time.Minute+finalTimeout {
			t.Errorf("after %v: %v", time.Since(begun), err)
		}
		// One that is only slow has its say.
		err = carry(t.Context(), Effect[int]{}, func(ctx context.Context, _ Effect[int]) error {
			<-ctx.Done()
			<-time.After(finalTimeout / 2)
			return nil
		}, time.Minute)
		if err != nil {
			t.Error(err)
		}
	})
}

func TestBackoff(t *testing.T) {
	for _, c := range []struct {
		backoff, most time.Duration
		failures      int
		want          time.Duration
	}{
		{time.Second, time.Minute, 1, time.Second},
		{time.Second, time.Minute, 2, 2 * time.Second},
		{time.Second, time.Minute, 6, 32 * time.Second},
		{time.Second, time.Minute, 7, time.Minute},
		{time.Second, time.Minute, math.MaxInt, time.Minute},
		{time.Hour, time.Minute, 1, time.Minute},
		{math.MaxInt64, math.MaxInt64, 9, math.MaxInt64},
	} {
		o := Options{Backoff: c.backoff, MaxBackoff: c.most}
		if got := o.wait(c.failures); got != c.want {
			t.Errorf("%v up to %v, behind %d: %v, want %v", c.backoff, c.most, c.failures, got, c.want)
		}
	}
}
