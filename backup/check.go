package backup

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/klauspost/compress/s2"
	"github.com/nats-io/nats-server/v2/server/archive"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tidemark-es/tidemark/snapshot"
	"github.com/tidemark-es/tidemark/timeframe"
)

// A backup that is restored may have been made by anybody: its checksums say
// that it is whole, not whose it is. So all of it is compared with the
// application before anything is written: paths (checkFiles), the names of
// streams, their settings (settings.go), and what is in their files (contents).

// RefusedError says what of a backup isn't the application's to restore.
type RefusedError struct {
	App      string
	Problems []string // at least one; each names what and why
}

// Error lists all problems.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("%v: application %q: %s; nothing was written", ErrRefused, e.App, strings.Join(e.Problems, "; "))
}

// Unwrap returns [ErrRefused].
func (e *RefusedError) Unwrap() error { return ErrRefused }

// maxProblems bounds the list: a hostile backup could have any number.
const maxProblems = 20

// checking gathers what is wrong with a backup.
type checking struct {
	m        *Manifest
	root     *os.Root
	plain    bool
	problems []string
}

func (c *checking) add(format string, args ...any) {
	if len(c.problems) < maxProblems {
		c.problems = append(c.problems, fmt.Sprintf(format, args...))
	}
}

func (c *checking) err() error {
	if len(c.problems) == 0 {
		return nil
	}
	return &RefusedError{App: c.m.App, Problems: c.problems}
}

// checkFiles refuses names that aren't those of files of a backup. They are
// looked at before any of them is opened.
func (c *checking) checkFiles() error {
	for name := range c.m.Files {
		first, _, _ := strings.Cut(name, "/")
		if !fs.ValidPath(name) || first != streamsDir && first != snapshotsDir {
			c.add("file %.200q isn't below %s/ or %s/", name, streamsDir, snapshotsDir)
		}
	}
	return c.err()
}

// checked returns the streams to restore, with the settings that they get.
func (c *checking) checked(ctx context.Context) (map[string]jetstream.StreamConfig, error) {
	own := make(map[string]jetstream.StreamConfig)
	for _, s := range c.m.Streams {
		if why := foreign(c.m.App, s); why != "" {
			if !c.plain {
				c.add("stream %.200q %s", s.Name, why)
			}
			continue
		}
		if _, ok := c.m.Files[s.File]; !ok || s.File != path.Join(streamsDir, s.Name) {
			c.add("stream %q has the file %.200q", s.Name, s.File)
			continue
		}
		if _, again := own[s.Name]; again {
			c.add("stream %q is named twice", s.Name)
			continue
		}
		have, err := settingsOf(s)
		if err != nil && !c.plain {
			c.add("stream %q: its settings aren't those of a stream: %.200q", s.Name, err.Error())
			continue
		}
		own[s.Name] = ownSettings(c.m.App, s, have)
		if why := deviations(have, own[s.Name]); len(why) > 0 && !c.plain {
			c.add("stream %q: %s", s.Name, strings.Join(why, ", "))
		}
		if err := c.contents(ctx, s, own[s.Name].Subjects[0]); err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			c.add("stream %q: its file: %.200q", s.Name, err.Error())
		}
	}
	for _, s := range c.m.Snapshots {
		if _, err := snapshot.ParseID(s.ID); err != nil || timeframe.ValidName(s.Unit) != nil {
			c.add("snapshot %.200q of unit %.200q: no valid names", s.ID, s.Unit)
		}
	}
	return own, c.err()
}

// foreign says why a stream can't be one of the application's.
func foreign(app string, s Stream) string {
	if !s.Feed {
		if bucket, ok := strings.CutPrefix(s.Name, "KV_"+app+"_"); !ok || !slices.Contains(registers, bucket) {
			return "is no register of the application"
		}
		return ""
	}
	feed, ok := strings.CutPrefix(s.Name, app+"_")
	if !ok || timeframe.ValidName(feed) != nil {
		return "isn't named as a feed of the application is"
	}
	var is struct {
		Metadata map[string]string `json:"metadata"`
	}
	if err := json.Unmarshal(s.Config, &is); err != nil || is.Metadata[metaPrefix+"app"] != app || is.Metadata[metaPrefix+"feed"] != feed {
		return "isn't a feed of the application: its metadata says so"
	}
	return ""
}

// contents reads a stream's file to its end: messages of the stream alone, as
// many as are said, and no consumers, which could send them anywhere.
func (c *checking) contents(ctx context.Context, s Stream, subject string) error {
	f, err := openFile(c.root, s.File)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	r := archive.NewReader(s2.NewReader(heeding{ctx, f}))
	state, err := stateOfArchive(r)
	if errors.Is(err, archive.ErrInvalidArchive) { // of a server before 2.15
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return err
		}
		return contentsOfTar(tar.NewReader(s2.NewReader(heeding{ctx, f})))
	}
	if err != nil {
		return err
	}
	if !state.same(s.State) {
		return errors.New("its state isn't the one that the backup says")
	}
	prefix := strings.TrimSuffix(subject, ">")
	for n, last := uint64(0), uint64(0); ; n++ {
		h, err := r.Next()
		switch {
		case err != nil:
			return fmt.Errorf("it isn't whole: %w", err)
		case h.Sequence == 0 && h.Name == "" && n <= state.Messages:
			return nil
		case h.Sequence == 0:
			return fmt.Errorf("it holds %.200q, which isn't a message", h.Name)
		case n >= state.Messages || h.Sequence <= last || h.Sequence > state.LastSeq:
			return fmt.Errorf("message %d isn't one of the %d up to %d that it should hold", h.Sequence, state.Messages, state.LastSeq)
		case !strings.HasPrefix(h.Name, prefix) || !utf8.ValidString(h.Name):
			return fmt.Errorf("message %d has the subject %.200q", h.Sequence, h.Name)
		}
		last = h.Sequence
	}
}

// contentsOfTar looks at the names alone: messages are in the server's blocks.
func contentsOfTar(r *tar.Reader) error {
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("it isn't whole: %w", err)
		}
		dir, name := path.Split(path.Clean(h.Name))
		if h.Typeflag != tar.TypeReg || !fs.ValidPath(h.Name) || dir != "" && dir != "msgs/" {
			return fmt.Errorf("it holds %.200q, which isn't part of a stream's messages", h.Name)
		}
		if dir == "" && name != "meta.inf" && name != "meta.sum" {
			return fmt.Errorf("it holds %.200q, which isn't part of a stream's messages", h.Name)
		}
	}
}
