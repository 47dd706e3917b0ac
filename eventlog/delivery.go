package eventlog

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

var errMissed = errors.New("a delivery was missed")

// receive is the subscription's callback. What a consumer delivers has a
// reply subject that says where it stands; what has none is the server's word
// about a request.
func (t *tail) receive(inbox string, m *nats.Msg) {
	msg, dseq, ok := parseDelivery(m)
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case inbox != t.inbox || t.broken != nil:
		return
	case !ok:
		t.status(m)
		return
	case dseq != t.dseq+1 || msg.seq <= t.got:
		t.broken = errMissed
		t.signal()
		return
	}
	t.dseq, t.got, t.last, t.heard, t.idle = dseq, msg.seq, msg, time.Now(), false
	t.asked = max(0, t.asked-1)
	t.buf = append(t.buf, msg)
	if len(t.buf) == 1 {
		t.signal()
	}
}

// status handles the server's words about a request; t.mu is held.
func (t *tail) status(m *nats.Msg) {
	t.heard = time.Now()
	status, desc := m.Header.Get("Status"), m.Header.Get("Description")
	switch {
	case status == "100": // heartbeat
		if last, err := strconv.ParseUint(m.Header.Get("Nats-Last-Consumer"), 10, 64); err == nil && last != t.dseq {
			t.broken = errMissed
		}
		t.idle = true
	case status == "408" || strings.Contains(desc, "MaxBytes") || strings.Contains(desc, "Batch Completed"):
		// The request ended with a part of it not delivered.
		pending, _ := strconv.Atoi(m.Header.Get("Nats-Pending-Messages"))
		t.asked = max(0, t.asked-pending)
	default: // 409 consumer deleted, leadership change; 503 no responders; 404
		t.broken = fmt.Errorf("status %s: %s", status, desc)
	}
	t.signal()
}

// parseDelivery reads a consumer's delivery. Its reply subject says where the
// message stands:
//
//	$JS.ACK.<stream>.<consumer>.<delivered>.<sseq>.<cseq>.<tm>.<pending>
//	$JS.ACK.<domain>.<account>.<stream>.<consumer>.<delivered>.<sseq>.<cseq>.<tm>.<pending>[.<token>]
func parseDelivery(m *nats.Msg) (msg message, dseq uint64, ok bool) {
	const prefix = "$JS.ACK."
	if !strings.HasPrefix(m.Reply, prefix) {
		return msg, 0, false
	}
	skip := 5
	if strings.Count(m.Reply, ".") > 8 {
		skip = 7
	}
	rest := m.Reply
	for range skip {
		_, rest, _ = strings.Cut(rest, ".")
	}
	var n [3]uint64
	for i := range n {
		var field string
		field, rest, _ = strings.Cut(rest, ".")
		v, err := strconv.ParseUint(field, 10, 64)
		if err != nil {
			return msg, 0, false
		}
		n[i] = v
	}
	return message{seq: n[0], nanos: int64(n[2]), subject: m.Subject, header: headersOf(m.Header), data: m.Data}, n[1], true
}
