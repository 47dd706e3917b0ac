package eventlog

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/tidemark-es/tidemark/timeframe"
)

// Position names a commit of a feed, or with Index an event of it. The
// sequence is the stream's, from 1; a timeframe that includes the sequence
// includes the whole commit.
type Position struct {
	Feed  string
	Seq   uint64
	Index int // of the event in its commit, from 0
}

// String is "feed@seq", or "feed@seq.index" behind the first event.
func (p Position) String() string {
	if p.Index > 0 {
		return fmt.Sprintf("%s@%d.%d", p.Feed, p.Seq, p.Index)
	}
	return fmt.Sprintf("%s@%d", p.Feed, p.Seq)
}

// Commit is what one append made: one or more events of one key, stored and
// read as a whole. A Commit that a Reader lends out is valid until its next
// step; the events taken from it are valid as long. Tests that run under the
// build tag tidemark_mangle find who keeps one for longer.
type Commit struct {
	Feed string
	Seq  uint64
	Time time.Time // when the server stored it
	Key  string
	// ID is the identity that the appender gave, or that was made for it. A
	// commit without one, as in many streams of others, has its position; see
	// Identity for what names it outside its log.
	ID string

	msg   message
	reg   *registry
	codec Codec
	parts []part
	// evolved is nil where the events are read as they were stored.
	evolved *evolved
	// unnamed: ID isn't one of ours; see Identity.
	unnamed bool
	// problem is nil where the message could be decoded.
	problem *CorruptError
}

// part is one event inside a commit's payload.
type part struct {
	typ  string
	data []byte
}

// Len is the number of events: at least 1, unless the feed leaves events out
// (SkipUnknown, UpcastMany).
func (c *Commit) Len() int { return len(c.parts) }

// Position is the commit's own.
func (c *Commit) Position() Position { return Position{Feed: c.Feed, Seq: c.Seq} }

// Event returns event i, 0 <= i < Len.
func (c *Commit) Event(i int) Event {
	return Event{
		Feed: c.Feed, Key: c.Key, Type: c.parts[i].typ, Seq: c.Seq, Index: i, Time: c.Time,
		commit: c, data: c.parts[i].data,
	}
}

// Fingerprint identifies the stored message: its sequence, time, subject,
// headers and payload (docs/format-commit.md).
func (c *Commit) Fingerprint() timeframe.Fingerprint { return c.msg.fingerprint() }

// Event is one event of a commit.
type Event struct {
	Feed  string
	Key   string // the entity that it belongs to
	Type  string // its registered name
	Seq   uint64 // of its commit in the feed's stream
	Index int    // in its commit, from 0
	Time  time.Time

	commit *Commit
	data   []byte
}

// Position is where the event stands.
func (e Event) Position() Position { return Position{Feed: e.Feed, Seq: e.Seq, Index: e.Index} }

// ID is the commit's identity, with the index behind it where the commit has
// several events. Where an import packed the commit out of several drafts, it
// is made of the draft's identity in the same way. It is the same at every
// read.
func (e Event) ID() string {
	if e.commit == nil {
		return ""
	}
	if e.commit.evolved != nil {
		return e.commit.evolvedID(e.Index)
	}
	return e.commit.storedID(e.Index, len(e.commit.parts))
}

// Causation is the ID of the event or command that caused this one, or "".
func (e Event) Causation() string { return e.Header(headerCausation) }

// Correlation is the ID that the whole conversation shares, or "".
func (e Event) Correlation() string { return e.Header(headerCorrelation) }

// Seen is the timeframe that the writer had seen when it appended this
// event; empty where it gave none.
func (e Event) Seen() (timeframe.Timeframe, error) {
	h := e.Header(headerSeen)
	if h == "" {
		return timeframe.Timeframe{}, nil
	}
	tf, err := timeframe.Parse(h)
	if err != nil {
		return tf, fmt.Errorf("%w: %s: header %s: %w", ErrCorrupt, e.Position(), headerSeen, err)
	}
	return tf, nil
}

// Header returns the first value of a header of the event's commit, or "".
func (e Event) Header(name string) string {
	if e.commit == nil {
		return ""
	}
	return e.commit.msg.get(name)
}

// Data is the encoded event; of a commit with a Problem, the whole payload. It
// is lent: valid as long as the commit is.
func (e Event) Data() []byte { return e.data }

// Decode fills v, a pointer to the event's registered type.
func (e Event) Decode(v any) (err error) {
	if e.commit == nil {
		return fmt.Errorf("%w: the zero Event", ErrInvalid)
	}
	if e.commit.problem != nil {
		return e.commit.problem
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("eventlog: %s, event %q: %w: %w", e.Position(), e.Type, ErrCorrupt, err)
		}
	}()
	defer guard("decoding", &err)
	if e.commit.evolved != nil || e.commit.reg.evolution != nil {
		if done, err := e.decodeEvolved(v); done {
			return err
		}
	}
	return decodeBy(e.commit.codec, e.data, v)
}

