package effect

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/url"
	"reflect"
	"strconv"
	"strings"

	"github.com/tidemark-es/tidemark/eventlog"
)

// An effect's ID leaves the log: it is the key of outcomes, the identity of a
// process manager's reaction, and an idempotency key of whoever carries out. So
// it must belong to one event for ever, and to no other.
//
// A position is no such thing. A log that has lost its end, or was restored
// from a backup, gives out the same positions again, for other events; these
// would have the outcomes of the lost ones, and never be carried out. Two
// applications have the same positions anyway.
//
// So an ID is made of what the cause is named by outside its log
// (eventlog.Event.Identity), with its application, feed and key, cut to 128
// bits of SHA-256, between the outbox and what tells the commit's intents from
// each other:
//
//	<outbox>:<hash>.<index>[~<sub>][/<name>]        of an event
//	<outbox>:<hash>/<table>/<key>[/<name>]          of a table's change
//
// Rejected: the feed's incarnation, in which an event that is imported again
// with its ID into a new feed would be another one. And one hash of all: from
// this form it can be told whether an outcome's cause is in the log (orphan.go).
//
// IDs of the first releases began with the position in place of the outbox and
// the hash; forms.go says which events keep those.

const (
	hashChars = 22 // of base64 without padding, for 128 bits
	maxToken  = 48 // bytes of a name or key in an ID; else it is hashed
)

// causeHash is the part of an ID that names its cause.
func causeHash(app, feed, key, identity string) string {
	var room [256]byte
	b := append(room[:0], "tidemark effect 2\x00"...)
	for _, s := range [...]string{app, feed, key, identity} {
		b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
	}
	sum := sha256.Sum256(b)
	var text [hashChars]byte
	base64.RawURLEncoding.Encode(text[:], sum[:16])
	return string(text[:])
}

// id makes an intent's ID: 64 + 1 + 22 + 65 + 49 + 49 = 250 bytes at most.
func (t *Tx[I]) id(name string) string {
	if name != "" {
		name = "/" + token(name)
	}
	if t.table != "" {
		c := t.tx.Commit()
		return t.o.name + ":" + causeHash(t.o.app, c.Feed, c.Key, c.Identity()) + "/" + t.table + "/" + t.rowKey + name
	}
	id, index, sub := t.event.Identity()
	hash := causeHash(t.o.app, t.event.Feed, t.event.Key, id)
	return t.o.name + ":" + hash + "." + indices(index, sub) + name
}

// firstID is the ID of the first form: feed@seq.index[~sub][/name], or
// feed@seq/table/key[/name].
func (t *Tx[I]) firstID(name string) string {
	if name != "" {
		name = "/" + token(name)
	}
	id := t.cause.Feed + "@" + strconv.FormatUint(t.cause.Seq, 10)
	if t.table != "" {
		return id + "/" + t.table + "/" + t.rowKey + name
	}
	index, sub := t.event.Stored()
	return id + "." + indices(index, sub) + name
}

func indices(index, sub int) string {
	if sub == 0 {
		return strconv.Itoa(index)
	}
	return strconv.Itoa(index) + "~" + strconv.Itoa(sub)
}

// position reads the position that an ID of the first form begins with.
func position(id string) (at eventlog.Position, ok bool) {
	feed, rest, ok := strings.Cut(id, "@")
	end := strings.IndexAny(rest, "./")
	if !ok || end < 0 {
		return at, false
	}
	seq, err := strconv.ParseUint(rest[:end], 10, 64)
	return eventlog.Position{Feed: feed, Seq: seq}, err == nil
}

// hashIn is the part of an outbox's ID that names its cause; ok is false for an
// ID of the first form.
func (o *Outbox[I]) hashIn(id string) (hash string, ok bool) {
	rest, ok := strings.CutPrefix(id, o.name+":")
	if !ok || len(rest) < hashChars {
		return "", false
	}
	return rest[:hashChars], true
}

// token makes a part of an ID that headers and subjects can hold; different
// ones of different texts.
func token(s string) string {
	if t := url.PathEscape(s); len(t) <= maxToken && !strings.HasPrefix(t, "sha-") {
		return t
	}
	h := sha256.Sum256([]byte(s))
	return "sha-" + hex.EncodeToString(h[:16])
}

// keyToken makes a part of an ID of a table's key: of its text, without its
// methods, where it is one or a number, else of what is stored of it.
func keyToken[K comparable](key K) (string, error) {
	switch v := reflect.ValueOf(key); {
	case v.Kind() == reflect.String:
		return token(v.String()), nil
	case v.CanInt():
		return strconv.FormatInt(v.Int(), 10), nil
	case v.CanUint():
		return strconv.FormatUint(v.Uint(), 10), nil
	}
	b, err := eventlog.MsgPack.Append(nil, &key)
	return token(string(b)), err
}

// causeHeader is the header of an outcome that says where its cause is, as
// <feed>@<sequence>. Which commit that has to be is in the ID.
const causeHeader = "Effect-Cause"

func causeText(feed string, seq uint64) string { return fmt.Sprintf("%s@%d", feed, seq) }
