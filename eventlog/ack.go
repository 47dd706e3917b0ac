package eventlog

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// ack is the server's answer to a publish.
type ack struct {
	Seq       uint64              `json:"seq"`
	Duplicate bool                `json:"duplicate"`
	Error     *jetstream.APIError `json:"error"`
	Domain    string              `json:"domain"`
	Batch     string              `json:"batch"` // the atomic batch that this is about
	Count     int                 `json:"count"` // its messages

	noResponders bool
	garbled      bool
	foreign      bool // stored, in another domain's stream
	single       bool // of one message, where that of a batch was expected
}

type ackOutcome int

const (
	ackStored    ackOutcome = iota
	ackDuplicate            // the server had this ID already, at Seq
	ackConflict             // the expectation doesn't hold
	ackInFlight             // another write to the subject isn't decided yet
	ackRetry                // not stored; the server can't at the moment
	ackRefused              // not stored, for good
	ackForeign              // stored elsewhere
)

// ackReader reads the answers to publishes, and makes sure that they are of the
// stream's own domain: where a leaf node joins two domains, a server of each may
// store what is published, and acknowledge it.
type ackReader struct {
	domain string
	usual  []byte // how the usual answer begins, up to its sequence
}

func newAckReader(stream, domain string) ackReader {
	r := ackReader{domain: domain}
	if domain == "" {
		r.usual = fmt.Appendf(nil, `{"stream":%q,"seq":`, stream)
	} else {
		r.usual = fmt.Appendf(nil, `{"stream":%q,"domain":%q,"seq":`, stream, domain)
	}
	return r
}

// read reads an answer. The usual one, {"stream":"s","seq":42}, is read without
// reflection: at the server's speed that is a tenth of the cost of an append.
func (r ackReader) read(data []byte) (a ack) {
	if digits, ok := bytes.CutPrefix(data, r.usual); ok {
		n := 0
		for n < len(digits) && digits[n] >= '0' && digits[n] <= '9' {
			a.Seq = a.Seq*10 + uint64(digits[n]-'0')
			n++
		}
		if n > 0 && n < 20 && a.Seq > 0 && n+1 == len(digits) && digits[n] == '}' {
			return a
		}
	}
	a = ack{}
	if err := json.Unmarshal(data, &a); err != nil || (a.Error == nil && a.Seq == 0) {
		a.garbled = true
	}
	a.foreign = !a.garbled && a.Error == nil && a.Domain != r.domain
	return a
}

// outcome is the one gate from the server's answers to what they mean for a
// commit. An answer that can't be read is treated as none at all: the commit
// is sent again, and the server recognises it.
func (a ack) outcome() ackOutcome {
	switch {
	case a.noResponders || a.garbled:
		return ackRetry
	case a.foreign:
		return ackForeign
	case a.Error == nil && a.Duplicate:
		return ackDuplicate
	case a.Error == nil:
		return ackStored
	case a.Error.ErrorCode == codeWrongLastSequence:
		return ackConflict
	case a.Error.ErrorCode == codeWriteInFlight:
		return ackInFlight
	case a.Error.ErrorCode == codeDuplicateInFlight:
		return ackRetry // another send with this ID, of whomever, isn't decided yet
	case a.Error.Code == 503 && !slices.Contains(definite503, a.Error.ErrorCode):
		return ackRetry
	}
	return ackRefused
}

// definite503 are errors of the class "unavailable" that waiting doesn't
// mend: storage that is full, and limits of the account. They are definite on
// replicated streams, too: the leader looks at its limits before it proposes
// a message to the others, and not again when it is applied.
var definite503 = []jetstream.ErrorCode{codeServerFull, codeStorageFull, codeStoreFailed}

// actual reads the sequence out of "wrong last sequence: N".
func (a ack) actual() uint64 {
	if a.Error == nil {
		return 0
	}
	_, n, _ := strings.Cut(a.Error.Description, ": ")
	seq, _ := strconv.ParseUint(n, 10, 64)
	return seq
}

func sortPending(ps []*Pending) {
	slices.SortFunc(ps, func(a, b *Pending) int { return cmp.Compare(a.token, b.token) })
}
