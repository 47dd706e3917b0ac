package eventlog

import (
	"errors"
	"os"
	"syscall"
)

// syncFile brings a file, or a directory's names, to the disk. fdatasync(2)
// leaves out times, and nothing that is needed to read the file again: its
// new length is written.
func syncFile(f *os.File) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = c.Control(func(fd uintptr) {
		for failed = syscall.EINTR; errors.Is(failed, syscall.EINTR); {
			failed = syscall.Fdatasync(int(fd))
		}
	})
	if err != nil {
		return err
	}
	if failed != nil {
		return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: failed}
	}
	return nil
}
