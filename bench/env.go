package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidemark-es/tidemark/eventlog"
)

// The names under which everything is stored, on both sides.
const (
	appName  = "bench"
	feedName = "events"
)

// What both sides' servers are given; eventlog's defaults.
const (
	syncInterval = 250 * time.Millisecond
	maxPayload   = 1 << 20
)

// sizes say how much the cases do.
type sizes struct {
	events  int // in the log that is replayed
	keys    int
	tail    int // events behind the snapshot
	one     int // appends by one caller
	many    int // appends by 64 callers
	batches int // commits of ten events
	follow  int // appends that are followed
	rows    int // of a wide table
	changed int // rows between two snapshots
	cuts    int // snapshots of which the pause is measured
}

var (
	fullSizes  = sizes{events: 1_000_000, keys: 10_000, tail: 1_000, one: 20_000, many: 100_000, batches: 300, follow: 5_000, rows: 1_000_000, changed: 1_000, cuts: 120}
	quickSizes = sizes{events: 10_000, keys: 1_000, tail: 100, one: 300, many: 3_000, batches: 5, follow: 100, rows: 20_000, changed: 100, cuts: 10}
)

// env is what the cases of a run share: a directory, sizes, and the log that
// is replayed, which is made when the first case needs it.
type env struct {
	sizes
	quick   bool
	verbose bool
	stderr  io.Writer
	only    *regexp.Regexp // of the candidates for a baseline; nil: all
	dir     string
	stream  jetstream.StreamConfig // of a feed, as eventlog makes it

	filled string  // directory of the log, "" until there is one
	reader *reader // the fastest way to read it with nats.go, nil until known
}

func newEnv(ctx context.Context, o options, stderr io.Writer) (_ *env, err error) {
	e := &env{sizes: fullSizes, quick: o.quick, verbose: o.verbose, stderr: stderr, only: o.baseline}
	if o.quick {
		e.sizes = quickSizes
	}
	if o.dir != "" {
		if err := os.MkdirAll(o.dir, 0o755); err != nil {
			return nil, fmt.Errorf("-dir: %w", err)
		}
	}
	if e.dir, err = os.MkdirTemp(o.dir, "tidemark-bench-"); err != nil {
		return nil, fmt.Errorf("directory for the data: %w", err)
	}
	if e.stream, err = streamConfig(ctx, e); err != nil {
		return nil, errors.Join(err, e.close())
	}
	return e, nil
}

// close removes all data.
func (e *env) close() error { return os.RemoveAll(e.dir) }

// fresh makes an empty directory, and returns what removes it.
func (e *env) fresh(what string) (dir string, remove func(), err error) {
	dir, err = os.MkdirTemp(e.dir, what+"-")
	return dir, func() { _ = os.RemoveAll(dir) }, err
}

// onFresh opens what works in an empty directory; done closes it, and removes
// the directory.
func onFresh[T interface{ close() }](e *env, what string, open func(dir string) (T, error)) (of T, done func(), err error) {
	dir, remove, err := e.fresh(what)
	if err != nil {
		return of, nil, err
	}
	if of, err = open(dir); err != nil {
		remove()
		return of, nil, err
	}
	return of, func() {
		of.close()
		remove()
	}, nil
}

// less is e with less to do, for finding the fastest settings of a baseline.
func (e *env) less() *env {
	l := *e
	for _, n := range []*int{&l.events, &l.one, &l.many, &l.batches, &l.follow} {
		*n = max(*n/5, min(*n, 100))
	}
	return &l
}

// logf tells the user how it goes, with -v.
func (e *env) logf(format string, a ...any) {
	if e.verbose {
		fmt.Fprintf(e.stderr, format+"\n", a...)
	}
}

// log returns the directory of the log of e.events events, which nobody has
// open. Cases that change it take a copy.
func (e *env) log(ctx context.Context) (dir string, err error) {
	if e.filled != "" {
		return e.filled, nil
	}
	dir = filepath.Join(e.dir, "log")
	begun := time.Now()
	o, err := openOurs(ctx, dir)
	if err != nil {
		return "", err
	}
	defer o.close()
	if err := fill(ctx, o.feed, 0, e.events, e.keys); err != nil {
		return "", fmt.Errorf("filling the log: %w", err)
	}
	e.logf("log of %d events: %v", e.events, time.Since(begun).Round(time.Millisecond))
	e.filled = dir
	return dir, nil
}

// openLog opens that log, which nobody may change.
func (e *env) openLog(ctx context.Context, types ...eventlog.FeedOption) (*ours, error) {
	dir, err := e.log(ctx)
	if err != nil {
		return nil, err
	}
	return openOurs(ctx, dir, types...)
}

// openRawLog starts a server on it.
func (e *env) openRawLog(ctx context.Context, t transport) (*raw, error) {
	dir, err := e.log(ctx)
	if err != nil {
		return nil, err
	}
	return openRaw(ctx, dir, t, e.stream)
}

// streamConfig is how eventlog creates a feed's stream: the baseline gets
// the same.
func streamConfig(ctx context.Context, e *env) (c jetstream.StreamConfig, err error) {
	o, done, err := freshOurs(ctx, e)
	if err != nil {
		return c, err
	}
	defer done()
	s, err := o.log.JetStream().Stream(ctx, o.feed.Stream())
	if err != nil {
		return c, err
	}
	return s.CachedInfo().Config, nil
}

// ours is an open log of ours.
type ours struct {
	log  *eventlog.Log
	feed *eventlog.Feed
}

// openOurs opens the log in a directory, with the event as the given type, or
// as posted.
func openOurs(ctx context.Context, dir string, types ...eventlog.FeedOption) (*ours, error) {
	return openOursAt(ctx, eventlog.Options{App: appName, Dir: dir, SyncInterval: syncInterval, MaxPayload: maxPayload}, types...)
}

func openOursAt(ctx context.Context, o eventlog.Options, types ...eventlog.FeedOption) (*ours, error) {
	log, err := eventlog.Open(ctx, o)
	if err != nil {
		return nil, err
	}
	if len(types) == 0 {
		types = []eventlog.FeedOption{eventlog.Type[posted](eventName)}
	}
	feed, err := log.Feed(ctx, feedName, types...)
	if err != nil {
		return nil, errors.Join(err, log.Close())
	}
	return &ours{log: log, feed: feed}, nil
}

func (o *ours) close() { _ = o.log.Close() }

// freshOurs opens an empty log.
func freshOurs(ctx context.Context, e *env) (_ *ours, done func(), err error) {
	return onFresh(e, "ours", func(dir string) (*ours, error) { return openOurs(ctx, dir) })
}
