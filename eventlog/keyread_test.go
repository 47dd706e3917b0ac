package eventlog_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
)

// keysOf is a closed log of 60 identified commits of five keys, and what a plain
// fold says of each.
func keysOf(t *testing.T) (o eventlog.Options, fold map[string][]uint64) {
	t.Helper()
	o, fold = eventlog.Options{App: logtest.App(t), Dir: t.TempDir()}, make(map[string][]uint64)
	log := logtest.Open(t, o)
	f := accounts(t, log)
	for i := range 60 {
		key := fmt.Sprint("k", i%5)
		at, err := f.AppendDraft(t.Context(), eventlog.Draft{Key: key, ID: fmt.Sprint("id", i+1), Events: []any{deposited{int64(i)}}})
		if err != nil {
			t.Fatal(err)
		}
		fold[key] = append(fold[key], at.Seq)
	}
	closeLog(t, log)
	return o, fold
}

// readable reads every key of a log, twice, and in part, and looks for every
// identity: each is what the fold says, or a typed error. It returns how many
// were errors.
func readable(t *testing.T, f *eventlog.Feed, fold map[string][]uint64) (refused int) {
	t.Helper()
	ctx := logtest.Context(t)
	typed := func(what string, err error) {
		if refused++; !errors.Is(err, eventlog.ErrGap) && !errors.Is(err, eventlog.ErrLostTail) {
			t.Errorf("%s: an error of no class: %v", what, err)
		}
	}
	for key, want := range fold {
		for round, opts := range [][]eventlog.ReadOption{{}, {}, {eventlog.After(want[5])}, {eventlog.Until(want[6])}} {
			got, err := seqs(ctx, f, append(opts, eventlog.OfKey(key))...)
			part := [][]uint64{want, want, want[6:], want[:7]}[round]
			switch {
			case err != nil:
				typed(key, err)
			case !slices.Equal(got, part):
				t.Errorf("%s: %v without an error, want %v", key, got, part)
			}
		}
		for _, seq := range want {
			at, ok, err := f.Find(ctx, key, fmt.Sprint("id", seq), 0)
			switch {
			case err != nil:
				typed(key, err)
			case !ok || at.Seq != seq:
				t.Errorf("%s: the commit at %d is taken for absent: %v, %v", key, seq, at, ok)
			}
		}
		if c, ok, err := f.Head(ctx, key); err == nil && !ok {
			t.Errorf("%s: no head, and no error: %+v", key, c)
		}
	}
	return refused
}

// One flipped bit anywhere in a feed's block, after a clean end and an unclean
// one, on the embedded server and through a connection elsewhere: each key is
// complete or an error, and nothing that was acknowledged is taken for absent.
func TestKeysAreCompleteOrAnError(t *testing.T) {
	flips := 24
	if testing.Short() {
		flips = 6
	}
	made, fold := keysOf(t)
	rnd := rand.New(rand.NewPCG(1, 2))
	told := 0
	for i := range flips {
		unclean, elsewhere := i%2 == 1, i%3 == 2
		o := eventlog.Options{App: made.App, Dir: t.TempDir(), Listen: "127.0.0.1:-1"}
		if err := os.CopyFS(o.Dir, os.DirFS(made.Dir)); err != nil {
			t.Fatal(err)
		}
		block := filepath.Join(streamDir(o, o.App+"_accounts"), "msgs", "1.blk")
		at := aimed(t, rnd, block)
		flipBit(t, block, at)
		if unclean {
			remove(t, filepath.Join(filepath.Dir(block), "index.db"))
		}
		log := logtest.Open(t, o)
		f := accounts(t, log)
		if elsewhere && f.Lost() == nil {
			// A client elsewhere has no block files, and no mark that was made here.
			other, err := eventlog.Open(t.Context(), eventlog.Options{App: o.App, URL: log.ClientURL()})
			if err != nil {
				t.Fatal(err)
			}
			defer other.Close()
			f = accounts(t, other)
		}
		n := readable(t, f, fold)
		if told += min(n, 1); t.Failed() {
			t.Fatalf("byte %d, unclean %v, elsewhere %v", at, unclean, elsewhere)
		}
		closeLog(t, log)
	}
	if told < flips/2 {
		t.Errorf("%d of %d flips were told", told, flips)
	}
}

