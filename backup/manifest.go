package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	manifestFile  = "backup.json"
	formatVersion = 1
	snapshotsDir  = "snapshots"
	streamsDir    = "streams"

	maxManifest = 256 << 20 // bytes: some 1.5 million files
)

// Manifest says what a backup holds. It is the file backup.json: one line of
// JSON, and one with the SHA-256 of that.
type Manifest struct {
	Format    int             `json:"format"` // 1
	App       string          `json:"app"`
	Begun     time.Time       `json:"begun"` // by the clock of who saved
	Ended     time.Time       `json:"ended"`
	Streams   []Stream        `json:"streams"`   // registers first, then feeds, each by name
	Snapshots []Snapshot      `json:"snapshots"` // newest of each unit, by unit
	Files     map[string]File `json:"files"`     // by path below the directory, with slashes
	Notes     []string        `json:"notes,omitempty"`
	Server    string          `json:"server,omitempty"` // the version of the nats-server that it was made by; "" in older backups

	id string // SHA-256 of the JSON
}

// Stream is one stream's backup, as the server made it.
type Stream struct {
	Name   string          `json:"name"`
	Feed   bool            `json:"feed"` // else a register, a key-value bucket
	File   string          `json:"file"`
	Config json.RawMessage `json:"config"`
	State  State           `json:"state"`
}

// State is a stream's extent, as JetStream reports it.
type State struct {
	Messages uint64    `json:"messages"`
	Bytes    uint64    `json:"bytes"`
	FirstSeq uint64    `json:"first_seq"`
	LastSeq  uint64    `json:"last_seq"`
	First    time.Time `json:"first_ts"`
	Last     time.Time `json:"last_ts"`
}

func stateOf(s jetstream.StreamState) State {
	return State{Messages: s.Msgs, Bytes: s.Bytes, FirstSeq: s.FirstSeq, LastSeq: s.LastSeq, First: s.FirstTime, Last: s.LastTime}
}

// same reports whether both are the same messages, as far as numbers tell.
func (s State) same(o State) bool {
	return s.Messages == o.Messages && s.LastSeq == o.LastSeq && (s.FirstSeq == o.FirstSeq || s.Messages == 0)
}

// Snapshot is the newest snapshot of a unit.
type Snapshot struct {
	Unit    string            `json:"unit"`
	ID      string            `json:"id"`
	At      map[string]uint64 `json:"at"`
	Digests map[string]string `json:"digests"` // of its members' states, hexadecimal; "" where unknown
}

// File is what Verify compares.
type File struct {
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// Feeds is how far each feed of the backup reaches, by stream.
func (m *Manifest) Feeds() map[string]uint64 {
	at := make(map[string]uint64)
	for _, s := range m.Streams {
		if s.Feed {
			at[s.Name] = s.State.LastSeq
		}
	}
	return at
}

// write puts the manifest into its place, which makes the directory a backup.
func (m *Manifest) write(dir string) error {
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(data)
	m.id = hex.EncodeToString(sum[:])
	w, err := create(dir, manifestFile)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(w, "%s\n%s\n", data, m.id); err != nil {
		w.drop()
		return err
	}
	_, err = w.finish()
	return err
}

// Open reads a backup's manifest, without the other files. Errors: ErrNone
// where there is none, as after an interrupted Save; ErrDamaged.
func Open(dir string) (*Manifest, error) {
	root, err := os.OpenRoot(dir)
	if err == nil {
		defer func() { _ = root.Close() }()
		var f *os.File
		if f, err = openFile(root, manifestFile); err == nil {
			defer func() { _ = f.Close() }()
			data, err := io.ReadAll(io.LimitReader(f, maxManifest+1))
			if err != nil {
				return nil, err
			}
			return decode(data)
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s", ErrNone, dir)
	}
	return nil, err
}

// heeding reads until a context ends.
type heeding struct {
	ctx context.Context
	io.Reader
}

func (h heeding) Read(b []byte) (int, error) {
	if err := h.ctx.Err(); err != nil {
		return 0, err
	}
	return h.Reader.Read(b)
}

// openFile opens what is a file, and not a link: opening a pipe waits for its
// writer, and a link may lead to anything.
func openFile(root *os.Root, name string) (*os.File, error) {
	info, err := root.Lstat(filepath.FromSlash(name))
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: %.200q isn't a file", ErrDamaged, name)
	}
	return root.Open(filepath.FromSlash(name))
}

// decode checks a manifest's file. Errors: ErrDamaged; ErrInvalid where another
// release wrote it.
func decode(data []byte) (*Manifest, error) {
	if len(data) > maxManifest {
		return nil, fmt.Errorf("%w: %s has more than %d bytes", ErrDamaged, manifestFile, maxManifest)
	}
	line, rest, _ := bytes.Cut(data, []byte("\n"))
	sum := sha256.Sum256(line)
	m := &Manifest{id: hex.EncodeToString(sum[:])}
	if string(rest) != m.id+"\n" {
		return nil, fmt.Errorf("%w: %s: the checksum doesn't match", ErrDamaged, manifestFile)
	}
	if err := json.Unmarshal(line, m); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrDamaged, manifestFile, err)
	}
	if m.Format != formatVersion {
		return nil, fmt.Errorf("%w: %s has format %d, this release reads %d", ErrInvalid, manifestFile, m.Format, formatVersion)
	}
	return m, nil
}

// Verify reads every file of a backup and compares it with the manifest.
// Errors: those of Open; ErrDamaged, joined for the first 20 files that are
// damaged or missing.
func Verify(dir string) (*Manifest, error) {
	m, err := Open(dir)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	if err := m.verify(context.Background(), root); err != nil {
		return nil, err
	}
	return m, nil
}

// verify compares all files.
func (m *Manifest) verify(ctx context.Context, root *os.Root) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(m.Files)) {
		err := verifyFile(ctx, root, name, m.Files[name])
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			if errs = append(errs, fmt.Errorf("%w: %.200q: %w", ErrDamaged, name, err)); len(errs) == maxProblems {
				break
			}
		}
	}
	return errors.Join(errs...)
}

func verifyFile(ctx context.Context, root *os.Root, name string, want File) error {
	f, err := openFile(root, name)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	h := sha256.New()
	n, err := io.Copy(h, io.LimitReader(heeding{ctx, f}, want.Size+1))
	if err != nil {
		return err
	}
	if n != want.Size || hex.EncodeToString(h.Sum(nil)) != want.SHA256 {
		return fmt.Errorf("its %d bytes aren't the %d that were saved", n, want.Size)
	}
	return nil
}
