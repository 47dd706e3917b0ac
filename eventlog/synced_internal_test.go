//go:build unix

package eventlog

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
)

func blobDraft(key string, mode Durability, size int) Draft {
	return Draft{Key: key, Durability: mode, Events: []any{blob{make([]byte, size)}}}
}

// T1.11: 100 concurrent Synced appends share their fsyncs. The first group's
// fsync is held until all the others are acknowledged.
func TestSyncedGroup(t *testing.T) {
	f := openSynced(t, t.TempDir())
	d := watch(t, f)
	if _, err := f.AppendDraft(t.Context(), blobDraft("first", Synced, 1)); err != nil {
		t.Fatal(err)
	}
	if d.calls < 5 { // configuration, block, and the directories above them
		t.Errorf("the first append was synced by %d fsyncs", d.calls)
	}
	gathered := make(chan struct{})
	d.calls, d.fail = 0, func(string) error { <-gathered; return nil }
	var returned atomic.Int64
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			if _, err := f.AppendDraft(t.Context(), blobDraft("k", Synced, 10)); err != nil {
				t.Error(err)
			}
			returned.Add(1)
		})
	}
	waitFor(t, func() bool { return len(f.writer.slots) == 0 && len(f.syncer.slots) == 100 })
	if n := returned.Load(); n != 0 {
		t.Errorf("%d returned before an fsync did", n)
	}
	close(gathered)
	wg.Wait()
	if d.calls < 1 || d.calls > 2 {
		t.Errorf("100 appends took %d fsyncs", d.calls)
	}
}

// After an error of the disk no fsync proves anything: what waits and what
// comes later isn't Synced, and says whether it is in the log.
func TestSyncedDiskError(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	f := openSynced(t, dir)
	d := watch(t, f)
	if _, err := f.AppendDraft(t.Context(), blobDraft("k", Synced, 1)); err != nil {
		t.Fatal(err)
	}
	var broken atomic.Bool
	broken.Store(true)
	d.fail = func(path string) error {
		if broken.Load() {
			return &os.PathError{Op: "fsync", Path: path, Err: syscall.EIO}
		}
		return nil
	}
	_, err := f.AppendDraft(t.Context(), blobDraft("k", Synced, 1))
	se, ok := errors.AsType[*SyncError](err)
	if !ok || se.Pos.Seq != 2 || !errors.Is(err, ErrNotSynced) || !errors.Is(err, syscall.EIO) {
		t.Fatalf("got %v", err)
	}
	broken.Store(false) // a disk that says it is well again
	_, err = f.AppendDraft(t.Context(), blobDraft("k", Synced, 1))
	if se, ok := errors.AsType[*SyncError](err); !ok || se.Pos.Seq != 0 || !strings.Contains(err.Error(), "nothing was appended") {
		t.Fatalf("later: %v", err)
	}
	if at, err := f.AppendDraft(t.Context(), blobDraft("k", Acked, 1)); err != nil || at.Seq != 3 {
		t.Errorf("Acked: %v, %v", at, err)
	}
	if n := len(f.syncer.slots); n != 0 {
		t.Errorf("%d slots are taken", n)
	}
	if err := f.log.Close(); err != nil {
		t.Fatal(err)
	}
	if at, err := openSynced(t, dir).AppendDraft(t.Context(), blobDraft("k", Synced, 1)); err != nil || at.Seq != 4 {
		t.Errorf("opened again: %v, %v", at, err)
	}
}

