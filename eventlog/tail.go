package eventlog

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

const (
	tailBatch     = 20_000           // messages asked for ahead
	tailBytes     = 32 << 20         // and their bytes
	tailHeartbeat = time.Second      // the server's sign of life when idle
	tailExpires   = 60 * time.Second // of one request
	tailInactive  = 30 * time.Second // the server drops an abandoned consumer
)

// tail is the source that reads a stream through an ephemeral pull consumer
// without acknowledgements, in order: the k-th delivery of a consumer carries
// the consumer sequence k, so that a lost one shows at the next, and then, as
// after a silence or a reconnect, the consumer is made anew behind the last
// message. Nothing is asked for beyond what the buffer takes, so a slow
// reader holds at most tailBatch messages or tailBytes.
//
// All methods but the subscription's callback are called by one goroutine.
type tail struct {
	f      *Feed
	filter string // subject, "" for all
	cursor uint64 // last sequence handed out, or where reading starts

	consumer string
	sub      *nats.Subscription
	inbox    string

	mu      sync.Mutex
	buf     []message
	spare   []message
	heard   time.Time     // last sign of life
	got     uint64        // last stream sequence received
	dseq    uint64        // last consumer sequence received
	asked   int           // messages asked for and not yet received
	broken  error         // the consumer must be made anew
	arrived chan struct{} // capacity 1
}

func (f *Feed) openTail(ctx context.Context, after uint64, filter string) (*tail, error) {
	t := &tail{f: f, filter: filter, cursor: after, got: after, arrived: make(chan struct{}, 1)}
	if err := t.start(ctx); err != nil {
		return nil, err
	}
	return t, nil
}

// start makes a consumer that begins behind the last received message.
func (t *tail) start(ctx context.Context) (err error) {
	t.stop()
	t.inbox = t.f.log.nc.NewInbox()
	inbox := t.inbox
	t.mu.Lock()
	t.dseq, t.asked, t.broken, t.heard = 0, 0, nil, time.Now()
	from := t.got + 1
	t.mu.Unlock()
	if t.sub, err = t.f.log.nc.Subscribe(inbox, func(m *nats.Msg) { t.receive(inbox, m) }); err != nil {
		return t.f.serverError("read", err)
	}
	if err := t.sub.SetPendingLimits(-1, -1); err != nil {
		return t.f.serverError("read", err)
	}
	cfg := jetstream.ConsumerConfig{
		Name:              "tm-" + nuid.Next(),
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       from,
		AckPolicy:         jetstream.AckNonePolicy,
		MaxDeliver:        1,
		FilterSubject:     t.filter,
		InactiveThreshold: tailInactive,
		MemoryStorage:     true,
		Replicas:          1,
	}
	if _, err := t.f.log.js.CreateConsumer(ctx, t.f.stream, cfg); err != nil {
		return t.f.serverError("read", err)
	}
	t.consumer = cfg.Name
	return t.ask()
}

// ask keeps the server's supply of requests filled.
func (t *tail) ask() error {
	t.mu.Lock()
	n := tailBatch - t.asked - len(t.buf)
	if t.asked > 0 && n < tailBatch/2 {
		t.mu.Unlock()
		return nil
	}
	t.asked += n
	t.mu.Unlock()
	if n <= 0 {
		return nil
	}
	req := fmt.Sprintf(`{"batch":%d,"max_bytes":%d,"expires":%d,"idle_heartbeat":%d}`, n, tailBytes, tailExpires.Nanoseconds(), tailHeartbeat.Nanoseconds())
	err := t.f.log.nc.PublishRequest(t.f.log.api+".CONSUMER.MSG.NEXT."+t.f.stream+"."+t.consumer, t.inbox, []byte(req))
	if err != nil {
		t.fail(err)
	}
	return nil
}

func (t *tail) fail(err error) {
	t.mu.Lock()
	if t.broken == nil {
		t.broken = err
	}
	t.mu.Unlock()
	t.signal()
}

func (t *tail) signal() {
	select {
	case t.arrived <- struct{}{}:
	default:
	}
}

var errMissed = errors.New("a delivery was missed")

