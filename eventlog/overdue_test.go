package eventlog_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
)

// damagedEnd is a log whose last records can't be read: a bit is flipped in
// each of the last n of ten.
func damagedEnd(t *testing.T, n int) *eventlog.Feed {
	t.Helper()
	o := eventlog.Options{App: "a", Dir: t.TempDir()}
	log, err := eventlog.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	f := accounts(t, log)
	block := filepath.Join(o.Dir, "jetstream", "$G", "streams", f.Stream(), "msgs", "1.blk")
	var ends []int64
	for range 10 {
		put(t, f, "k", 1)
		if err := f.Sync(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		st, err := os.Stat(block)
		if err != nil {
			t.Fatal(err)
		}
		ends = append(ends, st.Size())
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(block)
	if err != nil || int64(len(data)) != ends[9] {
		t.Fatalf("%d bytes, ends %v, %v", len(data), ends, err)
	}
	for _, end := range ends[10-n:] {
		data[end-12] ^= 4 // of the payload or the checksum
	}
	if err := os.WriteFile(block, data, 0o600); err != nil {
		t.Fatal(err)
	}
	f = accounts(t, logtest.Open(t, o))
	if st, err := f.State(t.Context()); err != nil || st.Last != 10 {
		t.Fatalf("the log reaches %d, %v", st.Last, err)
	}
	return f
}

// A follower notices that the log should have more than comes, and says from
// where on it can't be read. Appends after it change nothing in that.
func TestDamagedEndIsTold(t *testing.T) {
	for _, n := range []int{1, 3} {
		for name, opts := range map[string][]eventlog.ReadOption{"following": {eventlog.Follow()}, "to the end": nil, "following to an end": {eventlog.Follow(), eventlog.Until(20)}} {
			t.Run(name, func(t *testing.T) {
				ctx := logtest.Context(t)
				f := damagedEnd(t, n)
				got, err := seqs(ctx, f, opts...)
				wantErr(t, err, eventlog.ErrGap)
				e, ok := errors.AsType[*eventlog.RangeError](err)
				if !ok || e.Want != uint64(11-n) || len(got) != 10-n {
					t.Errorf("after %d: %v", len(got), err)
				}
			})
		}
	}
}
