package grace

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, c := range map[string]struct{ ends, most, want time.Duration }{
			"ended":                 {0, time.Minute, Time},
			"ends later":            {time.Second, time.Minute, time.Second + Time},
			"ends too late to tell": {time.Hour, time.Minute, time.Minute},
			"little at most":        {0, time.Millisecond, time.Millisecond},
		} {
			begun := time.Now()
			ctx, end := context.WithTimeout(t.Context(), c.ends)
			after, cancel := After(ctx, c.most)
			<-after.Done()
			if took := time.Since(begun); took != c.want {
				t.Errorf("%s: %s, want %s", name, took, c.want)
			}
			cancel()
			end()
		}
		after, cancel := After(t.Context(), time.Hour)
		cancel()
		<-after.Done()
	})
}
