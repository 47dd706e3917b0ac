package projection_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/bubble"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
)

// dirBank is a bank in a directory that a test may harm while it is closed.
type dirBank struct {
	app, dir string
}

func newDirBank(t *testing.T) dirBank {
	t.Helper()
	return dirBank{app: logtest.App(t), dir: t.TempDir()}
}

// with opens the bank, and closes it behind f.
func (d dirBank) with(t *testing.T, f func(b *bank)) {
	t.Helper()
	d.log(t, func(log *eventlog.Log) { f(bankOf(t, log)) })
}

// log opens the bank's log alone.
func (d dirBank) log(t *testing.T, f func(*eventlog.Log)) {
	t.Helper()
	log := must(eventlog.Open(logtest.Context(t), eventlog.Options{App: d.app, Dir: d.dir}))(t)
	defer func() {
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	}()
	f(log)
}

// accounts is the directory of the feed's stream.
func (d dirBank) accounts() string {
	return filepath.Join(d.dir, "jetstream", "$G", "streams", d.app+"_accounts")
}

// cut makes the feed lose what f appends, and its mark doesn't know of it, as
// after a power failure, while the snapshots stay.
func (d dirBank) cut(t *testing.T, f func(b *bank)) {
	t.Helper()
	copied := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(copied, os.DirFS(d.accounts())); err != nil {
		t.Fatal(err)
	}
	d.with(t, f)
	if err := os.RemoveAll(d.accounts()); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(d.accounts(), os.DirFS(copied)); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(d.dir, "marks")); err != nil {
		t.Fatal(err)
	}
}

// foreign is a log that isn't the one that the snapshot was taken from.
type foreign struct {
	name   string
	make   func(t *testing.T, d dirBank)
	reason string
	fails  error
	want   map[string]int64
}

func foreignLogs(t *testing.T) []foreign {
	thirty := func(b *bank) { saved(t, b, 30) }
	base := map[string]int64{"k0": 10, "k1": 10, "k2": 10}
	return []foreign{
		{name: "unharmed", make: func(t *testing.T, d dirBank) { d.with(t, thirty) }, want: base},
		{name: "tail lost", make: func(t *testing.T, d dirBank) {
			d.with(t, func(b *bank) { b.append(t, "k0", deposited{7}) })
			d.cut(t, thirty)
		}, reason: "lost its tail", want: map[string]int64{"k0": 7}},
		{name: "tail lost and numbers used again", make: func(t *testing.T, d dirBank) {
			d.with(t, func(b *bank) { b.append(t, "k0", deposited{7}) })
			d.cut(t, thirty)
			d.with(t, func(b *bank) {
				for range 50 {
					b.append(t, "other", deposited{1})
				}
			})
		}, reason: "used again", want: map[string]int64{"k0": 7, "other": 50}},
		{name: "an older snapshot still fits", make: func(t *testing.T, d dirBank) {
			d.with(t, thirty)
			d.cut(t, func(b *bank) { saved(t, b, 3) })
		}, reason: "lost its tail", want: base},
		{name: "deleted and created again, with a higher head", make: func(t *testing.T, d dirBank) {
			d.with(t, func(b *bank) {
				thirty(b)
				if err := b.log.JetStream().DeleteStream(t.Context(), b.accounts.Stream()); err != nil {
					t.Fatal(err)
				}
			})
			// A stream that snapshots know isn't silently created again.
			d.log(t, func(log *eventlog.Log) {
				_, err := log.Feed(t.Context(), "accounts")
				if !errors.Is(err, eventlog.ErrMissing) {
					t.Fatalf("opened: %v", err)
				}
				must(log.Feed(t.Context(), "accounts", eventlog.Recreate()))(t)
			})
			d.with(t, func(b *bank) {
				for range 50 {
					b.append(t, "new", deposited{1})
				}
			})
		}, reason: "created again", want: map[string]int64{"new": 50}},
		{name: "trimmed up to the snapshot", make: func(t *testing.T, d dirBank) {
			d.with(t, func(b *bank) { thirty(b); purge(t, b, 31) })
		}, want: base},
		{name: "trimmed within the snapshot", make: func(t *testing.T, d dirBank) {
			d.with(t, func(b *bank) { thirty(b); purge(t, b, 25) })
		}, want: base},
		{name: "trimmed past the snapshot", make: func(t *testing.T, d dirBank) {
			d.with(t, func(b *bank) {
				thirty(b)
				for range 5 {
					b.append(t, "lost", deposited{1})
				}
				purge(t, b, 33)
			})
		}, fails: eventlog.ErrTrimmed},
	}
}

