package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
)

// FS returns a peer over files that [Store.Export] wrote, such as a directory,
// an archive or an embedded file system.
func FS(files fs.FS) Peer { return fsPeer{files} }

type fsPeer struct{ files fs.FS }

func (p fsPeer) Get(_ context.Context, name string) ([]byte, error) {
	if _, err := keyOf(name); err != nil {
		return nil, err
	}
	data, err := fs.ReadFile(p.files, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &NotFoundError{Kind: "file", Name: name}
	}
	return data, err
}

// Dir returns a directory to export to, and to import from. It is made where it
// is missing.
func Dir(dir string) Target { return dirTarget{dir, fsPeer{os.DirFS(dir)}} }

type dirTarget struct {
	dir string
	fsPeer
}

// Put writes beside, syncs, and renames.
func (d dirTarget) Put(_ context.Context, name string, data []byte) (err error) {
	if _, err := keyOf(name); err != nil {
		return err
	}
	file := filepath.Join(d.dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Join(d.dir, filepath.FromSlash(path.Dir(name))), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(file), ".partial-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("write %s: %w", name, err), os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), file); err != nil {
		return err
	}
	return syncDir(filepath.Dir(file))
}

// syncDir makes a rename last. A system that can't do that for directories has
// no better way.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return nil
	}
	_ = d.Sync()
	return d.Close()
}
