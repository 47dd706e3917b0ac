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
	exact bool
	seq   uint64
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

	Causation   string              // ID of the event or command that caused this
	Correlation string              // ID that the whole conversation shares
	Seen        timeframe.Timeframe // what the writer had seen when it decided
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
	msg     *nats.Msg
	id      string
	events  int
	natural bool // the ID was given by the caller
}

// prepare checks and encodes a draft; it touches nothing.
func (f *Feed) prepare(d Draft) (prepared, error) {
	p := prepared{draft: d, id: d.ID, events: len(d.Events), natural: d.ID != ""}
	subject, err := f.Subject(d.Key)
	if err != nil {
		return p, err
	}
	payload, types, err := encodePayload(f.name, f.reg, d.Events)
	if err != nil {
		return p, err
	}
	if p.id == "" {
		p.id = nuid.Next()
	} else if len(p.id) > 256 {
		return p, fmt.Errorf("eventlog: ID: %w: it has %d bytes, more than 256", ErrInvalid, len(p.id))
	}
	h := nats.Header{headerID: {p.id}, headerType: {types}}
	if len(d.Events) > 1 {
		h[headerEvents] = []string{strconv.Itoa(len(d.Events))}
	}
	if c := f.reg.codec.Name(); c != MsgPack.Name() {
		h[headerCodec] = []string{c}
	}
	if d.Causation != "" {
		h[headerCausation] = []string{d.Causation}
	}
	if d.Correlation != "" {
		h[headerCorrelation] = []string{d.Correlation}
	}
	if !d.Seen.IsEmpty() {
		h[headerSeen] = []string{d.Seen.String()}
	}
	for name, v := range d.Header {
		if err := validHeaderName(name); err != nil {
			return p, err
		}
		h[name] = []string{v}
	}
	if d.Expect.exact {
		h[nats.ExpectedLastSubjSeqHdr] = []string{strconv.FormatUint(d.Expect.seq, 10)}
	}
	p.msg = &nats.Msg{Subject: subject, Header: h, Data: payload}
	return p, f.checkSize(p)
}

// checkSize also validates the headers' values, since it looks at each.
func (f *Feed) checkSize(p prepared) error {
	size := len("NATS/1.0\r\n\r\n")
	for name, vs := range p.msg.Header {
		if !validHeaderValue(vs[0]) {
			return fmt.Errorf("eventlog: header %s: %w: %q: use text without control characters, and without spaces at its ends", name, ErrInvalid, vs[0])
		}
		size += len(name) + len(vs[0]) + len(": \r\n")
	}
	const maxHeaders = 64<<10 - 1
	limit := int(f.log.nc.MaxPayload())
	switch {
	case size > maxHeaders:
		return &TooLargeError{Feed: f.name, Key: p.draft.Key, Size: size, Max: maxHeaders}
	case size+len(p.msg.Data) > limit:
		return &TooLargeError{Feed: f.name, Key: p.draft.Key, Size: size + len(p.msg.Data), Max: limit}
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
