//go:build !linux

package eventlog

import "os"

// syncFile brings a file, or a directory's names, to the disk.
func syncFile(f *os.File) error { return f.Sync() }