// receive is the subscription's callback.
func (t *tail) receive(inbox string, m *nats.Msg) {
	if len(m.Data) == 0 && m.Header != nil {
		if status := m.Header.Get("Status"); status != "" {
			t.status(inbox, status, m)
			return
		}
	}
	msg, dseq, ok := parseDelivery(m)
	t.mu.Lock()
	defer t.mu.Unlock()
	if inbox != t.inbox || t.broken != nil || !ok {
		return
	}
	if dseq != t.dseq+1 || msg.seq <= t.got {
		t.broken = errMissed
		t.signal()
		return
	}
	t.dseq, t.got, t.heard = dseq, msg.seq, time.Now()
	t.asked--
	t.buf = append(t.buf, msg)
	if len(t.buf) == 1 {
		t.signal()
	}
}

// status handles the server's words about a request.
func (t *tail) status(inbox, status string, m *nats.Msg) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if inbox != t.inbox {
		return
	}
	t.heard = time.Now()
	pending, _ := strconv.Atoi(m.Header.Get("Nats-Pending-Messages"))
	desc := m.Header.Get("Description")
	switch {
	case status == "100": // heartbeat
		if last, err := strconv.ParseUint(m.Header.Get("Nats-Last-Consumer"), 10, 64); err == nil && last != t.dseq && t.broken == nil {
			t.broken = errMissed
		}
	case status == "408" || strings.Contains(desc, "MaxBytes") || strings.Contains(desc, "Batch Completed"):
		// The request ended with a part of it not delivered.
		t.asked = max(0, t.asked-pending)
	default: // 409 consumer deleted, leadership change; 503 no responders; 404
		t.broken = fmt.Errorf("status %s: %s", status, desc)
	}
	t.signal()
}

// next waits for messages and returns all that have come, in order. They
// stay valid until the next call. Errors end the source, except the
// context's.
func (t *tail) next(ctx context.Context) ([]message, error) {
	timer := time.NewTimer(2 * tailHeartbeat)
	defer timer.Stop()
	for {
		t.mu.Lock()
		if len(t.buf) > 0 {
			out := t.buf
			t.buf, t.spare = t.spare[:0], out
			t.mu.Unlock()
			t.cursor = out[len(out)-1].seq
			return out, t.ask()
		}
		broken, silent := t.broken, time.Since(t.heard) > 2*tailHeartbeat+tailHeartbeat/2
		t.mu.Unlock()
		if broken != nil || silent {
			if err := t.restart(ctx); err != nil {
				return nil, err
			}
			continue
		}
		if err := t.ask(); err != nil {
			return nil, err
		}
		timer.Reset(2 * tailHeartbeat)
		select {
		case <-t.arrived:
		case <-timer.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-t.f.closing:
			return nil, fmt.Errorf("eventlog: read of feed %q: %w", t.f.name, ErrClosed)
		}
	}
}

// restart makes the consumer anew, after making sure that the log still is
// the one that was read: a start beyond its end would be accepted silently
// and skip what is appended next.
func (t *tail) restart(ctx context.Context) error {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		err := t.f.checkRange(ctx, t.cursor, t.filter != "")
		if err == nil {
			t.f.stats.restarts.Add(1)
			err = t.start(ctx)
		}
		if err == nil || !errors.Is(err, ErrUnavailable) {
			return err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-t.f.closing:
			return fmt.Errorf("eventlog: read of feed %q: %w", t.f.name, ErrClosed)
		}
	}
}

// stop ends the subscription and deletes the consumer, which would live on
// for tailInactive otherwise.
func (t *tail) stop() {
	if t.sub != nil {
		_ = t.sub.Unsubscribe()
		t.sub = nil
	}
	if t.consumer != "" {
		// Nobody waits for the answer: the consumer expires by itself where
		// this gets lost.
		_ = t.f.log.nc.Publish(t.f.log.api+".CONSUMER.DELETE."+t.f.stream+"."+t.consumer, nil)
		t.consumer = ""
	}
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
	dots := strings.Count(m.Reply, ".")
	skip := 5
	if dots > 8 {
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
	return message{seq: n[0], time: time.Unix(0, int64(n[2])).UTC(), subject: m.Subject, header: m.Header, data: m.Data}, n[1], true
}
