package eventlog_test

import (
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
)

// harmed is a log of 60 commits in a directory, which was closed, harmed, and is
// open again.
func harmed(t *testing.T, harm func(t *testing.T, o eventlog.Options, msgs string)) (*eventlog.Log, *eventlog.Feed) {
	t.Helper()
	o := eventlog.Options{App: logtest.App(t), Dir: t.TempDir()}
	log := logtest.Open(t, o)
	f := accounts(t, log)
	for i := range 60 {
		put(t, f, string(rune('a'+i%5)), 1)
	}
	closeLog(t, log)
	harm(t, o, filepath.Join(streamDir(o, o.App+"_accounts"), "msgs"))
	log = logtest.Open(t, o)
	return log, accounts(t, log)
}

func flipBit(t testing.TB, file string, at int) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if at < 0 {
		at += len(b)
	}
	b[at] ^= 4
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func remove(t testing.TB, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

// lossOf is the loss by which everything that would use the feed is refused.
func lossOf(t *testing.T, f *eventlog.Feed) *eventlog.LossError {
	t.Helper()
	ctx := logtest.Context(t)
	loss, ok := errors.AsType[*eventlog.LossError](f.Lost())
	if !ok {
		t.Fatalf("the loss isn't noticed: %v", f.Lost())
	}
	_, _, head := f.Head(ctx, "a")
	_, _, find := f.Find(ctx, "a", "id", 0)
	_, tagged := f.LastTagged(ctx, "t")
	_, read := seqs(ctx, f)
	_, key := seqs(ctx, f, eventlog.OfKey("a"))
	_, appended := f.Append(ctx, "a", eventlog.ExpectAny, deposited{1})
	for what, err := range map[string]error{
		"head": head, "find": find, "tag": tagged, "read": read, "key": key, "append": appended,
		"check": f.Check(ctx), "healthy": f.Log().Healthy(ctx),
	} {
		if got, ok := errors.AsType[*eventlog.LossError](err); !ok || got.From != loss.From || got.To != loss.To || !errors.Is(err, eventlog.ErrLostTail) {
			t.Errorf("%s: %v", what, err)
		}
	}
	return loss
}

// Damage that takes the end of a closed log away, in every way that a server
// takes for a clean one: the loss is told by everything that would use the feed,
// and what is lost is named. Given up by its range, once, the feed is usable.
func TestLossIsTold(t *testing.T) {
	for name, harm := range map[string]func(t *testing.T, o eventlog.Options, msgs string){
		"killed and damaged": func(t *testing.T, o eventlog.Options, msgs string) {
			remove(t, filepath.Join(msgs, "index.db"))
			flipBit(t, filepath.Join(msgs, "1.blk"), 3000)
		},
		"index and block damaged": func(t *testing.T, o eventlog.Options, msgs string) {
			flipBit(t, filepath.Join(msgs, "index.db"), -20)
			flipBit(t, filepath.Join(msgs, "1.blk"), 3000)
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := logtest.Context(t)
			_, f := harmed(t, harm)
			loss := lossOf(t, f)
			if loss.To != 60 || loss.From < 2 || loss.From != loss.Last+1 {
				t.Errorf("%+v", loss)
			}
			wantErr(t, f.AcceptLoss(ctx, loss.From, loss.To-1), eventlog.ErrInvalid, "isn't what is lost")
			if err := f.AcceptLoss(ctx, loss.From, loss.To); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(f.Lost(), f.Check(ctx), f.Log().Healthy(ctx), f.AcceptLoss(ctx, 1, 2)); err != nil {
				t.Error(err)
			}
			put(t, f, "a", 3)
			if got, err := seqs(ctx, f); err != nil || !slices.Equal(got, span(1, loss.Last+3)) {
				t.Errorf("%v, %v", got, err)
			}
			if m := f.Metrics(); m.Short != 61-loss.From {
				t.Errorf("%+v", m)
			}
		})
	}
}

