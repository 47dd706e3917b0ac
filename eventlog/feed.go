package eventlog

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
	"github.com/tidemark-es/tidemark/timeframe"
)

// The metadata of a feed's stream.
const (
	metaFormat      = "tidemark-format"
	metaApp         = "tidemark-app"
	metaFeed        = "tidemark-feed"
	metaIncarnation = "tidemark-incarnation"

	formatVersion = "1"
)

// Feed is one log of events: a JetStream stream, appended to and read
// through this handle. It is safe for concurrent use.
type Feed struct {
	log         *Log
	name        string
	stream      string
	prefix      string // of subjects: "<app>.<feed>."
	incarnation string
	reg         *registry
	writer      *writer
	batches     *batcher
	ids         *identityCache
	queues      *keyQueues
	resolve     time.Duration // Options.ResolveTimeout, or less: see adopt

	closed  atomic.Bool
	closing chan struct{}
	stats   feedStats
}

// Feed opens the feed of this name, and creates its stream when there is
// none. The name is made of lower-case letters, digits and '-', at most 64.
// Opening it again returns the same handle; the options of the first time
// stand, and other types are an ErrInvalid.
//
// Errors: ErrInvalid, ErrForeign (the stream is there and isn't this feed's,
// or has settings that would lose events), ErrUnavailable, ErrClosed.
func (l *Log) Feed(ctx context.Context, name string, opts ...FeedOption) (*Feed, error) {
	if err := timeframe.ValidName(name); err != nil {
		return nil, fmt.Errorf("eventlog: feed: %w: %w", ErrInvalid, err)
	}
	reg, err := newRegistry(name, opts)
	if err != nil {
		return nil, err
	}
	// Asking the server can take long, so it isn't done under the lock that
	// the rest of the log's methods take.
	l.opening.Lock()
	defer l.opening.Unlock()
	l.mu.Lock()
	closed, f := l.closed, l.feeds[name]
	l.mu.Unlock()
	if closed {
		return nil, fmt.Errorf("eventlog: feed %q: %w", name, ErrClosed)
	}
	if f != nil {
		if len(opts) > 0 && !f.reg.same(reg) {
			return nil, fmt.Errorf("eventlog: feed %q: %w: it is open already, with other types or another codec: open it in one place", name, ErrInvalid)
		}
		return f, nil
	}
	f = &Feed{
		log:     l,
		name:    name,
		stream:  l.opts.App + "_" + name,
		prefix:  l.opts.App + "." + name + ".",
		reg:     reg,
		ids:     newIdentityCache(),
		queues:  newKeyQueues(l.opts.MaxInFlight),
		closing: make(chan struct{}),
	}
	if err := f.openStream(ctx); err != nil {
		return nil, err
	}
	if f.writer, err = newWriter(f); err != nil {
		return nil, err
	}
	if f.batches, err = newBatcher(f); err != nil {
		f.writer.close()
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.feeds[name] = f
	return f, nil
}

func (r *registry) same(o *registry) bool {
	return r.codec.Name() == o.codec.Name() && maps.EqualFunc(r.byName, o.byName, func(a, b *eventType) bool { return a.goType == b.goType })
}

func (f *Feed) openStream(ctx context.Context) error {
	js := f.log.js
	outer := ctx
	ctx, cancel := context.WithTimeout(ctx, 2*f.log.opts.RequestTimeout)
	defer cancel()
	s, err := js.Stream(ctx, f.stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		s, err = js.CreateStream(ctx, f.streamConfig())
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			// Another process was faster; its incarnation counts.
			s, err = js.Stream(ctx, f.stream)
		}
	}
	if api, ok := errors.AsType[*jetstream.APIError](err); ok && api.ErrorCode == codeSubjectsOverlap {
		return fmt.Errorf("eventlog: stream %s: %w: another stream takes its subjects %s>: %w", f.stream, ErrForeign, f.prefix, err)
	}
	if err != nil {
		return f.serverError(outer, "open", err)
	}
	return f.adopt(s.CachedInfo().Config)
}

