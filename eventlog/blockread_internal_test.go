package eventlog

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidemark-es/tidemark/internal/fuzzmem"
)

// load is an event of any size.
type load struct {
	Bytes []byte `msgpack:"bytes"`
}

// openBlobs opens a log of blobs; each opening finds all that was written in
// the files.
func openBlobs(t *testing.T, dir string) *Feed {
	t.Helper()
	log, err := Open(t.Context(), Options{App: "blocks", Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	f, err := log.Feed(t.Context(), "blobs", Type[load]("blob"))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// fillBlobs appends commits of random keys, sizes and headers, and opens the
// log anew.
func fillBlobs(t *testing.T, n, keys, largest int) (f *Feed, dir string) {
	t.Helper()
	dir = t.TempDir()
	f = openBlobs(t, dir)
	rnd := rand.New(rand.NewPCG(uint64(n), 4))
	var pending []*Pending // of each: keys don't wait for one another
	for i := range n {
		d := Draft{Key: fmt.Sprint("k", rnd.IntN(keys)), Events: []any{load{bytes.Repeat([]byte{byte(i)}, rnd.IntN(largest))}}}
		if rnd.IntN(3) == 0 {
			d.ID, d.Causation = fmt.Sprint("id-", i), "because"
		}
		p, err := f.AppendAsync(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		pending = append(pending, p)
	}
	for _, p := range pending {
		if _, err := p.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return reopen(t, f, dir), dir
}

func reopen(t *testing.T, f *Feed, dir string) *Feed {
	t.Helper()
	if err := f.log.Close(); err != nil {
		t.Fatal(err)
	}
	return openBlobs(t, dir)
}

// byFiles reads a key by the block files, byRequests asks the server.
func byFiles(t *testing.T, f *Feed, key string) []mark {
	t.Helper()
	head, st := headOf(t, f, key)
	return marksOf(f.keyFromBlocks(t.Context(), &head, countedOf(t, f, head.subject), st))
}

func byRequests(t *testing.T, f *Feed, key string) (all []mark) {
	t.Helper()
	head, _ := headOf(t, f, key)
	h := f.openHistory(0, mark{}, head.seq, head.subject, true)
	defer h.close()
	for {
		msgs, err := h.next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(msgs) == 0 {
			return all
		}
		all = append(all, marksOf(msgs)...)
	}
}

func headOf(t *testing.T, f *Feed, key string) (message, State) {
	t.Helper()
	subject, err := f.Subject(key)
	if err != nil {
		t.Fatal(err)
	}
	st, err := f.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	head, ok, err := f.lastOf(t.Context(), subject)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	return head, st
}

func marksOf(msgs []message) (marks []mark) {
	for i := range msgs {
		marks = append(marks, markOf(&msgs[i]))
	}
	return marks
}

// A key's history in the block files is the one that the server tells, over
// several blocks, and with commits that are larger than what is read at once.
func TestBlocksSameAsServer(t *testing.T) {
	f, dir := fillBlobs(t, 300, 5, 2*scanBuffer/5)
	if blocks := blocksOf(t, f); len(blocks) < 2 {
		t.Fatalf("%d blocks", len(blocks))
	}
	check := func(what string) {
		for i := range 5 {
			key := fmt.Sprint("k", i)
			got, want := byFiles(t, f, key), byRequests(t, f, key)
			if len(want) == 0 || !slices.Equal(got, want) {
				t.Errorf("%s: %s has %d by the files, %d by the server, or others", what, key, len(got), len(want))
			}
		}
	}
	check("whole")
	s, err := f.log.js.Stream(t.Context(), f.stream)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Purge(t.Context(), jetstream.WithPurgeSequence(150)); err != nil {
		t.Fatal(err)
	}
	f = reopen(t, f, dir)
	check("trimmed")
}

func blocksOf(t *testing.T, f *Feed) []string {
	t.Helper()
	blocks, err := filepath.Glob(filepath.Join(f.log.embedded.streamDir(f.stream), "msgs", "*.blk"))
	if err != nil {
		t.Fatal(err)
	}
	return blocks
}

// Whatever a file holds that the server didn't write isn't taken from there.
func TestBlocksDamaged(t *testing.T) {
	f, _ := fillBlobs(t, 60, 2, 400)
	want := byFiles(t, f, "k1")
	if len(want) < 10 {
		t.Fatalf("%d messages", len(want))
	}
	// Asked for once, before: the server reads the same file, and may find
	// nothing in it either.
	head, st := headOf(t, f, "k1")
	path := blocksOf(t, f)[0]
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	damage := map[string]func(b []byte) []byte{
		"nothing":           func(b []byte) []byte { return nil },
		"end missing":       func(b []byte) []byte { return b[:len(b)/2] },
		"start missing":     func(b []byte) []byte { return b[100:] },
		"a record twice":    func(b []byte) []byte { return append(b, b...) },
		"noise behind":      func(b []byte) []byte { return append(b, bytes.Repeat([]byte{0xff}, 100)...) },
		"zeros behind":      func(b []byte) []byte { return append(b, make([]byte, 100)...) },
		"compressed before": func(b []byte) []byte { return append([]byte("cmp\x01"), b...) },
	}
	for i := range 20 {
		damage[fmt.Sprint("bit flipped ", i)] = func(b []byte) []byte { b[(2*i+1)*len(b)/41] ^= 4; return b }
	}
	fell := 0
	for name, change := range damage {
		if err := os.WriteFile(path, change(bytes.Clone(good)), 0o600); err != nil {
			t.Fatal(err)
		}
		// A bit of another key's commit does no harm.
		got := marksOf(f.keyFromBlocks(t.Context(), &head, countedOf(t, f, head.subject), st))
		if got == nil {
			fell++
		} else if !slices.Equal(got, want) {
			t.Errorf("%s: other messages were taken for the key's", name)
		}
	}
	if fell < 8 {
		t.Errorf("%d of %d kinds of damage were noticed", fell, len(damage))
	}
}

// While others append, a history has all up to a head that was there when it
// was asked for.
func TestBlocksWhileAppending(t *testing.T) {
	const commits = 600
	f := openBlobs(t, t.TempDir())
	ended := make(chan error, 1)
	began := make(chan struct{})
	go func() {
		defer close(ended)
		for i := range commits {
			if _, err := f.Append(t.Context(), fmt.Sprint("k", i%3), ExpectAny, load{make([]byte, 100)}); err != nil {
				ended <- err
				return
			}
			if i == 10 {
				close(began)
			}
		}
	}()
	<-began
	for found := 0; found < commits/3; {
		for i, m := range byFiles(t, f, "k0") {
			if m.seq != uint64(3*i+1) {
				t.Fatalf("the %dth commit of the key is %d", i+1, m.seq)
			}
		}
		f.keys.drop(f.prefix + "k0")
		n := 0
		for c, err := range f.Commits(t.Context(), OfKey("k0")) {
			if err != nil {
				t.Fatal(err)
			}
			if n++; c.Seq != uint64(3*n-2) {
				t.Fatalf("the %dth commit of the key is %d", n, c.Seq)
			}
		}
		if n < found {
			t.Fatalf("%d commits, where there were %d before", n, found)
		}
		found = n
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// FuzzBlock gives any bytes for a block file: what is found in there has its
// checksum, the subject, and lies in it.
func FuzzBlock(f *testing.F) {
	record := recordOf(7, 5, "a.b", "NATS/1.0\r\nA: b\r\n\r\n", "data", "stream", 1)
	f.Add(record, true, uint8(64))
	f.Add(append(bytes.Clone(record), recordOf(8, 6, "a.c", "", "x", "stream", 1)...), false, uint8(60))
	f.Add(record[:len(record)-1], false, uint8(18))
	f.Add([]byte{}, false, uint8(0))
	f.Add([]byte("00\x92\x800000000000000000\x03\x00a.b"), false, uint8('\r')) // a record of 9 MB, it says
	none := bytes.Clone(record)
	clear(none[recordHead+len("a.b"):][:4]) // the length of its header
	f.Add(none, true, uint8(29))
	sum, err := newBlockHash("stream", 1)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte, newest bool, size uint8) {
		fuzzCursor(t, b, sum, 6+uint64(size))
		s := &blockScan{stream: "stream", subject: []byte("a.b"), first: 3}
		var found []message
		var err error
		fuzzmem.Check(t, len(b), 200, 8<<20, func() {
			found, err = s.block(1, newest, bytes.NewReader(b), make([]byte, recordHead+len(s.subject)+int(size)))
		})
		if err != nil && !errors.Is(err, errBlockForm) {
			t.Fatal(err)
		}
		for i := range found {
			m := &found[i]
			if m.subject != "a.b" || m.seq < s.first || !bytes.Contains(b, recordOf(m.seq, m.nanos, m.subject, string(m.header), string(m.data), "stream", 1)) {
				t.Fatalf("%+v isn't in %q", m, b)
			}
		}
	})
}

func countedOf(t *testing.T, f *Feed, subject string) int {
	t.Helper()
	n, err := f.countOf(t.Context(), subject)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
