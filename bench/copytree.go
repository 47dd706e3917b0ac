package main

import (
	"io/fs"
	"os"
	"path/filepath"
)

// copyTree copies a directory and brings the copy to the disk, so that
// writing it back doesn't fall into what is timed next.
func copyTree(dst, src string) error {
	if err := os.CopyFS(dst, os.DirFS(src)); err != nil {
		return err
	}
	return filepath.WalkDir(dst, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		return f.Sync()
	})
}
