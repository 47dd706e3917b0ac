package eventlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/internal/gaps"
)

type document struct{ Text string }

// The check finds what is damaged in any of several files, whatever their size,
// and nothing in a feed that is trimmed, erased in part, and appended to.
func TestBlockCheckOfManyBlocks(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	open := func() *Feed {
		log, err := Open(ctx, Options{App: "a", Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = log.Close() })
		f, err := log.Feed(ctx, "blobs", Type[document]("document"))
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	fill := func(f *Feed, from, to int) {
		for i := from; i <= to; i++ {
			size := 1000
			if i%10 == 0 {
				size = 3 * scanBuffer
			}
			if _, err := f.Append(ctx, fmt.Sprint("key-", i), ExpectAny, document{strings.Repeat("x", size)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	f := open()
	fill(f, 1, 200)
	if _, err := f.Trim(ctx, 15); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Erase(ctx, Note{Reason: "r", By: "b"}, "key-50", 50); err != nil {
		t.Fatal(err)
	}
	fill(f, 201, 210)
	if d, err := f.records.look(ctx); err != nil || len(d.bad) > 0 {
		t.Fatalf("nothing is damaged: %v, %v", d, err)
	}
	_ = f.log.Close()
	files, err := filepath.Glob(filepath.Join(f.log.embedded.streamDir(f.stream), "msgs", "*.blk"))
	if err != nil || len(files) < 2 {
		t.Fatalf("%v, %v", files, err)
	}
	f = open()
	if d, err := f.records.look(ctx); err != nil || len(d.bad) > 0 {
		t.Fatalf("nothing is damaged: %v, %v", d, err)
	}
	_ = f.log.Close()
	for _, subject := range []string{"a.blobs.key-33", "a.blobs.key-171"} {
		for _, file := range files {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if at := bytes.Index(b, []byte(subject)); at >= 0 {
				b[at+len(subject)-1] ^= 1
				if err := os.WriteFile(file, b, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	f = open()
	d, err := f.records.look(ctx)
	if want := gaps.RangesOf(33, 171); err != nil || !slices.Equal(d.any, want) || !slices.Equal(d.bad, want) || len(d.keyed) > 0 {
		t.Errorf("found %+v, %v", d, err)
	}
}

// A check that takes long is waited for by the calls of its first moment alone,
// and no longer than their contexts say.
func TestLongBlockCheck(t *testing.T) {
	f := openNotes(t, t.TempDir())
	begun := func(late time.Time) {
		f.records = newBlockCheck(f)
		f.records.once.Do(func() { f.records.late = late }) // it doesn't come to its end
	}
	begun(time.Now().Add(-time.Hour))
	fill(t, f, 2, 1)
	if c, ok, err := f.Head(t.Context(), "k0"); err != nil || !ok || c.Seq != 2 {
		t.Errorf("head: %d, %v, %v", c.Seq, ok, err)
	}
	if _, err := f.Append(t.Context(), "k0", ExpectSeq(2), jotted{}); err != nil {
		t.Error(err)
	}
	begun(time.Now().Add(time.Hour))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, _, err := f.Head(ctx, "k0"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("head: %v", err)
	}
	if _, err := f.Append(ctx, "k0", ExpectSeq(3), jotted{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("append: %v", err)
	}
	if _, err := f.Append(t.Context(), "k0", ExpectAny, jotted{}); err != nil {
		t.Errorf("an append that expects nothing doesn't wait: %v", err)
	}
}

// A key is purged by hand, or by a server that finds damage, between being counted
// and being read: what is missing then is no trimmed history.
func TestKeyGoesWhileItIsRead(t *testing.T) {
	ctx := t.Context()
	made := openNotes(t, t.TempDir())
	fill(t, made, 20, 2)
	r, err := another(t, made).NewReader(ctx, OfKey("k0"))
	if err != nil {
		t.Fatal(err)
	}
	byHand(t, made, "k0")
	for {
		batch, err := r.Next(ctx)
		if errors.Is(err, ErrGap) {
			break
		}
		if err != nil || batch == nil {
			t.Fatalf("read %v, %v", batch, err)
		}
	}
}

// A key gets further commits in another block between being counted and being
// looked for in the files: the oldest ones aren't left out for them.
func TestKeyGrowsOverABlockWhileItIsRead(t *testing.T) {
	ctx := t.Context()
	log, err := Open(ctx, Options{App: "a", Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	f, err := log.Feed(ctx, "documents", Type[document]("document"))
	if err != nil {
		t.Fatal(err)
	}
	spread := func(n int) { // a block each
		for range n {
			for range 9 {
				if _, err := f.Append(ctx, "other", ExpectAny, document{strings.Repeat("x", 1_000_000)}); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := f.Append(ctx, "k", ExpectAny, document{"x"}); err != nil {
				t.Fatal(err)
			}
		}
	}
	const want = 4
	spread(want)
	subject, err := f.Subject("k")
	if err != nil {
		t.Fatal(err)
	}
	head, _, err := f.headOf(ctx, subject)
	if err != nil {
		t.Fatal(err)
	}
	st, err := f.State(ctx)
	if err != nil {
		t.Fatal(err)
	}
	spread(want / 2)
	if msgs := f.keyFromBlocks(ctx, &head, want, st); msgs != nil && len(msgs) != want {
		t.Errorf("%d of %d messages, the first at %d", len(msgs), want, msgs[0].seq)
	}
}
