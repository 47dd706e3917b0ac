package eventlog

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidemark-es/tidemark/timeframe"
)

// ErrReadOnly: the feed is an adopted one, which others write. Nothing was
// done.
var ErrReadOnly = errors.New("read-only feed")

// ReadOnlyError is an ErrReadOnly.
type ReadOnlyError struct {
	Feed   string
	Stream string
}

func (e *ReadOnlyError) Error() string {
	return fmt.Sprintf("eventlog: feed %q: %v: it is adopted, and stream %s is written by others: publish to it as they do, or append to a feed of your own", e.Feed, ErrReadOnly, e.Stream)
}

func (e *ReadOnlyError) Unwrap() error { return ErrReadOnly }

// Adoption says how a stream that others write is read as a feed.
type Adoption struct {
	// Stream is the stream's name. Nothing in it is changed; each reader has
	// a consumer on it for as long as it reads.
	Stream string
	// Layouts say what its messages mean. The first whose subject matches
	// decides.
	Layouts []Layout
	// SkipOthers leaves out messages that no layout is for, and counts them
	// (Metrics.Foreign). Without it such a message is an ErrCorrupt.
	SkipOthers bool
}

// adoption is an adopted feed's, compiled. It doesn't change.
type adoption struct {
	Adoption
	layouts []*layout
	domain  string

	first   atomic.Uint64 // first sequence that the stream has, as was last seen
	foreign atomic.Uint64 // messages that no layout is for, and markers without a type
	trimmed atomic.Uint64 // sequences that were gone from the beginning
	deleted atomic.Uint64 // and from the inside
}

// Adopt opens a read-only feed over a stream that others write: any subjects,
// any codec. The name is the feed's in timeframes and snapshots, as for Feed,
// and must not be that of a feed of this application. The options are event
// types, aliases, upcasters and the policy for unknown types.
//
// Events are decoded by Layout.Codec, one of each message. An empty payload is
// the zero value of its type: streams of others say by it that something was
// deleted. A commit's ID is the message's Nats-Msg-Id, or made of its position.
// Appends are an ErrReadOnly. A stream that is a feed of a Tidemark application
// isn't adopted (ErrInvalid): open it with that application's name.
//
// The owner's limits and deletions hold: what is gone is passed over and
// counted (Metrics.Trimmed, Deleted), and neither an ErrTrimmed nor an ErrGap.
// So a projection that is built anew has seen what the stream still held then,
// and only its snapshots remember the rest. The stream's incarnation is made
// of its name and the time when it was created; snapshots are checked against
// the messages themselves, too.
//
// Errors: ErrInvalid; ErrMissing (there is no such stream); ErrUnsafe
// (reading would remove messages); ErrDenied, ErrUnavailable, ErrClosed.
func (l *Log) Adopt(ctx context.Context, name string, a Adoption, opts ...FeedOption) (*Feed, error) {
	if err := timeframe.ValidName(name); err != nil {
		return nil, fmt.Errorf("eventlog: feed: %w: %w", ErrInvalid, err)
	}
	reg, err := newRegistry(name, opts, false, l.opts.MaxDecoded)
	if err != nil {
		return nil, err
	}
	ad, err := a.compile(name, reg)
	if err != nil {
		return nil, err
	}
	ad.domain = l.opts.Domain
	done, err := l.startOpening(ctx, name)
	if err != nil {
		return nil, err
	}
	defer done()
	l.mu.Lock()
	closed, f := l.closed, l.feeds[name]
	l.mu.Unlock()
	switch {
	case closed:
		return nil, fmt.Errorf("eventlog: feed %q: %w", name, ErrClosed)
	case f != nil && (f.adopted == nil || !f.adopted.same(ad) || !f.reg.same(reg)):
		return nil, fmt.Errorf("eventlog: feed %q: %w: it is open already, as another one or with other types: open it in one place", name, ErrInvalid)
	case f != nil:
		return f, nil
	}
	f = l.newFeed(name, reg)
	f.adopted, f.stream = ad, a.Stream
	// No subject begins so: what is for feeds of our own finds nothing here.
	f.prefix = "$adopted." + name + "."
	if err := f.openAdopted(ctx); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.feeds[name] = f
	return f, nil
}

