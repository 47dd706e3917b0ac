package eventlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
)

// eager is the source of a log's end that takes the files whenever it can.
func eager(t *testing.T, f *Feed, after uint64) *blockTail {
	t.Helper()
	s, err := f.openEnd(t.Context(), after, mark{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	b := s.(*blockTail)
	b.least = 0
	return b
}

// appendHere appends n commits, appendElsewhere n messages that this process isn't told
// of when they are stored, as another one would.
func appendHere(t *testing.T, f *Feed, key string, n, size int) {
	for range n {
		if _, err := f.Append(t.Context(), key, ExpectAny, load{make([]byte, size)}); err != nil {
			t.Error(err)
		}
	}
}

func appendElsewhere(t *testing.T, f *Feed, n int) {
	for range n {
		msg := &nats.Msg{Subject: f.prefix + "k0", Header: nats.Header{"A": {"b"}}, Data: []byte("foreign")}
		if _, err := f.log.js.PublishMsg(t.Context(), msg); err != nil {
			t.Error(err)
		}
	}
}

// By the files or by the consumer, whichever there is at the moment: every
// message once, in order, as the leader has it; beside what others append,
// over several blocks, and while the log is trimmed.
func TestBlockTail(t *testing.T) {
	f := openBlobs(t, t.TempDir())
	s := eager(t, f, 0)
	rnd := rand.New(rand.NewPCG(5, 6))
	at := uint64(0)
	for range 60 {
		var all sync.WaitGroup
		from := at
		for c := range rnd.IntN(4) {
			n, size := 1+rnd.IntN(20), rnd.IntN(20_000)
			all.Go(func() { appendHere(t, f, fmt.Sprint("k", c), n, size) })
			at += uint64(n)
		}
		if n := rnd.IntN(6) - 3; n > 0 {
			all.Go(func() { appendElsewhere(t, f, n) })
			at += uint64(n)
		}
		prints := pull(t, s, from, at)
		all.Wait()
		if at > from {
			m, ok, err := f.get(t.Context(), getRequest{Seq: from + 1 + rnd.Uint64N(at-from)})
			if err != nil || !ok || m.fingerprint() != prints[m.seq] {
				t.Fatalf("message %d isn't the leader's (%v)", m.seq, err)
			}
		}
		if rnd.IntN(10) == 0 {
			trim(t, f, at+1)
		}
	}
	if n := f.stats.files.Load(); n == 0 || n >= at {
		t.Errorf("%d of %d came by the files", n, at)
	}
	if blocks := blocksOf(t, f); filepath.Base(blocks[len(blocks)-1]) == "1.blk" {
		t.Error("all is in one block")
	}
}

// readingFiles is a source that has read the first 11 commits of a log, the last
// of them by the files.
func readingFiles(t *testing.T) (*Feed, *blockTail) {
	t.Helper()
	f := openBlobs(t, t.TempDir())
	s := eager(t, f, 0)
	appendHere(t, f, "k", 10, 10)
	pull(t, s, 0, 10)
	appendHere(t, f, "k", 1, 10)
	pull(t, s, 10, 11)
	if !s.reading {
		t.Fatal("not by the files")
	}
	return f, s
}

// What others append isn't waited for when this process has stopped to.
func TestBlockTailForeign(t *testing.T) {
	f, s := readingFiles(t)
	appendElsewhere(t, f, 1)
	pull(t, s, 11, 12)
}

// A context that ends doesn't end the source; the log's end does.
func TestBlockTailEnds(t *testing.T) {
	f, s := readingFiles(t)
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if msgs, err := s.next(ctx); !errors.Is(err, why) || !s.reading {
		t.Errorf("%d messages, %v", len(msgs), err)
	}
	appendHere(t, f, "k", 10, 10)
	pull(t, s, 11, 21)
	ended := make(chan error)
	go func() {
		_, err := s.next(t.Context())
		ended <- err
	}()
	if err := f.log.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, ErrClosed) {
		t.Errorf("of a closed log: %v", err)
	}
}

// A stream that was replaced while its files were read isn't read on.
func TestBlockTailReplaced(t *testing.T) {
	f, s := readingFiles(t)
	c := f.streamConfig("another")
	if err := f.log.js.DeleteStream(t.Context(), f.stream); err != nil {
		t.Fatal(err)
	}
	if _, err := f.log.js.CreateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	appendElsewhere(t, f, 30)
	f.frontier.note(12)
	if msgs, err := s.next(t.Context()); !errors.Is(err, ErrLostTail) {
		t.Errorf("%d messages, %v", len(msgs), err)
	}
}

// Files that aren't as expected are left to the server, for good where that
// happens again and again; what it has acknowledged comes all the same.
func TestBlockTailDamaged(t *testing.T) {
	f := openBlobs(t, t.TempDir())
	s := eager(t, f, 0)
	at := uint64(0)
	for range 2 * blockFailed {
		appendHere(t, f, "k", 5, 10)
		pull(t, s, at, at+5)
		at += 5
		appendHere(t, f, "k", 1, 10)
		s.cursor.sum, _ = newBlockHash("another", 1) // no record has its checksum
		pull(t, s, at, at+1)
		at++
	}
	if s.failed != blockFailed || s.reading {
		t.Errorf("%d failures, reading: %v", s.failed, s.reading)
	}
}

// fuzzCursor reads any bytes as a block by the cursor: what it takes is
// without a gap, lies in them, and has its checksum.
func fuzzCursor(t *testing.T, b []byte, sum *blockHash, upto uint64) {
	c := blockCursor{sum: sum, at: 6}
	used, want, err := c.parse(b, upto)
	if used < 0 || used > len(b) || (want != 0 && want <= len(b)-used) || (err != nil && !errors.Is(err, errBlockForm) && !errors.Is(err, errNotInBlocks)) {
		t.Fatalf("%d of %d bytes, %d wanted, %v", used, len(b), want, err)
	}
	for i := range c.msgs {
		if m := &c.msgs[i]; m.seq != 7+uint64(i) || m.seq > upto || m.seq > c.at || !bytes.Contains(b[:used], m.data) {
			t.Fatalf("%+v", m)
		}
	}
}
