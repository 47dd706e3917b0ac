package eventlog

import (
	"fmt"
	"strings"

	"github.com/tidemark-es/tidemark/timeframe"
)

// decoder turns messages into commits. It remembers what comes again, so that
// a key or a name that was met before costs no memory. It is for one goroutine
// at a time.
type decoder struct {
	f    *Feed
	keys map[string]string // encoded to decoded
	typ  string            // the last one
	once bool              // there is one message: nothing comes again
	of   *prepared         // what the message was made of, whose strings serve for equal ones; nil: unknown
}

// decoderKeys bounds the keys that a decoder remembers.
const decoderKeys = 1 << 15

// decode is a decoder's for a single message.
func (f *Feed) decode(c *Commit, m message) error {
	d := decoder{f: f, once: true}
	return d.decode(c, &m)
}

// commitHeaders are the values of the headers that decide how a commit is
// read; lent.
type commitHeaders struct{ id, typ, events, codec, ids, seen []byte }

func (h *commitHeaders) collect(b headers) error {
	return b.each(func(name, value []byte) bool {
		var at *[]byte
		switch string(name) {
		case headerID, headerPlainID:
			at = &h.id
		case headerType:
			at = &h.typ
		case headerEvents:
			at = &h.events
		case headerCodec:
			at = &h.codec
		case headerIDs:
			at = &h.ids
		case headerSeen:
			at = &h.seen
		default:
			return true
		}
		if *at == nil { // the first one counts
			*at = value
		}
		return true
	})
}

// decode turns a message into a commit; c's memory is used again. The key is
// the rest of the subject after the feed's prefix. m must stay for as long
// as c does. Where the message is no commit, the error is a *CorruptError, and
// c one with that as its Problem.
func (d *decoder) decode(c *Commit, m *message) error {
	f := d.f
	c.problem = nil
	if f.adopted != nil {
		if err := f.adopted.decode(f, c, m); err != nil {
			return d.unreadable(c, m, &commitHeaders{}, err)
		}
		return nil
	}
	var h commitHeaders
	if err := h.collect(m.header); err != nil {
		// Some sources deliver such a message without headers: so all do.
		m.header, h = nil, commitHeaders{}
		return d.unreadable(c, m, &h, fmt.Errorf("headers: %w", err))
	}
	if err := d.open(c, m, &h); err != nil {
		return d.unreadable(c, m, &h, err)
	}
	return nil
}

// open is decode for a message whose headers are known.
func (d *decoder) open(c *Commit, m *message, h *commitHeaders) error {
	f := d.f
	enc, ok := strings.CutPrefix(m.subject, f.prefix)
	if !ok {
		return fmt.Errorf("subject %q is not the feed's", m.subject)
	}
	key, err := d.key(enc)
	if err != nil {
		return err
	}
	codec := f.reg.msgpack
	if len(h.codec) > 0 {
		if codec, ok = f.reg.codecs[string(h.codec)]; !ok {
			return fmt.Errorf("%w: codec %q isn't known: open the feed with eventlog.ReadCodecs", errUnknownCodec, h.codec)
		}
	}
	parts, err := decodePayload(d.typeName(h.typ), string(h.events), m.data, c.parts[:0])
	if err != nil {
		return err
	}
	if len(h.ids) > 0 {
		if err := eachPacked(string(h.ids), len(parts), func([]byte, int, int) bool { return true }); err != nil {
			return err
		}
	}
	if len(h.seen) > 0 {
		if _, err := timeframe.Parse(string(h.seen)); err != nil {
			return fmt.Errorf("header %s: %w", headerSeen, err)
		}
	}
	c.Feed, c.Seq, c.Time, c.Key, c.ID = f.name, m.seq, m.time(), key, d.id(h.id, m.seq)
	c.msg, c.reg, c.codec, c.parts, c.evolved, c.unnamed = *m, f.reg, codec, parts, nil, len(h.id) == 0
	if ev := f.reg.evolution; ev != nil {
		ev.apply(c)
	}
	return nil
}

// key decodes a key, and copies it.
func (d *decoder) key(enc string) (string, error) {
	if key, ok := d.keys[enc]; ok {
		return key, nil
	}
	if d.of != nil {
		key, err := decodeKey(enc)
		if key == d.of.draft.Key {
			key = d.of.draft.Key
		}
		return key, err
	}
	enc = strings.Clone(enc)
	key, err := decodeKey(enc)
	if err != nil || d.once {
		return key, err
	}
	switch {
	case d.keys == nil:
		d.keys = make(map[string]string)
	case len(d.keys) >= decoderKeys:
		clear(d.keys)
	}
	d.keys[enc] = key
	return key, nil
}

// typeName is the value of the type header, as a string that lasts.
func (d *decoder) typeName(b []byte) string {
	if string(b) != d.typ {
		if t, ok := d.f.reg.byName[string(b)]; ok {
			d.typ = t.name
		} else {
			d.typ = string(b)
		}
	}
	return d.typ
}

// id is the identity of the commit at seq, as a string that lasts.
func (d *decoder) id(b []byte, seq uint64) string {
	if len(b) == 0 {
		return fmt.Sprintf("%s@%d", d.f.name, seq)
	}
	if d.of != nil && string(b) == d.of.id {
		return d.of.id
	}
	return string(b)
}
