package eventlog

import (
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidemark-es/tidemark/internal/problem"
)

// matches says whether a subject is one of the pattern.
func (l *layout) matches(subject string) bool {
	for i, t := range l.tokens {
		if t.kind == restToken || t.kind == keyRestToken {
			return subject != ""
		}
		s, rest, more := strings.Cut(subject, ".")
		if s == "" || (t.kind == literalToken && s != t.text) || more != (i < len(l.tokens)-1) {
			return false
		}
		subject = rest
	}
	return true
}

// parts reads key and type from a subject that matches; both are lent.
func (l *layout) parts(subject string) (key []string, typ string) {
	for _, t := range l.tokens {
		if t.kind == restToken {
			break
		}
		if t.kind == keyRestToken {
			return append(key, subject), typ
		}
		s, rest, _ := strings.Cut(subject, ".")
		switch t.kind {
		case keyToken:
			key = append(key, s)
		case typeToken:
			typ = s
		}
		subject = rest
	}
	return key, typ
}

// meaning finds a message's layout (nil for none), key and type, which are
// copies.
func (a *adoption) meaning(m *message) (l *layout, key, typ string, err error) {
	i := slices.IndexFunc(a.layouts, func(l *layout) bool { return l.matches(m.subject) })
	if i < 0 {
		return nil, "", "", nil
	}
	l = a.layouts[i]
	defer guard("the layout's function", &err)
	tokens, typ := l.parts(m.subject)
	if key = strings.Clone(strings.Join(tokens, ".")); l.KeyOf != nil {
		if key, err = l.KeyOf(Message{m}); err != nil {
			return l, "", "", err
		}
	}
	switch {
	case l.MarkerType != "" && isMarker(m):
		typ = l.MarkerType
	case l.TypeOf != nil:
		typ, err = l.TypeOf(Message{m})
	case l.TypeHeader != "":
		if typ = m.get(l.TypeHeader); typ == "" {
			typ = l.Type
		}
	case l.Type != "":
		typ = l.Type
	}
	if err == nil && (key == "" || typ == "") {
		err = fmt.Errorf("it has key %q and type %q: neither may be empty", key, typ)
	}
	return l, key, strings.Clone(typ), err
}

// subjectOf is the filter for a key's messages, where the pattern gives one.
func (a *adoption) subjectOf(key string) (string, error) {
	if len(a.layouts) != 1 || a.layouts[0].KeyOf != nil {
		return "", &KeyError{Key: key, Reason: "the messages of one key of an adopted feed can be asked for where it has one layout, whose pattern names the key"}
	}
	rest, more := key, true
	var out []string
	for _, t := range a.layouts[0].tokens {
		s := t.text
		switch t.kind {
		case keyToken:
			s, rest, more = strings.Cut(rest, ".")
		case keyRestToken:
			s, rest, more = rest, "", false
		case anyToken, typeToken:
			s = "*"
		case restToken:
			s = ">"
		}
		if s == "" || ((t.kind == keyToken || t.kind == keyRestToken) && strings.ContainsAny(s, "*> \t\r\n")) {
			return "", &KeyError{Key: key, Reason: "it isn't one that the pattern " + a.layouts[0].Subject + " makes"}
		}
		out = append(out, s)
	}
	if more || rest != "" {
		return "", &KeyError{Key: key, Reason: "it has more parts than the pattern " + a.layouts[0].Subject + " makes"}
	}
	return strings.Join(out, "."), nil
}

// same says whether two adoptions read alike, as far as can be told.
func (a *adoption) same(b *adoption) bool {
	return a.Stream == b.Stream && a.SkipOthers == b.SkipOthers && slices.EqualFunc(a.layouts, b.layouts, func(x, y *layout) bool {
		return x.Subject == y.Subject && x.Type == y.Type && x.TypeHeader == y.TypeHeader && x.MarkerType == y.MarkerType && x.Codec.Name() == y.Codec.Name() &&
			(x.KeyOf == nil) == (y.KeyOf == nil) && (x.TypeOf == nil) == (y.TypeOf == nil)
	})
}

// matchable makes sure that each layout can match what the stream takes. What
// comes by mirrors and sources can have any subject.
func (a *adoption) matchable(feed string, c jetstream.StreamConfig) error {
	if c.Mirror != nil || len(c.Sources) > 0 || c.SubjectTransform != nil {
		return nil
	}
	var p problem.List
	for _, l := range a.layouts {
		if !slices.ContainsFunc(c.Subjects, l.meets) {
			p.Add("no subject of stream %s (%s) matches %q", a.Stream, strings.Join(c.Subjects, " "), l.Subject)
		}
	}
	return p.Err(fmt.Sprintf("eventlog: adopted feed %q", feed), ErrInvalid)
}

// meets says whether some subject matches both the pattern and a filter of
// NATS.
func (l *layout) meets(filter string) bool {
	tokens := strings.Split(filter, ".")
	for i, t := range l.tokens {
		if i >= len(tokens) {
			return false
		}
		if tokens[i] == ">" || t.kind == restToken || t.kind == keyRestToken {
			return true
		}
		if t.kind == literalToken && tokens[i] != "*" && tokens[i] != t.text {
			return false
		}
	}
	return len(tokens) == len(l.tokens)
}
