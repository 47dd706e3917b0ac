package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
)

// committed is one commit of the repository; it follows its changes.
type committed struct {
	Hash    string
	Parents []string
	Email   string // as recorded
	When    int64  // author date, Unix seconds
	Offset  int    // of the author's zone, seconds east of UTC
	NoDate  bool   // git can't read the date
	Added   int64
	Removed int64
	// Where the import stood, for the next run: the tip that it was on its
	// way to, how many commits were left behind this one, and the feed of
	// changes before the batch that this commit was written with.
	Target string
	Left   int64
	Mark   uint64
}

// when is the author date in the author's own time zone.
func (c committed) when() time.Time {
	return time.Unix(c.When, 0).In(time.FixedZone("", c.Offset))
}

// changed is what one commit did to one path.
type changed struct {
	Hash    string
	Path    string
	Email   string
	Added   int64
	Removed int64
}

// feeds are the demo's two.
type feeds struct {
	commits *eventlog.Feed // key: author's e-mail
	changes *eventlog.Feed // key: path
}

func openFeeds(ctx context.Context, log *eventlog.Log) (f feeds, err error) {
	if f.commits, err = log.Feed(ctx, "commits", eventlog.Type[committed]("committed")); err != nil {
		return f, err
	}
	f.changes, err = log.Feed(ctx, "changes", eventlog.Type[changed]("changed"))
	return f, err
}

// key makes a feed's key of what git recorded, which may be empty, or longer
// than a key can be. The event itself holds the recorded text.
func (f feeds) key(text string) string {
	if text == "" {
		return "(none)"
	}
	if _, err := f.changes.Subject(text); err == nil {
		return text
	}
	sum := sha256.Sum256([]byte(text))
	return "long-" + hex.EncodeToString(sum[:])
}

// topLevel is the directory that a path counts for: its first part, or "."
// for the files at the top.
func topLevel(path string) string {
	if dir, _, ok := strings.Cut(path, "/"); ok {
		return dir
	}
	return "."
}
