package snapshot

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// FS returns a peer over files that [Store.Export] wrote, such as a directory,
// an archive or an embedded file system.
func FS(files fs.FS) Peer { return fsPeer{files} }

type fsPeer struct{ files fs.FS }

func (p fsPeer) Get(ctx context.Context, name string) ([]byte, error) {
	return p.get(ctx, name, maxFetch)
}

func (p fsPeer) get(_ context.Context, name string, most int) ([]byte, error) {
	if _, err := keyOf(name); err != nil {
		return nil, err
	}
	// Looked at before it is opened: opening a pipe waits for its writer.
	info, err := fs.Stat(p.files, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &NotFoundError{Kind: "file", Name: name}
	}
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, corrupt("%s isn't a file", name)
	}
	f, err := p.files.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, int64(most)+1)) // an archive may say any size
	if err == nil && len(data) > most {
		err = tooLarge(name, most)
	}
	return data, err
}

// Dir returns a directory to export to, and to import from. It is made where it
// is missing. Nothing outside of it is read or written: symbolic links that lead
// out aren't followed.
func Dir(dir string) Target { return dirTarget{dir} }

type dirTarget struct{ dir string }

func (d dirTarget) Get(ctx context.Context, name string) ([]byte, error) {
	return d.get(ctx, name, maxFetch)
}

func (d dirTarget) get(ctx context.Context, name string, most int) ([]byte, error) {
	if _, err := keyOf(name); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(d.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &NotFoundError{Kind: "file", Name: name}
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	return fsPeer{root.FS()}.get(ctx, name, most)
}

// Put writes beside, syncs, and renames.
func (d dirTarget) Put(_ context.Context, name string, data []byte) (err error) {
	if _, err := keyOf(name); err != nil {
		return err
	}
	if err := os.MkdirAll(d.dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(d.dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	file := filepath.FromSlash(name)
	if err := root.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	partial := filepath.Join(filepath.Dir(file), ".partial-"+rand.Text())
	f, err := root.OpenFile(partial, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("write %s: %w", name, err), root.Remove(partial))
		}
	}()
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err = root.Rename(partial, file); err != nil {
		return err
	}
	syncDir(root, filepath.Dir(file))
	return nil
}

// syncDir makes a rename last. A system that can't do that for directories has
// no better way.
func syncDir(root *os.Root, name string) {
	if d, err := root.Open(name); err == nil {
		_ = errors.Join(d.Sync(), d.Close())
	}
}
