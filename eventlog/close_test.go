package eventlog_test

import (
	"errors"
	"sync"
	"testing"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
)

func TestUseAfterClose(t *testing.T) {
	ctx := logtest.Context(t)
	log, err := eventlog.Open(ctx, eventlog.Options{App: "a", Memory: true})
	if err != nil {
		t.Fatal(err)
	}
	f := accounts(t, log)
	put(t, f, "k", 3)
	waiting, err := f.NewReader(ctx, eventlog.After(3), eventlog.Follow())
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := waiting.Next(ctx)
		ended <- err
	}()
	if err := log.Healthy(ctx); err != nil {
		t.Error(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := log.Close(); err != nil {
				t.Error(err)
			}
			wantErr(t, log.Healthy(ctx), eventlog.ErrClosed)
		})
	}
	wg.Wait()
	wantErr(t, <-ended, eventlog.ErrClosed)
	if err := waiting.Close(); err != nil {
		t.Error(err)
	}
	_, err = f.Append(ctx, "k", eventlog.ExpectAny, deposited{1})
	wantErr(t, err, eventlog.ErrClosed)
	_, err = f.AppendDraft(ctx, identified(1, eventlog.ExpectAny))
	wantErr(t, err, eventlog.ErrClosed)
	_, err = f.NewReader(ctx)
	wantErr(t, err, eventlog.ErrClosed)
	_, err = seqs(ctx, f)
	wantErr(t, err, eventlog.ErrClosed)
	_, err = f.State(ctx)
	wantErr(t, err, eventlog.ErrClosed)
	_, _, err = f.Lookup(ctx, 1)
	wantErr(t, err, eventlog.ErrClosed)
	_, err = log.Feed(ctx, "others")
	wantErr(t, err, eventlog.ErrClosed)
	_, err = log.Heads(ctx)
	wantErr(t, err, eventlog.ErrClosed)
}

// Close waits for what is in flight: each append has an outcome, and those
// that were acknowledged are in the log.
func TestCloseWithAppendsInFlight(t *testing.T) {
	ctx := logtest.Context(t)
	o := eventlog.Options{App: "a", Dir: t.TempDir(), MaxInFlight: 64}
	log, err := eventlog.Open(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	f := accounts(t, log)
	var mu sync.Mutex
	acked, refused := make(map[uint64]bool), 0
	started := make(chan struct{}, 8)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := 0; ; i++ {
				d := eventlog.Draft{Key: "k", Events: []any{deposited{int64(i)}}}
				if g%4 == 0 {
					d.ID = eventlog.ActorID(string(rune('a'+g)), uint64(i))
				}
				at, err := f.AppendDraft(ctx, d)
				if i == 20 {
					started <- struct{}{}
				}
				mu.Lock()
				switch {
				case err == nil:
					acked[at.Seq] = true
				case errors.Is(err, eventlog.ErrClosed) && !errors.Is(err, eventlog.ErrAmbiguous):
					refused++
				default:
					t.Errorf("append: %v", err)
				}
				mu.Unlock()
				if err != nil {
					return
				}
			}
		})
	}
	for range 8 {
		<-started
	}
	if err := log.Close(); err != nil {
		t.Error(err)
	}
	wg.Wait()
	f = accounts(t, logtest.Open(t, o))
	got, err := seqs(ctx, f)
	if err != nil || len(got) != len(acked) || refused != 8 {
		t.Errorf("%d in the log, %d acknowledged, %d refused, %v", len(got), len(acked), refused, err)
	}
}

func TestMetricsAndHeads(t *testing.T) {
	ctx := logtest.Context(t)
	log := logtest.Fresh(t)
	f := accounts(t, log)
	put(t, f, "k", 3)
	_, err := f.Append(ctx, "k", eventlog.ExpectNew, deposited{1})
	wantErr(t, err, eventlog.ErrConflict, `accounts/"k"`, "a new key", "is at 3")
	_, err = f.Append(ctx, "other", eventlog.ExpectSeq(2), deposited{1})
	wantErr(t, err, eventlog.ErrConflict, "sequence 2", "has no commits")
	if _, err := f.Append(ctx, "k", eventlog.ExpectAny, deposited{1}, deposited{2}); err != nil {
		t.Fatal(err)
	}
	if _, err := seqs(ctx, f); err != nil {
		t.Fatal(err)
	}
	m := f.Metrics()
	want := eventlog.Metrics{Feed: "accounts", Commits: 4, Events: 5, Bytes: m.Bytes, Conflicts: 2, Read: 4}
	if m != want || m.Bytes < 20 {
		t.Errorf("metrics %+v, want %+v", m, want)
	}
	if _, err := log.Feed(ctx, "empty"); err != nil {
		t.Fatal(err)
	}
	at, err := log.Heads(ctx)
	if err != nil || at.String() != "accounts=4,empty=0" && at.String() != "{accounts=4,empty=0}" {
		t.Errorf("heads %v, %v", at, err)
	}
}

// A full pipeline makes appends wait, and their context ends the wait.
func TestBackpressure(t *testing.T) {
	ctx := logtest.Context(t)
	o := logtest.Options(t)
	o.MaxInFlight = 3
	f := accounts(t, logtest.Open(t, o))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 200 {
				if _, err := f.Append(ctx, "k", eventlog.ExpectAny, deposited{int64(i)}); err != nil {
					t.Error(err)
				}
				if n := f.Metrics().InFlight; n > 3 {
					t.Errorf("%d in flight", n)
				}
			}
		})
	}
	wg.Wait()
	if n := messages(t, f); n != 1600 {
		t.Errorf("%d messages", n)
	}
}
