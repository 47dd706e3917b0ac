package eventlog

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidemark-es/tidemark/timeframe"
)

// The metadata of a feed's stream.
const (
	metaFormat      = "tidemark-format"
	metaApp         = "tidemark-app"
	metaFeed        = "tidemark-feed"
	metaIncarnation = "tidemark-incarnation"
	metaStorage     = "tidemark-storage" // "memory" where that was wanted

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
	adopted     *adoption // nil for feeds of our own
	writer      *writer   // nil of an adopted one, as batches is
	batches     *batcher
	ids         *identityCache
	queues      *keyQueues
	syncer      *syncer
	hub         *hub
	frontier    frontier
	keys        *keyCache
	asked       *sharedState
	reads       chan struct{} // questions for messages on their way
	directOff   atomic.Bool   // this user may not ask for stored messages directly
	resolve     time.Duration // Options.ResolveTimeout, or less: see adopt
	caps        atomic.Pointer[capabilities]
	allowing    sync.Mutex // held while a setting is switched on
	acks        ackReader
	leaderURL   atomic.Pointer[string] // where the writer found the stream's leader, on servers elsewhere
	replicated  atomic.Bool            // its stream has several replicas, and their leader's word counts alone
	replicas    replicaFaults          // those that have another history
	led         ledSince               // where it ended when its present leadership was seen first

	gaps    *feedGaps
	records *blockCheck
	keeper  *keeper
	water   *watermark
	closed  atomic.Bool
	closing chan struct{}
	stats   feedStats

	bulkLeast uint64 // the constant; tests lower it

	bulkOff  atomic.Bool // the server doesn't make backups for this user, or none that can be read
	bulkTold atomic.Bool // that was logged
}

// Feed opens the feed of this name, and creates its stream when there never
// was one. The name is made of lower-case letters, digits and '-', at most 64.
// Opening it again returns the same handle; the options of the first time
// stand, and other types are an ErrInvalid.
//
// Errors: ErrInvalid; ErrForeign (the stream is there and isn't this feed's);
// ErrUnsafe (it has settings that would lose events); ErrMissing (the feed was
// here before, and its stream is gone); ErrRecreated (the stream is another
// than the feed had); ErrDenied, ErrFull, ErrRefused, ErrUnavailable,
// ErrClosed. What else differs from the settings of a new stream is logged,
// and returned by Drift. A log that lost messages which it surely had is opened,
// and can't be used (Lost, LossError).
func (l *Log) Feed(ctx context.Context, name string, opts ...FeedOption) (*Feed, error) {
	if err := timeframe.ValidName(name); err != nil {
		return nil, fmt.Errorf("eventlog: feed: %w: %w", ErrInvalid, err)
	}
	reg, err := newRegistry(name, opts, true, l.opts.MaxDecoded)
	if err != nil {
		return nil, err
	}
	// Asking the server can take long, so it isn't done under the lock that
	// the rest of the log's methods take.
	done, err := l.startOpening(ctx, name)
	if err != nil {
		return nil, err
	}
	defer done()
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
	f = l.newFeed(name, reg)
	if err := f.openStream(ctx, reg.open); err != nil {
		return nil, err
	}
	if err := f.water.open(ctx); err != nil {
		return nil, err
	}
	if err := f.startWriting(); err != nil {
		return nil, err
	}
	if err := l.subscribed(ctx); err != nil {
		f.batches.close()
		f.writer.close()
		return nil, err
	}
	f.keeper.start()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.feeds[name] = f
	return f, nil
}

// newFeed is a feed that isn't open yet.
func (l *Log) newFeed(name string, reg *registry) *Feed {
	f := &Feed{
		keeper:   newKeeper(),
		log:      l,
		name:     name,
		stream:   l.opts.App + "_" + name,
		prefix:   l.opts.App + "." + name + ".",
		reg:      reg,
		ids:      newIdentityCache(),
		queues:   newKeyQueues(l.opts.MaxInFlight),
		closing:  make(chan struct{}),
		frontier: frontier{bell: make(chan struct{}, 1)},

		bulkLeast: bulkLeast,
	}
	f.keeper.f = f
	f.gaps = newFeedGaps(f)
	f.records = newBlockCheck(f)
	f.acks = newAckReader(f.stream, l.domain)
	f.water = &watermark{f: f}
	f.syncer = newSyncer(f)
	f.hub = newHub(f)
	f.keys = newKeyCache(keyCacheBytes)
	f.asked = &sharedState{ask: f.State}
	f.reads = make(chan struct{}, readsAtOnce)
	return f
}

// startWriting starts what appends go through.
func (f *Feed) startWriting() (err error) {
	if f.writer, err = newWriter(f); err != nil {
		return err
	}
	if f.batches, err = newBatcher(f); err != nil {
		f.writer.close()
	}
	return err
}

func (r *registry) same(o *registry) bool {
	return r.codec.Name() == o.codec.Name() && r.evolution.same(o.evolution) && maps.EqualFunc(r.byName, o.byName, func(a, b *eventType) bool { return a.goType == b.goType })
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

// Subject is the subject that commits of a key are stored under; of an
// adopted feed, a filter that may have wildcards.
func (f *Feed) Subject(key string) (string, error) {
	if f.adopted != nil {
		return f.adopted.subjectOf(key)
	}
	return f.subjectAs("", key)
}

// subjectAs is Subject of a feed of ours: old itself, where that is it.
func (f *Feed) subjectAs(old, key string) (string, error) {
	enc, err := encodeKey(key)
	if err != nil {
		return "", err
	}
	if rest, ok := strings.CutPrefix(old, f.prefix); ok && rest == enc {
		return old, nil
	}
	return f.prefix + enc, nil
}

// everything is a filter that all messages of the feed's stream match.
func (f *Feed) everything() string {
	if f.adopted != nil {
		return ">"
	}
	return f.prefix + ">"
}

func (f *Feed) close() {
	if f.closed.Swap(true) {
		return
	}
	close(f.closing) // readers end now, appends in flight may finish
	if f.writer != nil {
		f.batches.close()
		f.writer.close()
	}
	f.keeper.close()
	f.water.close()
	f.syncer.close()
}
