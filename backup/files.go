package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sync"

	"github.com/tidemark-es/tidemark/snapshot"
)

// file is one that is being written: beside its place, hashed on the way.
type file struct {
	f    *os.File
	path string
	hash hash.Hash
	size int64
}

func create(dir, name string) (*file, error) {
	p := filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		return nil, err
	}
	f, err := os.Create(p + ".partial")
	if err != nil {
		return nil, err
	}
	return &file{f: f, path: p, hash: sha256.New()}, nil
}

// Write is io.Writer's.
func (w *file) Write(b []byte) (int, error) {
	n, err := w.f.Write(b)
	w.hash.Write(b[:n])
	w.size += int64(n)
	return n, err
}

// drop gives the file up.
func (w *file) drop() { _ = errors.Join(w.f.Close(), os.Remove(w.f.Name())) }

// finish syncs the file and puts it into its place.
func (w *file) finish() (File, error) {
	err := errors.Join(w.f.Sync(), w.f.Close())
	if err == nil {
		err = os.Rename(w.f.Name(), w.path)
	}
	if err != nil {
		return File{}, err
	}
	if d, err := os.Open(filepath.Dir(w.path)); err == nil { // so that the rename lasts
		_ = errors.Join(d.Sync(), d.Close())
	}
	return File{Size: w.size, SHA256: hex.EncodeToString(w.hash.Sum(nil))}, nil
}

// recorder is a target of snapshots that notes what the directory holds of
// them.
type recorder struct {
	snapshot.Target
	mu    sync.Mutex
	files map[string]File
}

func (r *recorder) note(name string, data []byte) {
	sum := sha256.Sum256(data)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.files[path.Join(snapshotsDir, name)] = File{Size: int64(len(data)), SHA256: hex.EncodeToString(sum[:])}
}

func (r *recorder) Get(ctx context.Context, name string) ([]byte, error) {
	data, err := r.Target.Get(ctx, name)
	if err == nil {
		r.note(name, data)
	}
	return data, err
}

func (r *recorder) Put(ctx context.Context, name string, data []byte) error {
	if err := r.Target.Put(ctx, name, data); err != nil {
		return err
	}
	r.note(name, data)
	return nil
}

// prepare makes sure that the directory is empty, or that an interrupted Save
// left it.
func prepare(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return os.MkdirAll(dir, 0o755)
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		switch e.Name() {
		case snapshotsDir, streamsDir, manifestFile + ".partial":
		default:
			return fmt.Errorf("%w: %s has %s", ErrExists, dir, e.Name())
		}
	}
	return nil
}