// Synced appends that are on their way when the log is closed get there.
func TestSyncedClose(t *testing.T) {
	f := openSynced(t, t.TempDir())
	d := watch(t, f)
	release := make(chan struct{})
	d.fail = func(string) error { <-release; return nil }
	var ps []*Pending
	for range 50 {
		p, err := f.AppendAsync(t.Context(), blobDraft("k", Synced, 1))
		if err != nil {
			t.Fatal(err)
		}
		ps = append(ps, p)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := ps[0].Wait(ctx); !errors.Is(err, ErrAmbiguous) {
		t.Errorf("gave up waiting: %v", err)
	}
	waitFor(t, func() bool { return len(f.writer.slots) == 0 })
	closed := make(chan error)
	go func() { closed <- f.log.Close() }()
	waitFor(t, func() bool { return f.closed.Load() })
	close(release)
	if err := <-closed; err != nil {
		t.Error(err)
	}
	for i, p := range ps {
		if at, err := p.Wait(t.Context()); err != nil || at.Seq != uint64(i+1) {
			t.Errorf("%d: %v, %v", i, at, err)
		}
	}
	if _, err := f.AppendAsync(t.Context(), blobDraft("k", Synced, 1)); !errors.Is(err, ErrClosed) {
		t.Errorf("later: %v", err)
	}
}

// An append that finds its ID in the log, appended as Acked, is synced before
// it returns.
func TestSyncedIdentity(t *testing.T) {
	f := openSynced(t, t.TempDir())
	d := watch(t, f)
	draft := blobDraft("k", Acked, 1)
	draft.ID = "id"
	at, err := f.AppendDraft(t.Context(), draft)
	if err != nil || d.calls > 0 {
		t.Fatalf("%v; %d fsyncs", err, d.calls)
	}
	draft.Durability = Synced
	again, err := f.AppendDraft(t.Context(), draft)
	if err != nil || again != at || d.calls == 0 {
		t.Errorf("%v, not %v, %v; %d fsyncs", again, at, err, d.calls)
	}
	before := f.syncer.groups.Load()
	draft.ID = "id2"
	if _, err := f.AppendDraft(t.Context(), draft); err != nil || f.syncer.groups.Load() != before+1 {
		t.Errorf("%v; %d groups", err, f.syncer.groups.Load()-before)
	}
	draft.Expect = ExpectNew
	draft.ID = ""
	if _, err := f.AppendDraft(t.Context(), draft); !errors.Is(err, ErrConflict) || len(f.syncer.slots) != 0 {
		t.Errorf("%v; %d slots taken", err, len(f.syncer.slots))
	}
}

// A trim may replace the block that is written to by a shorter file of the
// same name: what is appended behind it is in the new one.
func TestSyncedThroughTrim(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	f := openSynced(t, dir)
	d := watch(t, f)
	want := map[uint64]string{}
	add := func(n int) {
		for range n {
			at, err := f.AppendDraft(t.Context(), blobDraft("k", Synced, 64<<10))
			if err != nil {
				t.Fatal(err)
			}
			want[at.Seq] = "k"
		}
	}
	add(60)
	block := filepath.Join(f.log.embedded.streamDir(f.stream), "msgs", "1.blk")
	before, err := os.Stat(block)
	if err != nil {
		t.Fatal(err)
	}
	s, err := f.log.js.Stream(t.Context(), f.stream)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Purge(t.Context(), jetstream.WithPurgeSequence(51)); err != nil {
		t.Fatal(err)
	}
	for seq := range uint64(50) {
		delete(want, seq+1)
	}
	if after, err := os.Stat(block); err != nil || os.SameFile(before, after) {
		t.Fatalf("the server didn't replace the block, %v: this test shows nothing", err)
	}
	add(10)
	g := openSynced(t, d.image(t, dir, tornTails["nothing"]))
	for c, err := range g.Commits(t.Context(), After(50)) {
		if err != nil {
			t.Fatal(err)
		}
		delete(want, c.Seq)
	}
	if len(want) > 0 {
		t.Errorf("lost: %v", want)
	}
}

// The scheme stands on this: what is acknowledged is in the block file. The
// server would also be free to keep it in its own memory for a while, as it
// does with persist_mode async and with replicas.
func TestWrittenBeforeAcked(t *testing.T) {
	f := openSynced(t, t.TempDir())
	block := filepath.Join(f.log.embedded.streamDir(f.stream), "msgs", "1.blk")
	for range 200 {
		p, err := f.AppendAsync(t.Context(), blobDraft("k", Acked, 100))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(block); err != nil || !bytes.Contains(b, []byte(p.ID())) {
			t.Fatalf("acknowledged, and not in %s; %v", block, err)
		}
	}
}

// An Ordered handle sends the next append of a key when the one before is on
// the disk.
func TestSyncedOrdered(t *testing.T) {
	f := openSynced(t, t.TempDir())
	d := watch(t, f)
	o := f.Ordered()
	var ps []*Pending
	for i := range 20 {
		draft := blobDraft("k", Synced, 1)
		if draft.Expect = ExpectPrevious; i == 0 {
			draft.Expect = ExpectNew
		}
		p, err := o.AppendAsync(t.Context(), draft)
		if err != nil {
			t.Fatal(err)
		}
		ps = append(ps, p)
	}
	for i, p := range ps {
		if at, err := p.Wait(t.Context()); err != nil || at.Seq != uint64(i+1) {
			t.Errorf("%d: %v, %v", i, at, err)
		}
	}
	if d.calls < len(ps) || len(f.syncer.slots) != 0 {
		t.Errorf("%d fsyncs, %d slots taken", d.calls, len(f.syncer.slots))
	}
}

// Sync brings what was acknowledged before to the disk: once, for all that
// ask, and says where it can't.
func TestSync(t *testing.T) {
	f := openSynced(t, t.TempDir())
	d := watch(t, f)
	for range 3 {
		if _, err := f.AppendDraft(t.Context(), blobDraft("k", Acked, 1)); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Sync(t.Context(), 4); !errors.Is(err, ErrInvalid) {
		t.Errorf("beyond the end: %v", err)
	}
	if d.calls != 0 {
		t.Errorf("%d fsyncs before Sync", d.calls)
	}
	if err := f.Sync(t.Context(), 2); err != nil || d.calls == 0 {
		t.Errorf("%d fsyncs, %v", d.calls, err)
	}
	calls := d.calls
	for upto := range uint64(3) {
		if err := f.Sync(t.Context(), upto); err != nil || d.calls != calls {
			t.Errorf("again, up to %d: %d fsyncs, %v", upto, d.calls-calls, err)
		}
	}
	if _, err := f.AppendDraft(t.Context(), blobDraft("k", Synced, 1)); err != nil {
		t.Fatal(err)
	}
	calls = d.calls
	if err := f.Sync(t.Context(), 4); err != nil || d.calls != calls {
		t.Errorf("behind a Synced append: %d fsyncs, %v", d.calls-calls, err)
	}
	held, began := make(chan struct{}), make(chan struct{}, 100)
	d.fail = func(string) error {
		began <- struct{}{}
		<-held
		return syscall.EIO
	}
	if _, err := f.AppendDraft(t.Context(), blobDraft("k", Acked, 1)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error)
	go func() { failed <- f.Sync(ctx, 5) }()
	<-began
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("gave up: %v", err)
	}
	close(held)
	for range 2 { // no later fsync would prove anything
		if e, ok := errors.AsType[*SyncError](f.Sync(t.Context(), 5)); !ok || !errors.Is(e, syscall.EIO) || !errors.Is(e, ErrNotSynced) {
			t.Errorf("of a disk that failed: %v", e)
		}
	}
	if err := f.Sync(t.Context(), 4); err != nil {
		t.Errorf("of what was there before: %v", err)
	}
	_ = f.log.Close()
	if err := f.Sync(t.Context(), 4); !errors.Is(err, ErrClosed) {
		t.Errorf("of a closed log: %v", err)
	}
	m := suiteFeed(t, Options{App: "suite", Memory: true})
	grow(t, m, 1, 1)
	if e, ok := errors.AsType[*SyncError](m.Sync(t.Context(), 1)); !ok || e.Err != nil || !strings.Contains(e.Error(), "Options.Dir") {
		t.Errorf("of a log in memory: %v", e)
	}
}
