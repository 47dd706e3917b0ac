package eventlog_test

import (
	"testing"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/timeframe"
)

// Reading goes on after a message that was read before, and only after that one,
// whatever the sequence numbers say; one that was trimmed isn't missed.
func TestAfterMessage(t *testing.T) {
	ctx := logtest.Context(t)
	f := accounts(t, logtest.Fresh(t))
	put(t, f, "k", 10)
	obs, err := f.Observe(ctx, 4, 5)
	if err != nil {
		t.Fatal(err)
	}
	known := timeframe.Anchor{Seq: 5, Print: obs.Prints[5]}
	other := timeframe.Anchor{Seq: 5, Print: obs.Prints[4]}
	for _, opts := range [][]eventlog.ReadOption{nil, {eventlog.Follow()}, {eventlog.OfKey("k")}, {eventlog.OfKey("k"), eventlog.Follow()}} {
		r, err := f.NewReader(ctx, append(opts, eventlog.AfterMessage(known))...)
		if err != nil {
			t.Fatal(err)
		}
		if batch, err := r.Next(ctx); err != nil || batch[0].Seq != 6 {
			t.Errorf("%v, %v", batch, err)
		}
		_ = r.Close()
		_, err = f.NewReader(ctx, append(opts, eventlog.AfterMessage(other))...)
		wantErr(t, err, eventlog.ErrLostTail)
	}
	if _, err := f.Trim(ctx, 8); err != nil {
		t.Fatal(err)
	}
	r, err := f.NewReader(ctx, eventlog.AfterMessage(known), eventlog.AllowTrimmed())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if batch, err := r.Next(ctx); err != nil || batch[0].Seq != 8 {
		t.Errorf("%v, %v", batch, err)
	}
	if err := f.Confirm(ctx, other); err != nil {
		t.Errorf("one replica is its own leader: %v", err)
	}
}
