package eventlog

import (
	"context"
	"testing"
	"time"
)

// A context that ends while the caller is in the middle of a commit doesn't
// take the commit's memory away: its reader is closed behind that.
func TestMergeEndsBehindTheCommit(t *testing.T) {
	f := suiteFeed(t, Options{App: "suite", Memory: true})
	grow(t, f, 10, 100)
	ctx, cancel := context.WithCancel(t.Context())
	m, err := newMerger(ctx, MergeOptions{}, []*Feed{f})
	if err != nil {
		t.Fatal(err)
	}
	c, err := m.next()
	if err != nil || c == nil {
		t.Fatal(c, err)
	}
	print := c.Fingerprint()
	cancel()
	closed := make(chan struct{})
	go func() {
		m.wg.Wait()
		close(closed)
	}()
	select {
	case <-closed:
		t.Error("the reader is closed, and its commit in use")
	case <-time.After(20 * time.Millisecond):
	}
	if c.Fingerprint() != print {
		t.Error("it is another commit now")
	}
	m.close()
	<-closed
}
