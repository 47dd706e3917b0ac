//go:build unix

package eventlog

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
)

// disk is what a power failure leaves: of each file that was synced, the
// length that it had then, and of each directory the names. It watches the
// syncer's fsync; the server's own don't count.
type disk struct {
	mu    sync.Mutex
	files map[string]synced
	names map[string]map[string]bool
	calls int
	fail  func(path string) error // before the fsync; nil: none fails
}

type synced struct {
	f    *os.File // the file itself: its name may lead to another one later
	size int64
}

func watch(t *testing.T, f *Feed) *disk {
	d := &disk{files: make(map[string]synced), names: make(map[string]map[string]bool)}
	f.syncer.fsync = d.fsync
	t.Cleanup(func() {
		for _, s := range d.files {
			_ = s.f.Close()
		}
	})
	return d
}

func (d *disk) fsync(f *os.File) error {
	path := f.Name()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	names := make(map[string]bool)
	if info.IsDir() {
		entries, err := os.ReadDir(path)
		if err != nil {
			return err
		}
		for _, e := range entries {
			names[e.Name()] = true
		}
	}
	d.mu.Lock()
	d.calls++
	fail := d.fail
	d.mu.Unlock()
	if fail != nil {
		if err := fail(path); err != nil {
			return err
		}
	}
	if err := syncFile(f); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if info.IsDir() {
		d.names[path] = names
		return nil
	}
	fd, err := syscall.Dup(int(f.Fd()))
	if err != nil {
		return err
	}
	if old, ok := d.files[path]; ok {
		_ = old.f.Close()
	}
	d.files[path] = synced{os.NewFile(uintptr(fd), path), info.Size()}
	return nil
}

// image makes a directory of what is on the disk. The file that is written to
// may have more behind what was synced: torn says what.
func (d *disk) image(t *testing.T, root string, torn func(rest []byte) []byte) string {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	to := filepath.Join(t.TempDir(), "image")
	if !d.names[filepath.Dir(root)][filepath.Base(root)] {
		t.Fatal("the directory of the log has no name on the disk")
	}
	d.restore(t, root, to, torn)
	return to
}

