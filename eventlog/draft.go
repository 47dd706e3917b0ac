package eventlog

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"
	"github.com/tidemark-es/tidemark/timeframe"
)

// Expectation is what an append takes for granted about its key (optimistic
// concurrency control). The zero value expects nothing.
type Expectation struct {
	exact    bool
	previous bool // for Ordered alone
	seq      uint64
}

var (
	// ExpectAny appends whatever the key's state is.
	ExpectAny = Expectation{}
	// ExpectNew appends only where the key has no commit yet.
	ExpectNew = Expectation{exact: true}
)

// ExpectSeq appends only where the key's last commit has this sequence; 0 is
// ExpectNew.
func ExpectSeq(seq uint64) Expectation { return Expectation{exact: true, seq: seq} }

// String is for people.
func (e Expectation) String() string {
	switch {
	case !e.exact:
		return "any state"
	case e.previous:
		return "this handle's previous append"
	case e.seq == 0:
		return "a new key"
	}
	return "sequence " + strconv.FormatUint(e.seq, 10)
}

// Draft is a commit that is to be appended. Key and Events are required.
type Draft struct {
	// Key is the entity that the events belong to: any non-empty string, at
	// most MaxKeyBytes when encoded.
	Key    string
	Expect Expectation
	Events []any
	// Durability is what the append waits for: Acked, the default, or Synced.
	Durability Durability

	// ID is the identity of the append: an append that is sent again with
	// the same ID and key is answered with the first one's position, at
	// once, later, and after restarts. It must be unique in the feed: up to
	// 256 bytes of text. ActorID makes one. Default: one is made up, which
	// makes retries safe that this process does itself.
	ID string
	// After is a sequence up to which ID is known not to be in the log, such
	// as the position that the actor has recorded: what comes later is
	// searched. Default 0: the key's whole history is.
	After uint64

	// Tags are what guards of other appends can be about (Guard): literal,
	// without '*' and '>', and at most MaxKeyBytes when encoded. A commit with tags is stored
	// with a marker for each, in one atomic batch, which costs an embedded
	// server an fsync; see AppendTransaction.
	Tags []string

	Causation   string // ID of the event or command that caused this
	Correlation string // ID that the whole conversation shares
	// Seen is what the writer had seen when it decided. Readers of several
	// feeds can wait for that before they go on to these events (Merge).
	Seen timeframe.Timeframe
	// Header are further headers, such as "traceparent". Names that begin
	// with "Nats-" or "Tm-" are refused.
	Header map[string]string
}

// ActorID is an identity for the seq-th append of an actor, which must count
// its appends durably.
func ActorID(actor string, seq uint64) string {
	return actor + "/" + strconv.FormatUint(seq, 10)
}

// prepared is a draft that passed every check and is encoded.
type prepared struct {
	draft   Draft
	msg     outgoing
	id      string
	events  int
	natural bool // the ID was given by the caller
}

// outgoing is a message on its way to the stream. Its header is a list, not
// a map: most have three fields, and every append makes one.
type outgoing struct {
	subject string
	header  []field
	data    []byte
	flow    []byte   // of a fast batch; lent: the reply subject's part behind the token
	few     [4]field // where header stands while it is short
}

type field struct{ name, value string }

// size is the message's, as the server counts it.
func (m *outgoing) size() int { return m.headerSize() + len(m.data) }

func (m *outgoing) headerSize() int {
	n := len(headerLine) + len("\r\n")
	for _, h := range m.header {
		n += len(h.name) + len(h.value) + len(": \r\n")
	}
	return n
}

// with is the message with a further header field; m stays as it is.
func (m *outgoing) with(name, value string) outgoing {
	h := make([]field, 0, len(m.header)+1)
	for _, f := range m.header {
		if f.name != name {
			h = append(h, f)
		}
	}
	return outgoing{subject: m.subject, data: m.data, header: append(h, field{name, value})}
}

// prepare checks and encodes a draft into p, which must not be copied
// afterwards; it touches nothing else. Where p has a payload or the subject
// already, their memory is used again.
func (f *Feed) prepare(p *prepared, d Draft) error {
	if err := f.online(); err != nil {
		return err
	}
	return f.encodeDraft(p, d)
}