// The cases of a log that isn't the one that the snapshot was taken from
// (R3.13, R3.16, T3.14, T3.15, L1): each ends in the right state, or in a
// loud error.
func TestForeignSnapshots(t *testing.T) {
	for _, c := range foreignLogs(t) {
		t.Run(c.name, func(t *testing.T) {
			d := newDirBank(t)
			c.make(t, d)
			d.with(t, func(b *bank) {
				balances := b.balances(projection.Version(1))
				rt, err := projection.Start(logtest.Context(t), b.log, balances)
				if c.fails != nil {
					if !errors.Is(err, c.fails) {
						t.Fatalf("start: %v, want %v", err, c.fails)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				defer rt.Close()
				r := status(t, rt, "balances").Recovery
				if skipped := strings.Join(r.Skipped, "\n"); (c.reason == "") != (skipped == "") || !strings.Contains(skipped, c.reason) {
					t.Errorf("recovery %+v", r)
				}
				equal(t, "state", balances, c.want)
			})
		})
	}
}

func purge(t *testing.T, b *bank, below uint64) {
	t.Helper()
	s := must(b.log.JetStream().Stream(t.Context(), b.accounts.Stream()))(t)
	if err := s.Purge(t.Context(), jetstream.WithPurgeSequence(below)); err != nil {
		t.Fatal(err)
	}
}

// A log that lost what it surely had is refused as a whole: nothing is derived of
// the rest, and given up by its range, a start goes on from what is left.
func TestLossStopsStart(t *testing.T) {
	ctx := logtest.Context(t)
	d := newDirBank(t)
	d.with(t, func(b *bank) { saved(t, b, 30) })
	block := filepath.Join(d.accounts(), "msgs", "1.blk")
	data := must(os.ReadFile(block))(t)
	data[len(data)/2] ^= 1
	if err := errors.Join(os.WriteFile(block, data, 0o600), os.Remove(filepath.Join(filepath.Dir(block), "index.db"))); err != nil {
		t.Fatal(err)
	}
	d.with(t, func(b *bank) {
		_, err := projection.Start(ctx, b.log, b.balances(projection.Version(1)))
		loss, ok := errors.AsType[*eventlog.LossError](err)
		if !ok || loss.To != 30 || !errors.Is(err, eventlog.ErrLostTail) {
			t.Fatalf("start: %v", err)
		}
		if err := b.accounts.AcceptLoss(ctx, loss.From, loss.To); err != nil {
			t.Fatal(err)
		}
		balances := b.balances(projection.Version(1))
		rt := must(projection.Start(ctx, b.log, balances))(t)
		defer rt.Close()
		var sum int64
		for _, v := range balances.All() {
			sum += v
		}
		if r := status(t, rt, "balances").Recovery; sum != int64(loss.From-1) || len(r.Skipped) == 0 {
			t.Errorf("%d of %d, %+v", sum, loss.From-1, r)
		}
	})
}

// The same under a projection that runs: it stops at what it had, and nothing is
// derived of the rest until the loss is given up.
func TestLossStopsWhatRuns(t *testing.T) {
	dir := t.TempDir()
	bubble.Run(t, func(t *testing.T) {
		ctx := t.Context()
		log := must(eventlog.Open(ctx, eventlog.Options{App: "app", Dir: dir}))(t)
		b := bankOf(t, log)
		balances := b.balances()
		rt := must(often(1).Start(ctx, log, balances))(t)
		at := b.fill(t, 20)
		if err := rt.Wait(ctx, at); err != nil {
			t.Fatal(err)
		}
		bubble.Pass(10 * time.Second)
		if m := b.accounts.Metrics().Marked; m != at.Seq {
			t.Fatalf("the mark is at %d, and the log ends at %d", m, at.Seq)
		}
		had := contents(balances)
		js := log.JetStream() // the stream goes, and comes again shorter, with the same incarnation
		config := must(js.Stream(ctx, b.accounts.Stream()))(t).CachedInfo().Config
		if err := js.DeleteStream(ctx, config.Name); err != nil {
			t.Fatal(err)
		}
		must(js.CreateStream(ctx, config))(t)
		bubble.Pass(time.Minute)
		if err := balances.Err(); !errors.Is(err, eventlog.ErrLostTail) || !errors.Is(err, projection.ErrStopped) {
			t.Errorf("stopped: %v", err)
		}
		equal(t, "stopped", balances, had)
		if loss, ok := errors.AsType[*eventlog.LossError](b.accounts.Check(ctx)); !ok || loss.To != at.Seq {
			t.Errorf("check: %v", b.accounts.Check(ctx))
		}
		// A reader that looked while the stream wasn't there knows of no loss.
		err, again := rt.EndOf(ctx, b.accounts.Name(), eventlog.ErrLostTail)
		if loss, ok := errors.AsType[*eventlog.LossError](err); !ok || again || loss.To != at.Seq {
			t.Errorf("the end of a reader that knows nothing: %v, begins anew: %t", err, again)
		}
		_ = rt.Close() // it may say that its last snapshot wasn't saved
		if _, err := projection.Start(ctx, log, b.balances()); !errors.Is(err, eventlog.ErrLostTail) {
			t.Errorf("started on the rest: %v", err)
		}
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	})
}