func (d *disk) restore(t *testing.T, from, to string, torn func([]byte) []byte) {
	t.Helper()
	if err := os.Mkdir(to, 0o700); err != nil {
		t.Fatal(err)
	}
	for name := range d.names[from] {
		path, copied := filepath.Join(from, name), filepath.Join(to, name)
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			d.restore(t, path, copied, torn)
			continue
		}
		var content []byte // of a file that was never synced
		if s, ok := d.files[path]; ok {
			now, err := s.f.Stat()
			if err != nil {
				t.Fatal(err)
			}
			all := make([]byte, now.Size())
			if _, err := s.f.ReadAt(all, 0); err != nil {
				t.Fatal(err)
			}
			content = append(all[:s.size:s.size], torn(all[s.size:])...)
		}
		if err := os.WriteFile(copied, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// What the file system may leave behind the synced part of a file.
var tornTails = map[string]func(rest []byte) []byte{
	"nothing": func([]byte) []byte { return nil },
	"zeros":   func(rest []byte) []byte { return make([]byte, len(rest)) },
	"a part":  func(rest []byte) []byte { return rest[:len(rest)*2/3] },
	"noise": func(rest []byte) []byte {
		b := bytes.Clone(rest)
		for i := range b {
			b[i] = byte(rand.Uint32())
		}
		return b
	},
}

type blob struct{ Data []byte }

// openSynced opens a log whose server never syncs by itself.
func openSynced(t *testing.T, dir string) *Feed {
	t.Helper()
	log, err := Open(t.Context(), Options{App: "power", Dir: dir, SyncInterval: 1e6 * 1e9})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	f, err := log.Feed(t.Context(), "blobs", Type[blob]("blob"))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// The power fails in the middle of appends of both modes, at several moments,
// over several blocks: every commit whose Synced append has returned is there.
func TestPowerFailure(t *testing.T) {
	t.Run("plain", func(t *testing.T) { powerFailure(t) })
	// The server replaces each block that is full by a compressed one.
	t.Run("compressed", func(t *testing.T) {
		if testing.Short() {
			t.Skip("the same again with compression: run without -short")
		}
		powerFailure(t, func(c *jetstream.StreamConfig) { c.Compression = jetstream.S2Compression })
	})
}

func powerFailure(t *testing.T, change ...func(*jetstream.StreamConfig)) {
	dir := filepath.Join(t.TempDir(), "log")
	f := openSynced(t, dir)
	for _, c := range change {
		cfg := f.streamConfig(f.incarnation)
		cfg.Metadata[metaIncarnation] = f.incarnation
		c(&cfg)
		if _, err := f.log.js.UpdateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
	}
	d := watch(t, f)
	w := &writers{f: f, returned: map[uint64]string{}}
	lost := 0
	for round, tail := range []string{"nothing", "zeros", "a part", "noise"} {
		stopped := w.run(t, round)
		want := w.sofar() // while the last appends go on
		image := d.image(t, dir, tornTails[tail])
		stopped.Wait()
		st, err := f.State(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		lost += int(st.Last) - checkImage(t, image, tail, f.incarnation, want)
	}
	blocks, err := filepath.Glob(filepath.Join(f.log.embedded.streamDir(f.stream), "msgs", "*.blk"))
	if err != nil || len(blocks) < 4 {
		t.Errorf("%d blocks, want at least 4; %v", len(blocks), err)
	}
	if lost == 0 {
		t.Error("no Acked commit was lost: the test's power failures take nothing")
	}
	t.Logf("%d commits, %d of them Synced, %d blocks, %d fsyncs, %d groups, %d commits lost in all images",
		w.total, len(w.returned), len(blocks), d.calls, f.syncer.groups.Load(), lost)
}

// writers append in both modes, from several goroutines.
type writers struct {
	f *Feed

	mu       sync.Mutex
	total    int
	returned map[uint64]string // sequence and key of Synced appends
}

// run returns after about a block and a half; the appends that are under way
// then end later.
func (w *writers) run(t *testing.T, round int) *sync.WaitGroup {
	var wg sync.WaitGroup
	stop, until := make(chan struct{}), w.total+300
	end := sync.OnceFunc(func() { close(stop) })
	for g := range 6 {
		mode, size := Acked, 48<<10
		if g%2 == 0 {
			mode, size = Synced, 8<<10
		}
		wg.Go(func() {
			draft := blobDraft("", mode, size)
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				draft.Key = fmt.Sprintf("k-%d-%d-%d", round, g, i)
				at, err := w.f.AppendDraft(t.Context(), draft)
				if err != nil {
					t.Error(err)
				}
				if w.note(at, draft) >= until || err != nil {
					end()
				}
			}
		})
	}
	<-stop
	return &wg
}

func (w *writers) note(at Position, d Draft) (total int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.total++; d.Durability == Synced {
		w.returned[at.Seq] = d.Key
	}
	if len(w.returned) == 0 {
		return 0 // go on until there is something to lose
	}
	return w.total
}

func (w *writers) sofar() map[uint64]string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.returned)
}

// checkImage opens what a power failure left, and returns its last sequence.
func checkImage(t *testing.T, dir, tail, incarnation string, want map[uint64]string) int {
	t.Helper()
	f := openSynced(t, dir)
	st, err := f.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	next := uint64(1)
	for c, err := range f.Commits(t.Context()) {
		if err != nil {
			t.Fatalf("behind %s: %v", tail, err)
		}
		if c.Seq != next {
			t.Fatalf("behind %s: %d follows %d", tail, c.Seq, next-1)
		}
		next++
		if key, ok := want[c.Seq]; ok && key != c.Key {
			t.Errorf("behind %s: %d is of %s, not of %s", tail, c.Seq, c.Key, key)
		}
		delete(want, c.Seq)
	}
	if f.incarnation != incarnation {
		t.Errorf("behind %s: the stream's configuration is lost, it was created again", tail)
	}
	if len(want) > 0 {
		t.Errorf("behind %s: %d Synced commits are lost: %v", tail, len(want), want)
	}
	// The log is whole, and can be appended to.
	if _, err := f.AppendDraft(t.Context(), Draft{Key: "after", Durability: Synced, Events: []any{blob{}}}); err != nil {
		t.Error(err)
	}
	if err := f.log.Close(); err != nil {
		t.Error(err)
	}
	return int(st.Last)
}