// streamConfig is what a feed's stream is created with: nothing in it drops
// an event by itself, and single events can't be deleted. Purging stays
// possible, since trimming the log below its snapshots needs it.
func (f *Feed) streamConfig() jetstream.StreamConfig {
	storage := jetstream.FileStorage
	if f.log.opts.Memory {
		storage = jetstream.MemoryStorage
	}
	return jetstream.StreamConfig{
		Name:               f.stream,
		Description:        "Tidemark feed " + f.name + " of " + f.log.opts.App,
		Subjects:           []string{f.prefix + ">"},
		Retention:          jetstream.LimitsPolicy,
		Discard:            jetstream.DiscardNew,
		Storage:            storage,
		Replicas:           f.log.opts.Replicas,
		MaxMsgs:            -1,
		MaxBytes:           -1,
		MaxMsgsPerSubject:  -1,
		MaxMsgSize:         -1,
		MaxConsumers:       -1,
		Duplicates:         f.log.opts.DuplicateWindow,
		AllowDirect:        true,
		AllowAtomicPublish: true,
		DenyDelete:         true,
		Metadata: map[string]string{
			metaFormat:      formatVersion,
			metaApp:         f.log.opts.App,
			metaFeed:        f.name,
			metaIncarnation: nuid.Next(),
		},
	}
}

// adopt checks that an existing stream is this feed's, and safe.
func (f *Feed) adopt(c jetstream.StreamConfig) error {
	var p problems
	if v := c.Metadata[metaFormat]; v != formatVersion {
		if v == "" {
			p.add("it was not made by Tidemark")
		} else {
			p.add("it has format %s, this program knows %s", v, formatVersion)
		}
	} else if app, feed := c.Metadata[metaApp], c.Metadata[metaFeed]; app != f.log.opts.App || feed != f.name {
		p.add("it belongs to feed %q of %q", feed, app)
	} else if c.Metadata[metaIncarnation] == "" {
		p.add("its metadata has no %s", metaIncarnation)
	}
	if len(c.Subjects) != 1 || c.Subjects[0] != f.prefix+">" {
		p.add("its subjects are %s, not %s", strings.Join(c.Subjects, " "), f.prefix+">")
	}
	if c.Retention != jetstream.LimitsPolicy {
		p.add("its retention is %s: events would go when they are read", c.Retention)
	}
	if c.MaxMsgs > 0 || c.MaxBytes > 0 || c.MaxAge > 0 || c.MaxMsgsPerSubject > 0 {
		p.add("it has limits (messages %d, bytes %d, age %v, messages a subject %d) that drop events", c.MaxMsgs, c.MaxBytes, c.MaxAge, c.MaxMsgsPerSubject)
	}
	if c.NoAck {
		p.add("it acknowledges nothing (no_ack)")
	}
	if c.Mirror != nil || len(c.Sources) > 0 || c.SubjectTransform != nil {
		p.add("it mirrors, sources or transforms: its messages are not what was appended")
	}
	if len(p) > 0 {
		return fmt.Errorf("eventlog: stream %s: %w: %s", f.stream, ErrForeign, strings.Join(p, "; "))
	}
	f.incarnation = c.Metadata[metaIncarnation]
	// What is sent again must come while the stream still recognises it, and
	// the stream may have been made with another window than ours.
	f.resolve = min(f.log.opts.ResolveTimeout, c.Duplicates*2/3)
	return nil
}

// Name is the feed's name.
func (f *Feed) Name() string { return f.name }

// Stream is the name of the feed's JetStream stream.
func (f *Feed) Stream() string { return f.stream }

// Incarnation is the random ID that the stream was created with: a stream
// that is deleted and created again has another one.
func (f *Feed) Incarnation() string { return f.incarnation }

// Log is the log that the feed belongs to.
func (f *Feed) Log() *Log { return f.log }

// Subject is the subject that commits of a key are stored under.
func (f *Feed) Subject(key string) (string, error) {
	enc, err := encodeKey(key)
	if err != nil {
		return "", err
	}
	return f.prefix + enc, nil
}

func (f *Feed) close() {
	if f.closed.Swap(true) {
		return
	}
	close(f.closing) // readers end now, appends in flight may finish
	f.batches.close()
	f.writer.close()
}