// Value decodes the event into its registered type. An event whose type
// isn't registered is an ErrUnknownType.
func (e Event) Value() (any, error) {
	if e.commit == nil {
		return nil, fmt.Errorf("%w: the zero Event", ErrInvalid)
	}
	t, ok := e.commit.reg.byName[e.Type]
	if !ok {
		if err := e.Problem(); err != nil {
			return nil, err
		}
		return e.raw(), nil
	}
	if e.commit.problem != nil {
		return nil, e.commit.problem
	}
	v, err := t.decode(e.commit.codec, e.data)
	if err != nil {
		return nil, fmt.Errorf("eventlog: %s, event %q: %w: %w", e.Position(), e.Type, ErrCorrupt, err)
	}
	return v, nil
}

// The headers of a commit (docs/format-commit.md). The server's own are used
// where it has one for the purpose.
const (
	headerID          = nats.MsgIdHdr
	headerPlainID     = "Tm-Id" // an ID that the server needn't compare
	headerType        = "Tm-Type"
	headerEvents      = "Tm-Events"
	headerCodec       = "Tm-Codec"
	headerCausation   = "Tm-Causation"
	headerCorrelation = "Tm-Correlation"
	headerSeen        = "Tm-Seen"
)

const (
	envelopeVersion = 1
	// MaxEvents is the most events that one commit may hold.
	MaxEvents = 10_000
)

// encodePayload encodes a commit's events: a single one as it is, several in
// an envelope. It returns the payload and the value of the type header.
func encodePayload(feed string, reg *registry, events []any) (payload []byte, types string, err error) {
	return appendPayload(nil, feed, reg, events)
}

// appendPayload is encodePayload into the memory of payload, which is empty.
func appendPayload(payload []byte, feed string, reg *registry, events []any) (_ []byte, types string, err error) {
	if len(events) == 0 || len(events) > MaxEvents {
		return nil, "", fmt.Errorf("eventlog: feed %q: %w: a commit has 1 to %d events, not %d", feed, ErrInvalid, MaxEvents, len(events))
	}
	if len(events) == 1 {
		return encodeEvent(feed, reg, payload, events[0])
	}
	var names []string
	payload = append(payload, envelopeVersion)
	var scratch []byte
	for _, v := range events {
		var name string
		scratch, name, err = encodeEvent(feed, reg, scratch[:0], v)
		if err != nil {
			return nil, "", err
		}
		at := indexOf(names, name)
		if at < 0 {
			at, names = len(names), append(names, name)
		}
		payload = binary.AppendUvarint(payload, uint64(at))
		payload = binary.AppendUvarint(payload, uint64(len(scratch)))
		payload = append(payload, scratch...)
	}
	return payload, strings.Join(names, ","), nil
}

func encodeEvent(feed string, reg *registry, dst []byte, v any) ([]byte, string, error) {
	t, err := reg.typeOf(feed, v)
	if err != nil {
		return nil, "", err
	}
	dst, err = t.encode(reg.codec, dst, v)
	if err != nil {
		return nil, "", &TypeError{Feed: feed, Type: t.goType.String(), Reason: "can't be encoded: " + err.Error(), class: ErrInvalidType}
	}
	return dst, t.name, nil
}

func indexOf(names []string, name string) int {
	for i, n := range names {
		if n == name {
			return i
		}
	}
	return -1
}

// decodePayload is the inverse of encodePayload; it appends to parts. It
// takes nothing for granted: the bytes may come from anybody.
func decodePayload(types, events string, payload []byte, parts []part) ([]part, error) {
	if events == "" {
		if types == "" {
			return nil, fmt.Errorf("%w: no %s header", ErrCorrupt, headerType)
		}
		return append(parts, part{typ: types, data: payload}), nil
	}
	n, err := strconv.ParseUint(events, 10, 32)
	if err != nil || n < 2 || n > MaxEvents {
		return nil, fmt.Errorf("%w: header %s is %q", ErrCorrupt, headerEvents, events)
	}
	if len(payload) == 0 || payload[0] != envelopeVersion {
		return nil, fmt.Errorf("%w: envelope of an unknown version", ErrCorrupt)
	}
	names := strings.Split(types, ",")
	rest := payload[1:]
	for i := range n {
		at, a := binary.Uvarint(rest)
		if a <= 0 || at >= uint64(len(names)) || names[at] == "" {
			return nil, fmt.Errorf("%w: event %d of %d: bad type", ErrCorrupt, i, n)
		}
		size, b := binary.Uvarint(rest[a:])
		if b <= 0 || size > uint64(len(rest)-a-b) {
			return nil, fmt.Errorf("%w: event %d of %d: bad length", ErrCorrupt, i, n)
		}
		end := a + b + int(size)
		parts = append(parts, part{typ: names[at], data: rest[a+b : end : end]})
		rest = rest[end:]
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("%w: %d bytes behind the last event", ErrCorrupt, len(rest))
	}
	return parts, nil
}
