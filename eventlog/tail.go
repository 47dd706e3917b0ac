package eventlog

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

const (
	tailBatch     = 20_000           // messages asked for ahead
	tailBytes     = 16 << 20         // and their bytes
	tailHeartbeat = time.Second      // the server's sign of life when idle
	tailExpires   = 60 * time.Second // of one request
	tailInactive  = 30 * time.Second // the server drops an abandoned consumer
	tailRounds    = 4                // of gathering, at most

	// tailSilence without a sign of life, while something is asked for, means
	// that the consumer is gone.
	tailSilence = 5 * tailHeartbeat / 2
)

// tail is the source that reads a stream through an ephemeral pull consumer
// without acknowledgements, in order: the k-th delivery of a consumer carries
// the consumer sequence k, so that a lost one shows at the next, and then, as
// after a silence or a reconnect, the consumer is made anew behind the last
// message. Nothing is asked for beyond what the buffer takes, so a slow
// reader holds about twice tailBatch messages or tailBytes at most: what it
// works on, and what has come meanwhile.
//
// All methods but the subscription's callback are called by one goroutine.
type tail struct {
	f       *Feed
	filter  string // subject, "" for all
	trimmed bool   // commits may be missing at the start
	known   mark   // of a message that was read before; none where seq is 0

	consumer string
	server   string // that the consumer lives on; "" where it isn't said
	times    int    // how often a consumer was made
	floor    uint64 // all beyond it was appended under the leadership that there was then
	batch    int    // messages that one request may ask for
	sub      *nats.Subscription
	made     uint64 // the connection's reconnects when the consumer was made
	lull     lull
	undeny   func()
	back     chan nats.Status // wakes next when the connection is back, or closed

	mu      sync.Mutex
	inbox   string // of the present consumer: what comes on another is stale
	buf     []message
	lent    []message     // what next returned last
	heard   time.Time     // last sign of life, or when one was asked for
	got     uint64        // last stream sequence received, or where reading starts
	last    message       // the message there; none (seq 0) where it isn't known
	dseq    uint64        // last consumer sequence received
	asked   int           // messages asked for and not yet received; >= 0
	idle    bool          // a heartbeat came: the server has nothing more for now
	broken  error         // the consumer must be made anew
	arrived chan struct{} // capacity 1
}

// errNotBegun is the state of a tail that has yet to make its first consumer.
var errNotBegun = errors.New("not begun")

// newTail is a tail that begins with its first next, which then waits for a
// server that is away. Where known is given, the log must still have that
// message.
func (f *Feed) newTail(after uint64, known mark, filter string, trimmed bool) *tail {
	t := &tail{f: f, filter: filter, trimmed: trimmed, known: known, got: after, broken: errNotBegun, arrived: make(chan struct{}, 1)}
	t.back = f.log.nc.StatusChanged(nats.CONNECTED)
	t.undeny = f.log.watch(func(e *PermissionError) { t.fail(e) }, f.log.api+".CONSUMER.MSG.NEXT."+f.stream+".")
	return t
}

// openTail is a tail that has begun.
func (f *Feed) openTail(ctx context.Context, after uint64, known mark, filter string, trimmed bool) (*tail, error) {
	t := f.newTail(after, known, filter, trimmed)
	if err := t.start(ctx); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

// start makes a consumer that begins behind the last received message.
func (t *tail) start(ctx context.Context) (err error) {
	t.stop()
	defer func() {
		if err != nil {
			t.stop()
			t.fail(err)
		}
	}()
	inbox := t.f.log.nc.NewInbox()
	t.made = t.f.log.nc.Stats().Reconnects
	t.mu.Lock()
	t.inbox, t.dseq, t.asked, t.idle, t.broken, t.heard = inbox, 0, 0, false, nil, time.Now()
	after := t.got
	t.mu.Unlock()
	if t.sub, err = t.f.log.nc.Subscribe(inbox, func(m *nats.Msg) { t.receive(inbox, m) }); err != nil {
		return t.f.serverError(ctx, "read", err)
	}
	if err := t.sub.SetPendingLimits(-1, -1); err != nil {
		return t.f.serverError(ctx, "read", err)
	}
	t.consumer = "tm-" + nuid.Next()
	if err := t.createConsumer(ctx, after+1); err != nil {
		// Where nobody answers, nobody would say what became of the log either.
		if silent := errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout); !silent {
			if _, gone := t.f.rangeCheck(ctx, after, true); errors.Is(gone, ErrLostTail) {
				return gone
			}
		}
		return t.f.serverError(ctx, "read", err)
	}
	// A start beyond the log's end is accepted silently, and then skips what
	// is appended next. Looking after the consumer was made leaves no moment
	// in which the log could lose its tail unseen.
	st, err := t.f.rangeCheck(ctx, after, t.trimmed || t.filter != "")
	if err != nil {
		return err
	}
	if err := t.recognise(ctx, after, st); err != nil {
		return err
	}
	t.times, t.floor = t.times+1, t.f.led.floor(st.term, st.Last)
	t.ask()
	return nil
}