// aimed is a place in a block file, but none in the length of a record: there the
// server spins at its start, which the harness in integration covers.
func aimed(t *testing.T, rnd *rand.Rand, block string) int {
	t.Helper()
	b, err := os.ReadFile(block)
	if err != nil {
		t.Fatal(err)
	}
	var starts []int
	for at := 0; at < len(b); at += int(binary.LittleEndian.Uint32(b[at:]) &^ (1 << 31)) {
		starts = append(starts, at)
	}
	i := rnd.IntN(len(starts) - 1)
	return starts[i] + 12 + rnd.IntN(starts[i+1]-starts[i]-12)
}

// Whole records that aren't where they belong: two of a key change places, and a
// block is missing.
func TestKeysOfExchangedRecords(t *testing.T) {
	o, fold := keysOf(t)
	block := filepath.Join(streamDir(o, o.App+"_accounts"), "msgs", "1.blk")
	b, err := os.ReadFile(block)
	if err != nil {
		t.Fatal(err)
	}
	first := strings.Index(string(b), "id11")
	second := strings.Index(string(b), "id16")
	copy(b[first:first+4], "id16")
	copy(b[second:second+4], "id11")
	if err := os.WriteFile(block, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if n := readable(t, accounts(t, logtest.Open(t, o)), fold); n == 0 {
		t.Error("nothing was told")
	}

	o, fold = keysOf(t)
	remove(t, filepath.Join(streamDir(o, o.App+"_accounts"), "msgs", "1.blk"))
	if n := readable(t, accounts(t, logtest.Open(t, o)), fold); n == 0 {
		t.Error("nothing was told of a block that is missing")
	}
}

// A lost commit that is registered: its key goes on without it, as the feed does.
func TestKeyGoesPastARegisteredGap(t *testing.T) {
	ctx := logtest.Context(t)
	o, fold := keysOf(t)
	block := filepath.Join(streamDir(o, o.App+"_accounts"), "msgs", "1.blk")
	b, err := os.ReadFile(block)
	if err != nil {
		t.Fatal(err)
	}
	flipBit(t, block, strings.Index(string(b), "id21"))
	f := accounts(t, logtest.Open(t, o))
	_, err = seqs(ctx, f, eventlog.OfKey("k0"))
	incomplete, ok := errors.AsType[*eventlog.IncompleteError](err)
	if !ok || incomplete.Key != "k0" || incomplete.Expected != 12 || incomplete.Found != 11 {
		t.Fatalf("%v", err)
	}
	if _, err := f.AcceptGap(ctx, eventlog.Note{Reason: "damaged", By: "test"}, 21, 21); err != nil {
		t.Fatal(err)
	}
	want := slices.DeleteFunc(slices.Clone(fold["k0"]), func(s uint64) bool { return s == 21 })
	for range 2 {
		if got, err := seqs(ctx, f, eventlog.OfKey("k0")); err != nil || !slices.Equal(got, want) {
			t.Fatalf("%v, %v", got, err)
		}
	}
	if got, err := seqs(ctx, f); err != nil || !slices.Equal(got, append(span(1, 20), span(22, 60)...)) {
		t.Errorf("all: %v, %v", got, err)
	}
	if err := f.Check(ctx); err != nil {
		t.Error(err)
	}
}

// A key that is too large to keep is counted once: later reads count on.
func TestLargeKeyIsCountedOn(t *testing.T) {
	ctx := logtest.Context(t)
	type blob struct{ Text string }
	f, err := logtest.Embedded(t).Feed(ctx, "blobs", eventlog.Type[blob]("blob"))
	if err != nil {
		t.Fatal(err)
	}
	large := func(n int) {
		for range n {
			if _, err := f.Append(ctx, "k", eventlog.ExpectAny, blob{strings.Repeat("x", 200_000)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	large(25) // 5 MB
	for range 2 {
		if got, err := seqs(ctx, f, eventlog.OfKey("k")); err != nil || !slices.Equal(got, span(1, 25)) {
			t.Fatalf("%v, %v", got, err)
		}
	}
	large(3)
	before := f.Metrics().Read
	if got, err := seqs(ctx, f, eventlog.OfKey("k"), eventlog.After(26)); err != nil || !slices.Equal(got, span(27, 28)) {
		t.Fatalf("%v, %v", got, err)
	}
	if n := f.Metrics().Read - before; n != 2 {
		t.Errorf("%d commits were read", n)
	}
}
