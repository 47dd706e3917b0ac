package eventlog

import (
	"fmt"
	"github.com/tidemark-es/tidemark/internal/problem"
	"strings"
)

// Layout says what the messages of an adopted stream mean whose subjects
// match a pattern. A type comes from TypeOf, TypeHeader, the subject's
// "{type}", or Type, whichever is given.
type Layout struct {
	// Subject is the pattern: literal tokens, "*" for one that means nothing,
	// "{name}" for one that is part of the key, "{type}" for the event's
	// type; and at the end ">" for any rest, or "{name>}" for a rest that is
	// part of the key. The parts of a key are joined by dots, in their order:
	// "orders.{region}.{id}.{type}" makes of orders.eu.42.created the key
	// "eu.42" and the type "created".
	Subject string
	// TypeHeader is the header that holds the type. Where a message doesn't
	// have it, the type is Type.
	TypeHeader string
	// Type is the type of all messages, or of those without TypeHeader.
	Type string
	// MarkerType is the type of the markers that the server itself leaves where
	// the last message of a subject has expired or was removed (streams with
	// subject_delete_marker_ttl, KV buckets with TTLs). Default: they are passed
	// over, and counted in Metrics.Foreign.
	MarkerType string
	// KeyOf and TypeOf find key and type where pattern and header can't. They
	// depend on nothing but the message, and are safe for concurrent use. Their
	// error or panic is an ErrCorrupt.
	KeyOf, TypeOf func(Message) (string, error)
	// Codec decodes payloads (default JSON). Bytes leaves them as they are.
	Codec Codec
}

// Message is a message of an adopted stream. It is lent: valid until KeyOf or
// TypeOf returns.
type Message struct{ m *message }

// Subject is what it was published to; a copy.
func (m Message) Subject() string { return strings.Clone(m.m.subject) }

// Header is the first value of a header, or "".
func (m Message) Header(name string) string { return m.m.get(name) }

// Data is the payload.
func (m Message) Data() []byte { return m.m.data }

// The parts of a pattern.
type tokenKind int

const (
	literalToken tokenKind = iota
	anyToken
	keyToken
	typeToken
	restToken    // ">", at the end
	keyRestToken // "{name>}", at the end
)

type token struct {
	kind tokenKind
	text string // of a literal
}

// layout is one whose pattern was parsed.
type layout struct {
	Layout
	tokens []token
}

// compile checks an adoption, and reports all that is wrong with it.
func (a Adoption) compile(feed string, reg *registry) (*adoption, error) {
	var p problem.List
	if a.Stream == "" || strings.ContainsAny(a.Stream, ".*> \t\r\n/\\") {
		p.Add("stream name %q", a.Stream)
	}
	if len(a.Layouts) == 0 {
		p.Add("no layout: say what subjects there are, such as {Subject: \"orders.{id}.{type}\"}")
	}
	if reg.open != (openOptions{}) {
		p.Add("Recreate and Repair are for feeds of this application: an adopted stream is left as it is")
	}
	ad := &adoption{Adoption: a}
	for _, l := range a.Layouts {
		if l.Codec == nil {
			l.Codec = JSON
		}
		l.Codec = emptyIsZero{bounded(l.Codec, reg.memory)}
		c := &layout{Layout: l}
		c.parse(&p)
		ad.layouts = append(ad.layouts, c)
	}
	return ad, p.Err(fmt.Sprintf("eventlog: adopted feed %q", feed), ErrInvalid)
}

func (l *layout) parse(p *problem.List) {
	var keys, types int
	tokens := strings.Split(l.Subject, ".")
	for i, s := range tokens {
		t := token{kind: literalToken, text: s}
		name, named := strings.CutPrefix(s, "{")
		name, closed := strings.CutSuffix(name, "}")
		name, rest := strings.CutSuffix(name, ">")
		switch {
		case named && closed && name == "type":
			t.kind, types = typeToken, types+1
		case named && closed && rest && name != "":
			t.kind, keys = keyRestToken, keys+1
		case named && closed && name != "" && !rest:
			t.kind, keys = keyToken, keys+1
		case s == "*":
			t.kind = anyToken
		case s == ">":
			t.kind = restToken
		case s == "" || strings.ContainsAny(s, "{}*> \t\r\n"):
			p.Add("subject %q: token %q: use a literal, *, {name} or {type}, and at the end > or {name>}", l.Subject, s)
		}
		if (t.kind == restToken || t.kind == keyRestToken) && i < len(tokens)-1 {
			p.Add("subject %q: %q stands at the end only", l.Subject, s)
		}
		l.tokens = append(l.tokens, t)
	}
	if (keys > 0) == (l.KeyOf != nil) {
		p.Add("subject %q: name the tokens of the key ({id}), or give KeyOf: one of both", l.Subject)
	}
	ways := types
	for _, given := range []bool{l.TypeOf != nil, l.TypeHeader != "" || l.Type != ""} {
		if given {
			ways++
		}
	}
	if ways != 1 {
		p.Add("subject %q: the type comes from {type}, TypeHeader, Type or TypeOf: one of them, or TypeHeader and Type for where it is missing", l.Subject)
	}
}

// emptyIsZero is a codec that makes the zero value of no bytes at all.
type emptyIsZero struct{ Codec }

func (c emptyIsZero) Decode(data []byte, v any) error {
	if len(data) == 0 {
		return nil
	}
	return c.Codec.Decode(data, v)
}
