package eventlog

import (
	"bytes"
	"errors"
	"iter"
	"maps"
	"slices"

	"github.com/nats-io/nats.go"
)

// headers is a message's header block as it is stored: a first line, lines of
// "Name: value", and an empty one, each ended by CR LF. It is read where it
// stands, since most of it is never asked for; a map of it would be the
// dearest part of a replay. Empty for a message without headers.
//
// It is understood as nats.go does (DecodeHeadersMsg; a property test holds
// that), since fingerprints depend on it: names keep their case, blanks in
// front of a value aren't part of it, a field without a name is skipped, and
// a status in the first line is a field too.
type headers []byte

var errBadHeaders = errors.New("not a header block")

const (
	headerVersion     = "NATS/1.0"
	headerStatus      = "Status"
	headerDescription = "Description"
	statusDigits      = 3
)

// find returns the first value of a name; ok is false where there is none,
// and where the block is broken before it. The value is lent.
func (h headers) find(name string) (value []byte, ok bool) {
	for n, v := range h.fields() {
		if string(n) == name {
			return v, true
		}
	}
	return nil, false
}

// fields yields names and values, in the order of the block, up to its end or
// to where it is broken.
func (h headers) fields() iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) { _ = h.each(yield) }
}

// each is fields, and says whether the block is one.
func (h headers) each(yield func(name, value []byte) bool) error {
	if len(h) == 0 {
		return nil
	}
	first, rest, ok := headerLineOf(h)
	if !ok || !bytes.HasPrefix(first, []byte(headerVersion)) {
		return errBadHeaders
	}
	for {
		var line []byte
		if line, rest, ok = headerLineOf(rest); !ok {
			return errBadHeaders
		}
		if len(line) == 0 {
			break
		}
		i := bytes.IndexByte(line, ':')
		if i < 0 {
			return errBadHeaders
		}
		if i > 0 && !yield(line[:i], trimBlanks(line[i+1:])) {
			return nil
		}
	}
	if len(first) == len(headerVersion) {
		return nil
	}
	status := bytes.TrimSpace(first[len(headerVersion):])
	if len(status) < statusDigits {
		return errBadHeaders
	}
	if !yield([]byte(headerStatus), status[:statusDigits]) {
		return nil
	}
	if text := bytes.TrimSpace(status[statusDigits:]); len(text) > 0 {
		yield([]byte(headerDescription), text)
	}
	return nil
}

// headerLineOf cuts the first line off, without its end.
func headerLineOf(b []byte) (line, rest []byte, ok bool) {
	i := bytes.IndexByte(b, '\n')
	if i < 0 {
		return nil, nil, false
	}
	line = b[:i]
	if i > 0 && b[i-1] == '\r' {
		line = b[:i-1]
	}
	return line, b[i+1:], true
}

func trimBlanks(v []byte) []byte {
	for len(v) > 0 && (v[0] == ' ' || v[0] == '\t') {
		v = v[1:]
	}
	return v
}

// headersOf is the block of what nats.go has decoded, by name: their order is
// lost by then. The order of one name's values isn't.
func headersOf(h nats.Header) headers {
	if len(h) == 0 {
		return nil
	}
	size := len(headerLine) + len("\r\n")
	for name, values := range h {
		for _, v := range values {
			size += len(name) + len(v) + len(": \r\n")
		}
	}
	b := append(make(headers, 0, size), headerLine...)
	var few [8]string
	names := slices.AppendSeq(few[:0], maps.Keys(h))
	slices.Sort(names)
	for _, name := range names {
		for _, v := range h[name] {
			b = append(b, name...)
			b = append(b, ": "...)
			b = append(b, v...)
			b = append(b, "\r\n"...)
		}
	}
	return append(b, "\r\n"...)
}
