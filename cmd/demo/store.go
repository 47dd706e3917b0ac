package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
)

// place is where a repository's log is.
type place struct {
	app string // the log's application, one for each repository
	dir string // of the embedded log, and of what the demo remembers
	url string // of an external server
}

// placeOf finds a repository's place: a directory of its own below data, by
// default the user's cache directory.
func placeOf(repo, data, url string) (place, error) {
	if data == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return place{}, fmt.Errorf("no cache directory (%w): say where to keep the log with -data DIR", err)
		}
		data = filepath.Join(cache, "tidemark-demo")
	}
	sum := sha256.Sum256([]byte(repo))
	id := hex.EncodeToString(sum[:6])
	name := filepath.Base(strings.TrimSuffix(strings.TrimSuffix(repo, string(filepath.Separator)+".git"), ".git"))
	return place{app: "demo-" + id, dir: filepath.Join(data, safeName(name)+"-"+id), url: url}, nil
}

// safeName keeps what every file system takes.
func safeName(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < 0x80 && (r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z') {
			return r
		}
		return '-'
	}, s)
	return s[:min(40, len(s))]
}

func (p place) logDir() string { return filepath.Join(p.dir, "log") }

func (p place) options() eventlog.Options {
	if p.url != "" {
		return eventlog.Options{App: p.app, URL: p.url}
	}
	return eventlog.Options{App: p.app, Dir: p.logDir()}
}

// clear forgets what was imported. The embedded log's directory is removed
// under its lock, so that it isn't pulled away from under another run.
func (p place) clear(ctx context.Context) error {
	if p.url == "" {
		if _, err := os.Stat(p.logDir()); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
	}
	log, err := eventlog.Open(ctx, p.options())
	if err != nil {
		return err
	}
	if p.url != "" {
		defer log.Close()
		return errors.Join(deleteStreams(ctx, log), p.forget())
	}
	if err := errors.Join(deleteStreams(ctx, log), log.Close()); err != nil {
		return err
	}
	return os.RemoveAll(p.dir)
}

func deleteStreams(ctx context.Context, log *eventlog.Log) error {
	for _, name := range []string{log.App() + "_commits", log.App() + "_changes", "KV_" + log.App() + "_snapshots"} {
		if err := log.DeleteStream(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// memory is what the demo remembers beside the log: how long a full replay
// took, to compare a restart with.
type memory struct {
	ReplayEvents uint64        `json:"replay_events"`
	Replay       time.Duration `json:"replay_ns"`
}

func (p place) memoryFile() string { return filepath.Join(p.dir, "remembered.json") }

// remember and recall lose nothing that matters: a figure in the report.
func (p place) remember(m memory) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return err
	}
	return os.WriteFile(p.memoryFile(), b, 0o600)
}

func (p place) recall() (m memory) {
	b, err := os.ReadFile(p.memoryFile())
	if err != nil || json.Unmarshal(b, &m) != nil {
		return memory{}
	}
	return m
}

func (p place) forget() error {
	if err := os.Remove(p.memoryFile()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
