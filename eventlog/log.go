package eventlog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"github.com/tidemark-es/tidemark/internal/kv"
	"github.com/tidemark-es/tidemark/timeframe"
)

// defaultAPI is the prefix of JetStream API subjects without a domain.
const defaultAPI = "$JS.API"

// Log is an application's set of feeds. It is safe for concurrent use.
type Log struct {
	opts     Options
	nc       *nats.Conn
	js       jetstream.JetStream
	api      string // prefix of JetStream API subjects, "$JS.API"
	domain   string // of JetStream, as the server says it
	embedded *embedded
	ownConn  bool
	denials  denials
	reach    *reach
	session  string
	unhear   func() // gives the connection its error handler back

	feedRegister *kv.Bucket
	marks        markStore // nil: nothing outlives the process

	opening sync.Mutex // held while a feed is opened; taken before mu
	ending  sync.Once
	ended   chan struct{}          // closed when the feeds are closed
	over    chan struct{}          // closed when all is closed
	doing   atomic.Pointer[string] // what Close waits for

	mu     sync.Mutex
	closed bool
	stuck  error // of a Close that gave up
	feeds  map[string]*Feed
}

// Open opens a log: the embedded one in Options.Dir, or the one on the
// server at Options.URL. ctx bounds opening alone. After a crash an embedded
// log first reads all that it holds, at about a million messages a second.
// Where ctx ends in that, the server can't be interrupted: the directory is
// free again (until then ErrInUse) when it has read all and has ended.
//
// Errors: ErrInvalid (everything that is wrong with the options), ErrInUse,
// ErrUnavailable, which may pass; final ones: ErrNoJetStream, ErrCredentials,
// ErrUnauthorized, ErrDenied, ErrTLS, ErrListen, ErrClosed (of Options.Conn);
// and the context's.
func Open(ctx context.Context, opts Options) (_ *Log, err error) {
	opts = opts.withDefaults()
	if err := opts.validate(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := opts.absolute(); err != nil {
		return nil, err
	}
	l := &Log{opts: opts, api: defaultAPI, reach: newReach(), feeds: make(map[string]*Feed), ended: make(chan struct{}), over: make(chan struct{}), session: newSession(opts)}
	if opts.Domain != "" {
		l.api = "$JS." + opts.Domain + ".API"
	}
	defer func() {
		if err != nil {
			l.abandon(ctx)
		}
	}()
	if opts.embedded() {
		if l.embedded, err = startEmbedded(ctx, opts); err != nil {
			return nil, err
		}
	}
	if err := l.connect(ctx); err != nil {
		return nil, err
	}
	if l.js, err = jetstream.NewWithAPIPrefix(l.nc, l.api, jetstream.WithDefaultTimeout(opts.RequestTimeout)); err != nil {
		return nil, fmt.Errorf("eventlog: JetStream: %w", err)
	}
	if opts.BucketMaxBytes > 0 {
		l.js = limitedBuckets{l.js, opts.BucketMaxBytes}
	}
	l.feedRegister = l.openRegister()
	l.marks = l.openMarks()
	if err := l.awaitJetStream(ctx); err != nil {
		return nil, err
	}
	if l.embedded != nil {
		go l.heedFailures()
	}
	return l, nil
}

// App is the application's name.
func (l *Log) App() string { return l.opts.App }

// Conn is the log's connection, for snapshot stores and for further use of
// NATS by the application.
func (l *Log) Conn() *nats.Conn { return l.nc }

// JetStream is the log's JetStream context.
func (l *Log) JetStream() jetstream.JetStream { return l.js }

// APIPrefix is the prefix of the JetStream API's subjects.
func (l *Log) APIPrefix() string { return l.api }

// Replicas is how many servers keep each new stream.
func (l *Log) Replicas() int { return l.opts.Replicas }

// InMemory says whether the log keeps everything in memory.
func (l *Log) InMemory() bool { return l.opts.Memory }

// Logger is the logger that the log was opened with.
func (l *Log) Logger() zerolog.Logger { return l.opts.Logger }

// ClientURL is where other processes reach the embedded server; "" where it
// doesn't listen, or isn't embedded.
func (l *Log) ClientURL() string {
	if l.embedded == nil || l.opts.Listen == "" {
		return ""
	}
	return l.embedded.srv.ClientURL()
}

// Opened returns an open feed by its name, or an ErrUnknownFeed.
func (l *Log) Opened(feed string) (*Feed, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f, ok := l.feeds[feed]; ok {
		return f, nil
	}
	return nil, fmt.Errorf("eventlog: %w %q: open it with Log.Feed", ErrUnknownFeed, feed)
}

// Feeds returns the open feeds in the order of their names.
func (l *Log) Feeds() []*Feed {
	l.mu.Lock()
	defer l.mu.Unlock()
	fs := make([]*Feed, 0, len(l.feeds))
	for _, f := range l.feeds {
		fs = append(fs, f)
	}
	slices.SortFunc(fs, func(a, b *Feed) int {
		if a.name < b.name {
			return -1
		}
		return 1
	})
	return fs
}

// Heads asks the server for the last sequence of every open feed.
func (l *Log) Heads(ctx context.Context) (timeframe.Timeframe, error) {
	var at timeframe.Timeframe
	for _, f := range l.Feeds() {
		st, err := f.State(ctx)
		if err != nil {
			return at, err
		}
		last, err := f.Reach(ctx, st)
		if err != nil {
			return at, err
		}
		if at, err = at.With(f.name, last); err != nil {
			return at, err
		}
	}
	return at, nil
}

// Healthy is nil while the log's server answers and every open feed passes
// Check; otherwise it is all that is wrong.
func (l *Log) Healthy(ctx context.Context) error {
	l.mu.Lock()
	closed := l.closed
	l.mu.Unlock()
	if closed {
		return fmt.Errorf("eventlog: %w", ErrClosed)
	}
	if !l.nc.IsConnected() {
		return fmt.Errorf("eventlog: %w: connection is %s", ErrUnavailable, l.nc.Status())
	}
	if _, err := l.ping(ctx); err != nil {
		return fmt.Errorf("eventlog: %w: %w", ErrUnavailable, err)
	}
	var errs []error
	for _, f := range l.Feeds() {
		errs = append(errs, f.Check(ctx))
	}
	return errors.Join(errs...)
}

// ping asks the server's JetStream for a sign of life.
func (l *Log) ping(ctx context.Context) (*jetstream.AccountInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, l.opts.RequestTimeout)
	defer cancel()
	ctx, done := l.watchDenied(ctx, l.api+".INFO")
	info, err := l.js.AccountInfo(ctx)
	return info, done(err)
}
