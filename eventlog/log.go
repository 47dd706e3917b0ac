package eventlog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"github.com/tidemark-es/tidemark/internal/kv"
	"github.com/tidemark-es/tidemark/timeframe"
)

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
	session  string
	unhear   func() // gives the connection its error handler back

	feedRegister *kv.Bucket

	opening sync.Mutex // held while a feed is opened; taken before mu
	ending  sync.Once
	ended   chan struct{} // closed at the end

	mu     sync.Mutex
	closed bool
	feeds  map[string]*Feed
}

// Open opens a log: the embedded one in Options.Dir, or the one on the
// server at Options.URL. ctx bounds opening alone. After a crash an embedded
// log first reads all that it holds, at about a million messages a second;
// that isn't interrupted when ctx ends.
//
// Errors: ErrInvalid (everything that is wrong with the options), ErrInUse,
// ErrUnavailable.
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
	l := &Log{opts: opts, api: "$JS.API", feeds: make(map[string]*Feed), ended: make(chan struct{}), session: newSession(opts)}
	if opts.Domain != "" {
		l.api = "$JS." + opts.Domain + ".API"
	}
	defer func() {
		if err != nil {
			l.closeAll()
		}
	}()
	if opts.embedded() {
		if l.embedded, err = startEmbedded(ctx, opts); err != nil {
			return nil, err
		}
	}
	if err := l.connect(); err != nil {
		return nil, err
	}
	if l.js, err = jetstream.NewWithAPIPrefix(l.nc, l.api, jetstream.WithDefaultTimeout(opts.RequestTimeout)); err != nil {
		return nil, fmt.Errorf("eventlog: JetStream: %w", err)
	}
	l.feedRegister = l.openRegister()
	if err := l.awaitJetStream(ctx); err != nil {
		return nil, err
	}
	if l.embedded != nil {
		go l.heedFailures()
	}
	return l, nil
}

// awaitJetStream waits until the server's JetStream answers: a cluster that
// has just started accepts connections before it has elected a leader.
func (l *Log) awaitJetStream(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		info, err := l.ping(ctx)
		switch {
		case err == nil:
			l.domain = info.Domain
			return l.recentEnough()
		case errors.Is(err, jetstream.ErrJetStreamNotEnabled) && l.opts.Conn == nil && l.embedded != nil,
			errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount),
			errors.Is(err, nats.ErrPermissionViolation),
			errors.Is(err, ErrDenied),
			errors.Is(err, nats.ErrConnectionClosed):
			return fmt.Errorf("eventlog: the server at %s: %w: %w", l.nc.ConnectedUrlRedacted(), ErrUnavailable, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("eventlog: JetStream at %s doesn't answer: %w: %w", l.nc.ConnectedUrlRedacted(), ErrUnavailable, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
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

// Close waits for the appends in flight, for Options.ResolveTimeout at most,
// and closes what Open opened: connection and embedded server. Appends and
// reads that come later, and readers that wait, get ErrClosed. It may be
// called more than once; each call returns when the log is closed.
func (l *Log) Close() error {
	l.ending.Do(l.end)
	return nil
}

func (l *Log) end() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	// A feed that is being opened at this moment is closed with the others,
	// or not opened any more.
	l.opening.Lock()
	defer l.opening.Unlock()
	var wg sync.WaitGroup
	for _, f := range l.Feeds() {
		wg.Go(f.close)
	}
	wg.Wait()
	close(l.ended)
	l.closeAll()
}

func (l *Log) closeAll() {
	if l.unhear != nil {
		l.unhear()
	}
	if l.nc != nil && l.ownConn {
		l.nc.Close()
	}
	if l.embedded != nil {
		l.embedded.stop()
	}
}
