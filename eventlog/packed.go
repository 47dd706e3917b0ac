package eventlog

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
)

// A commit that an import packed out of several drafts has their IDs in the
// header Tm-Ids, so that each of them is recognised by itself: another run may
// meet them in another order, or some of them alone, and would pack them
// differently. Its own ID is a digest of that header: were it its first
// draft's, the server would take another packing that begins with the same
// draft for a duplicate, and drop the rest.
const headerIDs = "Tm-Ids"

// packedID is the ID of a packed commit.
func packedID(ids string) string {
	sum := sha256.Sum256([]byte(ids))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// packedIDs is the header's value: for each draft the number of its events,
// how many bytes of its ID are those of the one before, how many others
// follow, and those.
func packedIDs(drafts []importDraft) string {
	b := make([]byte, 0, 16*len(drafts)+64)
	before := ""
	for _, d := range drafts {
		shared := 0
		for shared < len(before) && shared < len(d.ID) && before[shared] == d.ID[shared] {
			shared++
		}
		b = strconv.AppendInt(b, int64(len(d.Events)), 10)
		b = append(b, ',')
		b = strconv.AppendInt(b, int64(shared), 10)
		b = append(b, ',')
		b = strconv.AppendInt(b, int64(len(d.ID)-shared), 10)
		b = append(b, ':')
		b = append(b, d.ID[shared:]...)
		before = d.ID
	}
	return string(b)
}

// eachPacked reads such a value; visit is told of each ID, its first event
// and the number of its events. It takes nothing for granted: the bytes may
// come from anybody.
func eachPacked(value string, events int, visit func(id []byte, first, n int) bool) error {
	var id []byte
	at := 0
	for rest := value; rest != ""; {
		n, shared, length, tail, ok := packedEntry(rest)
		if !ok || n < 1 || n > events-at || shared > len(id) || length > len(tail) || shared+length < 1 {
			return fmt.Errorf("%w: header %s is wrong at byte %d", ErrCorrupt, headerIDs, len(value)-len(rest))
		}
		id = append(id[:shared], tail[:length]...)
		rest = tail[length:]
		if !visit(id, at, n) {
			return nil
		}
		at += n
	}
	if at != events {
		return fmt.Errorf("%w: header %s has %d events of %d", ErrCorrupt, headerIDs, at, events)
	}
	return nil
}

func packedEntry(s string) (n, shared, length int, tail string, ok bool) {
	a, s, ok1 := strings.Cut(s, ",")
	b, s, ok2 := strings.Cut(s, ",")
	c, s, ok3 := strings.Cut(s, ":")
	n, ok4 := packedNumber(a)
	shared, ok5 := packedNumber(b)
	length, ok6 := packedNumber(c)
	return n, shared, length, s, ok1 && ok2 && ok3 && ok4 && ok5 && ok6
}

// packedNumber reads a decimal of at most five digits, so that nothing wraps.
func packedNumber(s string) (n int, ok bool) {
	if s == "" || len(s) > 5 {
		return 0, false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int(s[i]-'0')
	}
	return n, true
}

// eachID tells of every identity that a commit holds, until visit returns
// false: its drafts' where an import packed it, else its own.
func (m *message) eachID(visit func(id []byte, first, n int) bool) {
	events := max(1, atoi(m.get(headerEvents)))
	if ids := m.get(headerIDs); ids != "" {
		// What is wrong shows when the commit is decoded.
		_ = eachPacked(ids, events, visit)
		return
	}
	visit([]byte(m.id()), 0, events)
}

func atoi(s string) int {
	n, _ := packedNumber(s)
	return n
}

// eventID is the identity of an event: that of its draft, with the index
// behind it where the draft has several events.
func (c *Commit) eventID(index int) (s string) {
	if c.msg.get(headerIDs) == "" {
		return c.ID + "." + strconv.Itoa(index)
	}
	c.msg.eachID(func(id []byte, first, n int) bool {
		switch {
		case index >= first+n:
			return true
		case n == 1:
			s = string(id)
		default:
			s = string(id) + "." + strconv.Itoa(index-first)
		}
		return false
	})
	return s
}