// openAdopted looks whether the stream can be read as it is.
func (f *Feed) openAdopted(ctx context.Context) error {
	c, found, err := f.streamInfo(ctx)
	switch {
	case err != nil:
		return f.serverError(ctx, "adopt", err)
	case !found:
		return fmt.Errorf("eventlog: feed %q: %w: there is no stream %s: check its name, and the account", f.name, ErrMissing, f.stream)
	case c.Metadata[metaApp] != "" && c.Metadata[metaFeed] != "":
		return fmt.Errorf("eventlog: feed %q: %w: stream %s is feed %q of application %q: open it by that name, on a log with Options.App %q", f.name, ErrInvalid, f.stream, c.Metadata[metaFeed], c.Metadata[metaApp], c.Metadata[metaApp])
	case c.Retention != jetstream.LimitsPolicy:
		return &StreamError{Feed: f.name, Stream: f.stream, Drift: []Drift{{
			Setting: "retention", Have: c.Retention.String(), Want: jetstream.LimitsPolicy.String(), Refused: true,
			Consequence: "messages that are read here would be taken from those they are for: adopt a mirror of the stream instead",
		}}}
	}
	if err := f.adopted.matchable(f.name, c); err != nil {
		return err
	}
	st, err := f.State(ctx)
	if err != nil {
		return err
	}
	f.incarnation = st.Incarnation
	f.learn(c)
	if err := f.gaps.open(ctx); err != nil {
		return err
	}
	// What its owner lets go is his matter. Drift lists it, and a start is no
	// occasion to warn of it.
	var ds drifts
	ds.losing(c, f.streamConfig(""))
	for i := range ds {
		ds[i].Refused, ds[i].Repairable = false, false
		f.log.opts.Logger.Debug().Str("feed", f.name).Str("stream", f.stream).Str("setting", ds[i].Setting).Str("have", ds[i].Have).Msg("eventlog: adopted stream: " + ds[i].Consequence)
	}
	f.keeper.drift = ds
	return nil
}

// Adopted says whether the feed is a stream that others write (Adopt).
func (f *Feed) Adopted() bool { return f.adopted != nil }

// Reach is the last sequence that a reader can come to, by the state that the
// feed is in: State's Last; where a gap is registered there, or the owner of an
// adopted feed has deleted there, that of the last message which is there, 0 for
// none.
func (f *Feed) Reach(ctx context.Context, st State) (uint64, error) {
	if f.adopted == nil && !f.gaps.covers(st.Last) {
		return st.Last, nil
	}
	// The server knows the next message from a sequence on, not the last one
	// before it; and its answer for the last of all subjects is the one at the
	// last sequence, or none. So the last is found by halving.
	last, after := uint64(0), st.Last
	for from := st.Last; from > last; from = last + 1 + (after-last)/2 {
		m, ok, err := f.get(ctx, getRequest{Seq: from, NextFor: ">"})
		switch {
		case err != nil:
			return 0, err
		case ok:
			last = m.seq // after <= Last, or it came just now
		default:
			after = from - 1
		}
		if last >= after || after < st.First {
			break
		}
	}
	return min(st.Last, last), nil
}

// identity is the incarnation of a stream that has none of ours: stable while
// it lives, and another when it was deleted and created again.
func (a *adoption) identity(created time.Time) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%s", a.domain, a.Stream, created.UTC().Format(time.RFC3339Nano)))
	return "adopted-" + hex.EncodeToString(sum[:11])
}

// missing counts the sequences between two that were read; from is the first
// that isn't there.
func (a *adoption) missing(from, to uint64) {
	trimmed := min(max(from, a.first.Load()), to) - from
	a.trimmed.Add(trimmed)
	a.deleted.Add(to - from - trimmed)
}

// decode makes a commit of a message, of one event. The error says what is wrong
// with it.
func (a *adoption) decode(f *Feed, c *Commit, m *message) error {
	lay, key, typ, err := a.meaning(m)
	if err == nil && lay == nil {
		err = errors.New("no layout is for its subject: add one, or pass over such messages by SkipOthers")
	}
	if err != nil {
		return err
	}
	if t := f.reg.byName[typ]; t != nil {
		typ = t.name
	}
	id := m.get(headerID)
	if id == "" {
		id = fmt.Sprintf("%s@%d", f.name, m.seq)
	}
	c.Feed, c.Seq, c.Time, c.Key, c.ID = f.name, m.seq, m.time(), key, id
	c.msg, c.reg, c.codec, c.evolved, c.unnamed = *m, f.reg, lay.Codec, nil, true
	c.parts = append(c.parts[:0], part{typ: typ, data: m.data})
	if ev := f.reg.evolution; ev != nil {
		ev.apply(c)
	}
	return nil
}

// passes says whether a message is one that is passed over: one that no layout
// is for, or a marker of the server's that its layout has no type for.
func (a *adoption) passes(m *message) bool {
	if !a.SkipOthers && !isMarker(m) {
		return false
	}
	i := slices.IndexFunc(a.layouts, func(l *layout) bool { return l.matches(m.subject) })
	if i < 0 && !a.SkipOthers || i >= 0 && (a.layouts[i].MarkerType != "" || !isMarker(m)) {
		return false
	}
	a.foreign.Add(1)
	return true
}

// isMarker says whether the server made a message by itself, to say that the
// last one of its subject is gone: expired, deleted or purged.
func isMarker(m *message) bool { return m.get(jetstream.MarkerReasonHeader) != "" }