// Damage that takes nothing from the log that the server doesn't have elsewhere,
// or that the mark is about: the log is whole, and usable.
func TestMarkCostsNothing(t *testing.T) {
	mark := func(o eventlog.Options) string {
		return filepath.Join(o.Dir, "marks", o.App+"_accounts.mark")
	}
	write := func(data []byte) func(t *testing.T, o eventlog.Options, msgs string) {
		return func(t *testing.T, o eventlog.Options, msgs string) {
			if err := os.WriteFile(mark(o), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	later := []byte("TMHW\x02of a later release")
	sum := sha256.Sum256(later)
	for name, c := range map[string]struct {
		harm func(t *testing.T, o eventlog.Options, msgs string)
		bad  uint64
	}{
		"index missing": {harm: func(t *testing.T, _ eventlog.Options, msgs string) { remove(t, filepath.Join(msgs, "index.db")) }},
		"index damaged": {harm: func(t *testing.T, _ eventlog.Options, msgs string) { flipBit(t, filepath.Join(msgs, "index.db"), 9) }},
		"mark missing":  {harm: func(t *testing.T, o eventlog.Options, _ string) { remove(t, mark(o)) }},
		"marks missing": {harm: func(t *testing.T, o eventlog.Options, _ string) { remove(t, filepath.Dir(mark(o))) }},
		"mark damaged":  {harm: func(t *testing.T, o eventlog.Options, _ string) { flipBit(t, mark(o), 30) }, bad: 1},
		"mark empty":    {harm: write(nil), bad: 1},
		"mark too long": {harm: write(make([]byte, 1<<20)), bad: 1},
		"mark is a directory": {harm: func(t *testing.T, o eventlog.Options, _ string) {
			remove(t, mark(o))
			if err := os.Mkdir(mark(o), 0o700); err != nil {
				t.Fatal(err)
			}
		}, bad: 1},
		"mark of a later release": {harm: write(append(later, sum[:]...))},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := logtest.Context(t)
			var o eventlog.Options
			_, f := harmed(t, func(t *testing.T, opts eventlog.Options, msgs string) {
				o = opts
				c.harm(t, opts, msgs)
			})
			if got, err := seqs(ctx, f); err != nil || !slices.Equal(got, span(1, 60)) {
				t.Fatalf("%v, %v", got, err)
			}
			put(t, f, "a", 1)
			if err := f.Log().Healthy(ctx); err != nil {
				t.Error(err)
			}
			if m := f.Metrics(); m.BadMarks != c.bad || m.Short != 0 {
				t.Errorf("%+v", m)
			}
			before, _ := os.ReadFile(mark(o))
			closeLog(t, f.Log())
			after, err := os.ReadFile(mark(o))
			switch {
			case name == "mark of a later release" && !slices.Equal(before, after):
				t.Error("it was overwritten")
			case name == "mark is a directory": // nothing can be written
			case name != "mark of a later release" && (err != nil || slices.Equal(before, after)):
				t.Errorf("no new mark: %v", err)
			}
		})
	}
}

// An older copy of the stream that has grown beyond the mark: the number is
// there, and the message isn't.
func TestLossOfAnotherHistory(t *testing.T) {
	ctx := logtest.Context(t)
	o := eventlog.Options{App: logtest.App(t), Dir: t.TempDir()}
	grow := func(n int) {
		log := logtest.Open(t, o)
		put(t, accounts(t, log), "a", n)
		closeLog(t, log)
	}
	stream, copied := streamDir(o, o.App+"_accounts"), filepath.Join(t.TempDir(), "copy")
	grow(10)
	if err := os.CopyFS(copied, os.DirFS(stream)); err != nil {
		t.Fatal(err)
	}
	grow(10)
	mark, err := os.ReadFile(filepath.Join(o.Dir, "marks", o.App+"_accounts.mark"))
	if err != nil {
		t.Fatal(err)
	}
	remove(t, stream)
	if err := os.CopyFS(stream, os.DirFS(copied)); err != nil {
		t.Fatal(err)
	}
	remove(t, filepath.Join(o.Dir, "marks"))
	grow(30) // by a program that keeps no mark
	if err := os.WriteFile(filepath.Join(o.Dir, "marks", o.App+"_accounts.mark"), mark, 0o600); err != nil {
		t.Fatal(err)
	}
	log := logtest.Open(t, o)
	f := accounts(t, log)
	if loss := lossOf(t, f); loss.From != 11 || loss.To != 20 || loss.Last != 40 {
		t.Errorf("%+v", loss)
	}
	if err := f.AcceptLoss(ctx, 11, 20); err != nil {
		t.Fatal(err)
	}
	closeLog(t, log)
	grow(1)
}

// What legitimately makes a log shorter, or another, is no loss.
func TestShorterWithoutLoss(t *testing.T) {
	ctx := logtest.Context(t)
	o := eventlog.Options{App: logtest.App(t), Dir: t.TempDir()}
	log := logtest.Open(t, o)
	f := accounts(t, log)
	put(t, f, "a", 20)
	if _, err := f.Trim(ctx, 20); err != nil {
		t.Fatal(err)
	}
	closeLog(t, log)

	log = logtest.Open(t, o)
	f = accounts(t, log)
	if m := f.Metrics(); m.Marked != 20 || f.Lost() != nil {
		t.Errorf("trimmed: %+v, %v", m, f.Lost())
	}
	purge(t, f, 21) // nothing is left, also not the message at the mark
	closeLog(t, log)

	log = logtest.Open(t, o)
	f = accounts(t, log)
	if loss := lossOf(t, f); loss.From != 20 || loss.To != 20 || f.AcceptLoss(ctx, 20, 20) != nil || f.Check(ctx) != nil {
		t.Errorf("purged: %+v, %v", loss, f.Check(ctx))
	}
	put(t, f, "a", 1)
	if err := log.JetStream().DeleteStream(ctx, f.Stream()); err != nil {
		t.Fatal(err)
	}
	closeLog(t, log)

	log = logtest.Open(t, o)
	f, err := log.Feed(ctx, "accounts", eventlog.Type[deposited]("deposited"), eventlog.Recreate())
	if err != nil || f.Lost() != nil || f.Metrics().Marked != 0 {
		t.Fatalf("recreated: %v, %v, %+v", err, f.Lost(), f.Metrics())
	}
	put(t, f, "a", 3)
	closeLog(t, log)

	log = logtest.Open(t, o)
	if f = accounts(t, log); f.Metrics().Marked != 3 {
		t.Errorf("recreated: %+v", f.Metrics())
	}
	closeLog(t, log)
	log = logtest.Open(t, o)
	if err := log.Forget(ctx, "accounts"); err != nil {
		t.Fatal(err)
	}
	if f = accounts(t, log); f.Metrics().Marked != 0 || f.Lost() != nil {
		t.Errorf("forgotten: %+v", f.Metrics())
	}
}

// On a server elsewhere the mark is in a bucket, each writer moves it on, and
// none takes it back.
func TestMarkElsewhere(t *testing.T) {
	ctx := logtest.Context(t)
	server := logtest.Open(t, eventlog.Options{App: "server", Dir: t.TempDir(), Listen: "127.0.0.1:-1"})
	o := eventlog.Options{App: logtest.App(t), URL: server.ClientURL()}
	first, second := logtest.Open(t, eventlog.Options{App: o.App, URL: o.URL}), logtest.Open(t, o)
	f, g := accounts(t, first), accounts(t, second)
	put(t, f, "a", 7)
	put(t, g, "b", 5)
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	if got := g.Metrics().Marked; got != 12 {
		t.Errorf("the second writer's mark is at %d", got)
	}
	put(t, f, "a", 1)
	if err := first.Close(); err != nil { // it finds that the record has moved, and looks again
		t.Fatal(err)
	}
	third, err := eventlog.Open(ctx, eventlog.Options{App: o.App, URL: o.URL})
	if err != nil {
		t.Fatal(err)
	}
	h := accounts(t, third)
	if got := h.Metrics().Marked; got < 12 {
		t.Errorf("the mark went back to %d", got)
	}
	// The stream goes, and comes again shorter, with the same incarnation.
	info, err := third.JetStream().Stream(ctx, h.Stream())
	if err != nil {
		t.Fatal(err)
	}
	config := info.CachedInfo().Config
	if err := third.JetStream().DeleteStream(ctx, h.Stream()); err != nil {
		t.Fatal(err)
	}
	if _, err := third.JetStream().CreateStream(ctx, config); err != nil {
		t.Fatal(err)
	}
	if loss, ok := errors.AsType[*eventlog.LossError](h.Check(ctx)); !ok || loss.From != 1 || loss.To < 12 {
		t.Errorf("%v", h.Check(ctx))
	}
	if _, err := h.Append(ctx, "a", eventlog.ExpectAny, deposited{1}); !errors.Is(err, eventlog.ErrLostTail) {
		t.Errorf("appended: %v", err)
	}
	if err := third.Close(); err != nil {
		t.Fatal(err)
	}
	fourth := logtest.Open(t, eventlog.Options{App: o.App, URL: o.URL})
	if err := fourth.ForgetMarks(ctx); err != nil {
		t.Fatal(err)
	}
	k := accounts(t, fourth)
	put(t, k, "a", 1)
	wantErr(t, fourth.ForgetMarks(ctx), eventlog.ErrInvalid, "accounts")
}