// encodeDraft is prepare, for feeds without a log too.
func (f *Feed) encodeDraft(p *prepared, d Draft) (err error) {
	if f.adopted != nil {
		return &ReadOnlyError{Feed: f.name, Stream: f.stream}
	}
	p.draft, p.id, p.events, p.natural = d, d.ID, len(d.Events), d.ID != ""
	if d.Expect.previous {
		return fmt.Errorf("eventlog: append to %s/%.200q: %w: ExpectPrevious is for the appends of an Ordered handle", f.name, d.Key, ErrInvalid)
	}
	if err := d.Durability.validate(); err != nil {
		return err
	}
	m := &p.msg
	if m.subject, err = f.subjectAs(m.subject, d.Key); err != nil {
		return err
	}
	var types string
	if m.data, types, err = appendPayload(m.data[:0], f.name, f.reg, d.Events); err != nil {
		return err
	}
	if p.id == "" {
		p.id = nuid.Next()
	} else if len(p.id) > maxIDBytes {
		return fmt.Errorf("eventlog: ID: %w: it has %d bytes, more than %d", ErrInvalid, len(p.id), maxIDBytes)
	}
	m.header = append(m.few[:0], field{idHeader(&d), p.id}, field{headerType, types})
	if len(d.Events) > 1 {
		m.header = append(m.header, field{headerEvents, strconv.Itoa(len(d.Events))})
	}
	if c := f.reg.codec.Name(); c != MsgPack.Name() {
		m.header = append(m.header, field{headerCodec, c})
	}
	if d.Expect.exact {
		m.header = append(m.header, field{nats.ExpectedLastSubjSeqHdr, strconv.FormatUint(d.Expect.seq, 10)})
	}
	if d.Causation != "" {
		m.header = append(m.header, field{headerCausation, d.Causation})
	}
	if d.Correlation != "" {
		m.header = append(m.header, field{headerCorrelation, d.Correlation})
	}
	if !d.Seen.IsEmpty() {
		m.header = append(m.header, field{headerSeen, d.Seen.String()})
	}
	for name, v := range d.Header {
		if err := validHeaderName(name); err != nil {
			return err
		}
		m.header = append(m.header, field{name, v})
	}
	return f.checkMessage(p)
}

// idHeader is the header of a draft's ID. The server compares IDs with those of
// the last minutes, and remembers each in two places, which is more work than to
// check an expectation. That decides it all where the draft names a commit that
// must be its key's last one: after the first copy of it was stored no other can
// be, and the writer finds the first by its ID (writer.verdict). A new key has
// both, since the key might be trimmed before a second copy comes.
func idHeader(d *Draft) string {
	if d.Expect.exact && d.Expect.seq > 0 && d.ID == "" && len(d.Tags) == 0 {
		return headerPlainID
	}
	return headerID
}

// maxIDBytes is the longest identity of a draft.
const maxIDBytes = 256

// maxHeaderBytes is the server's limit of all headers together.
const maxHeaderBytes = 64<<10 - 1

// checkMessage checks the header's values and the size.
func (f *Feed) checkMessage(p *prepared) error {
	for _, h := range p.msg.header {
		if !validHeaderValue(h.value) {
			return fmt.Errorf("eventlog: header %s: %w: %q: use text without control characters, and without spaces at its ends", h.name, ErrInvalid, h.value)
		}
	}
	limit := offlinePayload
	if f.log.nc != nil {
		limit = int(f.log.nc.MaxPayload())
	}
	switch n := p.msg.headerSize(); {
	case n > maxHeaderBytes:
		return &TooLargeError{Feed: f.name, Key: p.draft.Key, Size: n, Max: maxHeaderBytes}
	case n+len(p.msg.data) > limit:
		return &TooLargeError{Feed: f.name, Key: p.draft.Key, Size: n + len(p.msg.data), Max: limit}
	}
	return nil
}

func validHeaderName(name string) error {
	bad := name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' || r == ':' })
	for _, reserved := range []string{"nats-", "tm-"} {
		bad = bad || strings.HasPrefix(strings.ToLower(name), reserved)
	}
	if bad {
		return fmt.Errorf("eventlog: header name %q: %w: use visible ASCII without ':'; names that begin with Nats- or Tm- are taken", name, ErrInvalid)
	}
	return nil
}

func validHeaderValue(v string) bool {
	for i := range len(v) {
		if v[i] < ' ' || v[i] == 0x7f {
			return false
		}
	}
	return v == "" || (v[0] != ' ' && v[len(v)-1] != ' ')
}
