//go:build unix

package eventlog

import (
	"context"
	"errors"
	"testing"
	"time"
)

func twoKeys(mode Durability) Transaction {
	return Transaction{Drafts: []Draft{blobDraft("a", Acked, 1), blobDraft("b", mode, 1)}}
}

func blobs(t *testing.T, o Options) *Feed {
	t.Helper()
	o.App = "txn"
	log, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	f, err := log.Feed(t.Context(), "blobs", Type[blob]("blob"))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// A transaction with a Synced draft returns behind an fsync; where there can
// be none it is refused, and nothing is appended.
func TestSyncedTransaction(t *testing.T) {
	f := blobs(t, Options{Dir: t.TempDir()})
	d := watch(t, f)
	if at, err := f.AppendTransaction(t.Context(), twoKeys(Acked)); err != nil || len(at) != 2 || d.calls != 0 {
		t.Errorf("acked: %v, %v, %d fsyncs", at, err, d.calls)
	}
	if at, err := f.AppendTransaction(t.Context(), twoKeys(Synced)); err != nil || len(at) != 2 || at[1].Seq != 4 || d.calls == 0 {
		t.Errorf("synced: %v, %v, %d fsyncs", at, err, d.calls)
	}
	d.fail = func(string) error { return errors.New("bad disk") }
	_, err := f.AppendTransaction(t.Context(), twoKeys(Synced))
	if se, ok := errors.AsType[*SyncError](err); !ok || se.Pos.Seq != 6 {
		t.Errorf("on a bad disk: %v", err)
	}
	memory := blobs(t, Options{Memory: true})
	if _, err := memory.AppendTransaction(t.Context(), twoKeys(Synced)); !errors.Is(err, ErrNotSynced) {
		t.Errorf("in memory: %v", err)
	}
	if st, err := memory.State(t.Context()); err != nil || st.Last != 0 {
		t.Errorf("%+v, %v", st, err)
	}
}

// A transaction whose context ends while others are before it is refused, and
// not in the log: nobody needs to find out what became of it.
func TestQueuedTransactionIsWithdrawn(t *testing.T) {
	for _, mode := range []Durability{Acked, Synced} {
		f := blobs(t, Options{Dir: t.TempDir()})
		b := f.batches
		for range maxOpenBatches { // the first one waits for these
			b.open <- struct{}{}
		}
		first := make(chan error, 1)
		go func() {
			_, err := f.AppendTransaction(t.Context(), twoKeys(Acked))
			first <- err
		}()
		queued := func(n int) {
			for {
				b.mu.Lock()
				ok := len(b.queue) == n && b.working
				b.mu.Unlock()
				if ok {
					return
				}
				<-time.After(time.Millisecond)
			}
		}
		queued(0)
		ctx, cancel := context.WithCancel(t.Context())
		second := make(chan error, 1)
		go func() {
			_, err := f.AppendTransaction(ctx, twoKeys(mode))
			second <- err
		}()
		queued(1)
		cancel()
		if err := <-second; !errors.Is(err, context.Canceled) || errors.Is(err, ErrAmbiguous) {
			t.Errorf("%v: %v", mode, err)
		}
		for range maxOpenBatches {
			<-b.open
		}
		if err := <-first; err != nil {
			t.Error(err)
		}
		if st, err := f.State(t.Context()); err != nil || st.Last != 2 || len(b.slots) > 0 || len(f.syncer.slots) > 0 {
			t.Errorf("%v: %+v, %v", mode, st, err)
		}
	}
}
