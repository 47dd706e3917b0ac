package eventlog

import (
	"runtime"
	"testing"
)

// Gathering ends although messages keep coming, and keeps their order.
func TestGatheringIsBounded(t *testing.T) {
	var tl tail
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for seq := uint64(2); ; {
			select {
			case <-stop:
				return
			default:
			}
			tl.mu.Lock()
			if len(tl.buf) < 1<<16 {
				tl.buf = append(tl.buf, message{seq: seq})
				seq++
			}
			tl.mu.Unlock()
			runtime.Gosched()
		}
	}()
	tl.mu.Lock()
	tl.buf = append([]message{{seq: 1}}, tl.buf...)
	tl.gather()
	got := tl.buf
	tl.buf = nil
	tl.mu.Unlock()
	close(stop)
	<-done
	for i, m := range got {
		if m.seq != uint64(i)+1 {
			t.Fatalf("message %d has sequence %d", i, m.seq)
		}
	}
	// Nothing that comes: it doesn't wait.
	tl.mu.Lock()
	defer tl.mu.Unlock()
	tl.buf = []message{{seq: 1}}
	if tl.gather(); len(tl.buf) != 1 {
		t.Fatalf("%d messages of 1", len(tl.buf))
	}
}
