package bubble_test

import (
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/internal/bubble"
)

func TestPass(t *testing.T) {
	begun := time.Now()
	bubble.Run(t, func(t *testing.T) {
		inside := time.Now()
		bubble.Pass(time.Hour)
		if d := time.Since(inside); d != time.Hour {
			t.Errorf("%v have passed", d)
		}
	})
	if d := time.Since(begun); d > time.Minute {
		t.Errorf("%v of real time", d)
	}
	defer func() {
		if recover() == nil {
			t.Error("slept outside of a bubble")
		}
	}()
	bubble.Pass(time.Nanosecond)
}