// recognise makes sure that the log still has the message that reading goes
// on behind. The numbers alone don't tell: a log that lost its tail uses them
// again, and has soon grown beyond. The first time, it takes note.
func (t *tail) recognise(ctx context.Context, after uint64, st State) error {
	t.mu.Lock()
	last := t.last
	t.mu.Unlock()
	if last.seq == 0 {
		if err := t.f.recognise(ctx, t.known, st); err != nil {
			return err
		}
	}
	if after == 0 || after < st.First || (last.seq == 0 && t.filter != "") {
		return nil
	}
	m, ok, err := t.f.get(ctx, getRequest{Seq: after})
	if err != nil || !ok {
		return err
	}
	if last.seq == after && last.fingerprint() != m.fingerprint() {
		return t.f.lossOr(ctx, &RangeError{Feed: t.f.name, Want: after + 1, First: st.First, Last: st.Last, class: ErrLostTail, reused: true})
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.got == after {
		t.last = m
	}
	return nil
}

// createConsumer asks again and again until RequestTimeout: without a leader
// nobody answers, and a request from before an election is lost, while the
// election takes a few seconds. Of one name there is one consumer, so asking
// for it once more finds what was made.
func (t *tail) createConsumer(ctx context.Context, from uint64) error {
	ctx, cancel := context.WithTimeout(ctx, t.f.log.opts.RequestTimeout)
	defer cancel()
	ctx, done := t.f.log.watchDenied(ctx, t.f.log.api+".CONSUMER.CREATE."+t.f.stream+".")
	config := jetstream.ConsumerConfig{
		Name:              t.consumer,
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       from,
		AckPolicy:         jetstream.AckNonePolicy,
		MaxDeliver:        1,
		FilterSubject:     t.filter,
		InactiveThreshold: tailInactive,
		MemoryStorage:     true,
		Replicas:          1,
	}
	for {
		try, over := context.WithTimeout(ctx, t.f.log.opts.RequestTimeout/10)
		c, err := t.f.log.js.CreateConsumer(try, t.f.stream, config)
		if t.server = ""; err == nil && c.CachedInfo().Cluster != nil {
			t.server = c.CachedInfo().Cluster.Leader
		}
		unanswered := try.Err() != nil && ctx.Err() == nil
		over()
		if err == nil {
			t.batch = tailBatch
			if most := c.CachedInfo().Config.MaxRequestBatch; most > 0 { // the server's limit
				t.batch = min(tailBatch, most)
			}
		}
		if err == nil || !unanswered {
			return done(err)
		}
	}
}

// ask keeps the server's supply of requests filled.
func (t *tail) ask() {
	t.mu.Lock()
	n := t.batch - t.asked - len(t.buf)
	if n <= 0 || (t.asked > 0 && n < t.batch/2) {
		t.mu.Unlock()
		return
	}
	if t.asked == 0 {
		// Nothing was asked for, so the silence until now meant nothing.
		t.heard = time.Now()
	}
	t.asked += n
	inbox := t.inbox
	t.mu.Unlock()
	// A message that is larger than max_bytes would never come.
	nc := t.f.log.nc
	limit := max(tailBytes, 2*nc.MaxPayload())
	req := fmt.Sprintf(`{"batch":%d,"max_bytes":%d,"expires":%d,"idle_heartbeat":%d}`, n, limit, tailExpires.Nanoseconds(), tailHeartbeat.Nanoseconds())
	if err := nc.PublishRequest(t.f.log.api+".CONSUMER.MSG.NEXT."+t.f.stream+"."+t.consumer, inbox, []byte(req)); err != nil {
		t.fail(err)
	}
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

// next waits for messages and returns all that have come, in order; none when
// the server has nothing more for the moment. They stay valid until the next
// call. Errors end the source, except the context's.
func (t *tail) next(ctx context.Context) ([]message, error) {
	timer := time.NewTimer(tailSilence)
	defer timer.Stop()
	for {
		if t.f.closed.Load() {
			return nil, t.f.closedRead()
		}
		t.mu.Lock()
		t.gather()
		if len(t.buf) > 0 {
			out := t.buf
			clear(t.lent) // so that its payloads can be collected
			t.buf, t.lent = t.lent[:0], out
			t.idle = false
			t.mu.Unlock()
			t.ask()
			return out, nil
		}
		// What was asked for on a connection that broke doesn't come.
		denied := errors.Is(t.broken, ErrDenied)
		broken := t.broken != nil || t.made != t.f.log.nc.Stats().Reconnects || (t.asked > 0 && time.Since(t.heard) > tailSilence)
		idle := t.idle
		t.idle = false
		t.mu.Unlock()
		switch {
		case denied:
			return nil, t.f.serverError(ctx, "read", t.broken)
		case broken:
			if err := t.restart(ctx); err != nil {
				return nil, err
			}
			continue
		case idle:
			return t.overdue(ctx)
		}
		t.ask()
		timer.Reset(tailSilence)
		select {
		case <-t.arrived:
		case _, open := <-t.back:
			if !open {
				return nil, t.f.closedRead() // the connection is closed for good
			}
		case <-timer.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-t.f.closing:
			return nil, t.f.closedRead()
		}
	}
}

// gather lets what is ready to run, the connection above all, hand over what it
// has, as long as each round brings something; t.mu is held. A message alone
// costs each of those behind it, down to the tables, a wake-up of its own, and
// beside 64 callers that append they come one by one: gathered, it is 50 to 100
// messages at a time, at two thirds of the CPU of a commit that is decided,
// appended and applied. Waiting with a timer would delay a lone message; a
// round without others that run takes a fraction of a microsecond.
func (t *tail) gather() {
	for n, round := 0, 0; n < len(t.buf) && round < tailRounds; round++ {
		n = len(t.buf)
		t.mu.Unlock()
		runtime.Gosched()
		t.mu.Lock()
	}
}

// restart makes the consumer anew, for as long as it takes the server to come
// back.
func (t *tail) restart(ctx context.Context) error {
	t.mu.Lock()
	first := errors.Is(t.broken, errNotBegun)
	t.mu.Unlock()
	err := t.f.untilAvailable(ctx, func() error { return t.start(ctx) })
	if err == nil && !first {
		t.f.stats.restarts.Add(1)
	}
	return err
}

// mark identifies the message that was received last, or behind which reading
// starts; none where it isn't known.
func (t *tail) mark() mark {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.last.seq == 0 {
		return mark{}
	}
	return markOf(&t.last)
}

// close ends the source.
func (t *tail) close() {
	t.stop()
	t.undeny()
	t.f.log.nc.RemoveStatusListener(t.back)
}

// pause gives up the consumer, and what it has delivered since next. Behind
// which message it is to go on, resume says, before next.
func (t *tail) pause() {
	t.stop()
	t.mu.Lock()
	t.inbox, t.buf, t.broken = "", nil, errNotBegun
	t.mu.Unlock()
}

func (t *tail) resume(last message) { t.resumeAt(last.seq, last) }

// resumeAt is resume where last may not be known: its seq is 0 then.
func (t *tail) resumeAt(at uint64, last message) {
	t.mu.Lock()
	t.got, t.last = at, last
	t.mu.Unlock()
}

func (t *tail) placed() (server string, times int, floor uint64) { return t.server, t.times, t.floor }

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
