package eventlog

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/gofrs/flock"
)

// lockFile keeps a second Log from opening the same directory: the server
// itself would let it, and the two would ruin each other's files. The
// operating system drops the lock when the process ends, however it ends.
const lockFile = "tidemark.lock"

// dirLock is the lock on the directory of an embedded log. A lock that is kept
// stays until the process ends: goroutines of the server may still write to
// the directory, and nothing can end them. What keeps it stands in the file,
// for processes that find it locked.
type dirLock struct {
	path string

	mu    sync.Mutex
	flock *flock.Flock // nil: it was released
	kept  bool
}

// keptLocks holds on to the locks that are kept: one that is collected as
// garbage would be released. The reasons are by the file's path.
var keptLocks struct {
	mu    sync.Mutex
	locks []*dirLock
	why   map[string]string
}

// lockDir makes the directory where it is missing, and locks it.
func lockDir(dir string) (*dirLock, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("eventlog: directory of the log: %w", err)
	}
	path, err := filepath.Abs(filepath.Join(dir, lockFile))
	if err != nil {
		return nil, fmt.Errorf("eventlog: directory of the log: %w", err)
	}
	d := &dirLock{path: path, flock: flock.New(path, flock.SetPermissions(0o600))}
	ok, err := d.flock.TryLock()
	switch {
	case err != nil:
		return nil, fmt.Errorf("eventlog: lock of %s: %w", dir, err)
	case !ok:
		return nil, fmt.Errorf("eventlog: %s: %w: %s", dir, ErrInUse, d.holder())
	}
	d.say("")
	return d, nil
}

// holder says why the directory is locked, and what to do.
func (d *dirLock) holder() string {
	keptLocks.mu.Lock()
	why := keptLocks.why[d.path]
	keptLocks.mu.Unlock()
	if why == "" {
		text, _ := os.ReadFile(d.path) // locked files can't be read everywhere
		why = strings.TrimSpace(string(text))
	}
	if why != "" {
		return why
	}
	return "another process, or another Log here, has it open; stop that one, or let both connect to one server by URL"
}

// say writes why the directory is locked; "" for the usual reason. It is a
// help for others, so a failure doesn't matter.
func (d *dirLock) say(why string) {
	if st, err := os.Stat(d.path); err != nil || st.Size() == 0 && why == "" {
		return
	}
	if why != "" {
		why += "\n"
	}
	_ = os.WriteFile(d.path, []byte(why), 0o600)
}

// keep holds the lock until the process ends. It is false where the lock was
// released before.
func (d *dirLock) keep(why string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.flock == nil {
		return false
	}
	d.kept = true
	why = fmt.Sprintf("process %d has given it up and can't let go of it: %s: end that process", os.Getpid(), why)
	keptLocks.mu.Lock()
	if keptLocks.why == nil {
		keptLocks.why = make(map[string]string)
	}
	keptLocks.locks = append(keptLocks.locks, d)
	keptLocks.why[d.path] = why
	keptLocks.mu.Unlock()
	d.say(why)
	return true
}

// release lets go of the lock, unless it is kept.
func (d *dirLock) release() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.flock == nil || d.kept {
		return
	}
	d.say("")
	// The file stays: removing it would let two processes hold locks on two
	// files of the same name.
	_ = d.flock.Unlock()
	d.flock = nil
}
