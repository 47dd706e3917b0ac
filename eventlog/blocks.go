package eventlog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// blockFiles are the files that the embedded server keeps a stream in: its
// configuration, and blocks of up to 8 MB, numbered upwards, of which it
// appends to the newest alone. They are one goroutine's.
type blockFiles struct {
	root  string // Options.Dir
	dir   string // the stream's directory, below root
	fsync func(*os.File) error

	// newest is the last block that was found. All blocks before it are on
	// the disk. Its descriptor stays open until the next one is synced: an
	// error of the disk shows on descriptors that were open when it happened.
	newest *block
	looked time.Time // when the blocks behind newest were last looked for
	config [len(configFiles)]fs.FileInfo
}

type block struct {
	index uint64
	f     *os.File
}

// configFiles are what the server recovers a stream by: without them it
// doesn't look at the blocks.
var configFiles = [...]string{"meta.inf", "meta.sum"}

// lookAgain is how long blocks are taken to be numbered one by one. They are,
// except where one is gone already when it is looked for, which takes an
// operator, and longer than this to fill it.
const lookAgain = 100 * time.Millisecond

var errNoBlocks = errors.New("the stream has no block files")

// sync brings everything that was written before the call to the disk: all
// blocks from the newest known one on, their names, and the stream's
// configuration. After an error nobody knows what is there.
func (b *blockFiles) sync() error {
	if err := b.syncConfig(); err != nil {
		return err
	}
	known := b.newest
	behind, err := b.behind()
	if err != nil {
		return err
	}
	if known != nil {
		// Older ones first: what is on the disk has no hole in the middle.
		if err := b.fsync(known.f); err != nil {
			return err
		}
	}
	for _, index := range behind {
		if err := b.advance(index); err != nil {
			return err
		}
	}
	if b.newest == nil {
		return fmt.Errorf("%w: %s", errNoBlocks, b.blocks())
	}
	if b.newest == known {
		return nil
	}
	return b.syncDir(b.blocks())
}

// behind finds the blocks behind the newest known one. A new number is not
// the only one to find: a trim may have replaced the newest file by a shorter
// one of the same name.
func (b *blockFiles) behind() (found []uint64, err error) {
	now := time.Now()
	defer func() { b.looked = now }()
	if b.newest == nil {
		return b.list(0)
	}
	same, err := b.inPlace()
	if err != nil {
		return nil, err
	}
	if !same || now.Sub(b.looked) > lookAgain {
		from := b.newest.index
		if same {
			from++
		}
		return b.list(from)
	}
	for next := b.newest.index + 1; ; next++ {
		switch _, err := os.Stat(b.path(next)); {
		case errors.Is(err, fs.ErrNotExist):
			return found, nil
		case err != nil:
			return nil, err
		}
		found = append(found, next)
	}
}

// inPlace says whether the newest block's name still leads to its file.
func (b *blockFiles) inPlace() (bool, error) {
	there, err := os.Stat(b.path(b.newest.index))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	here, err := b.newest.f.Stat()
	return err == nil && os.SameFile(here, there), err
}

// list returns the numbers of the blocks that are there, from the given one
// on, ascending.
func (b *blockFiles) list(from uint64) (found []uint64, err error) {
	entries, err := os.ReadDir(b.blocks())
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		digits, ok := strings.CutSuffix(e.Name(), ".blk")
		if !ok {
			continue
		}
		if index, err := strconv.ParseUint(digits, 10, 32); err == nil && index >= from {
			found = append(found, index)
		}
	}
	slices.Sort(found)
	return found, nil
}

// advance brings a further block to the disk, which is the newest then. One
// that was trimmed meanwhile needs nothing.
func (b *blockFiles) advance(index uint64) error {
	f, err := os.OpenFile(b.path(index), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := b.fsync(f); err != nil {
		_ = f.Close()
		return err
	}
	b.close()
	b.newest = &block{index: index, f: f}
	return nil
}

// syncConfig brings the configuration to the disk when it has changed, and
// the first time the directories that lead to it.
func (b *blockFiles) syncConfig() error {
	first, changed := b.config[0] == nil, false
	for i, name := range configFiles {
		path := filepath.Join(b.dir, name)
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		if old := b.config[i]; old != nil && os.SameFile(old, info) && old.ModTime().Equal(info.ModTime()) && old.Size() == info.Size() {
			continue
		}
		if err := b.syncPath(path, os.O_RDWR); err != nil {
			return err
		}
		b.config[i], changed = info, true
	}
	if !changed {
		return nil
	}
	if !first {
		return b.syncDir(b.dir)
	}
	for dir := b.dir; ; dir = filepath.Dir(dir) {
		if err := b.syncDir(dir); err != nil {
			return err
		}
		// The directory above root has root's name, which Open may have made.
		if len(dir) < len(b.root) || dir == filepath.Dir(dir) {
			return nil
		}
	}
}

func (b *blockFiles) syncDir(dir string) error { return b.syncPath(dir, os.O_RDONLY) }

func (b *blockFiles) syncPath(path string, flag int) error {
	f, err := os.OpenFile(path, flag, 0)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // it was synced, or the error says more
	return b.fsync(f)
}

func (b *blockFiles) blocks() string { return filepath.Join(b.dir, "msgs") }

func (b *blockFiles) path(index uint64) string {
	return filepath.Join(b.blocks(), strconv.FormatUint(index, 10)+".blk")
}

func (b *blockFiles) close() {
	if b.newest != nil {
		_ = b.newest.f.Close()
		b.newest = nil
	}
}
