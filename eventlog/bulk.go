package eventlog

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// bulk is the source for long distances: it reads a backup of the stream, as
// the leader makes it for `nats stream backup`, at several times the speed of
// a consumer, since the server neither frames nor schedules single messages.
// Backups begin at the stream's first message, so that a part of it is thrown
// away where reading starts further on; bulkPays says when that is worth it.
//
// Behind the backup's end, and where anything is wrong with it, reading goes
// on by tail behind the last message that was delivered. Only the backup's
// last entry says that it was whole.
//
// On a stream of several replicas a backup is what the leader has, for as long
// as it leads: reading asks who does each second and at the end, compares a
// message of each page since then where that has changed, and goes on by
// leaderSource.
//
// Three goroutines share the work: the connection's takes chunks in, unpack
// makes pages of them, and next lends pages out. Each chunk is acknowledged
// when it is unpacked, so that no more than a window of them, and bulkPages
// pages, are in memory. The server gives up after 5 s without an
// acknowledgement; a reader that takes longer over its pages is covered by
// paying some in advance (bulkCredit).
type bulk struct {
	f       *Feed
	trimmed bool
	got     uint64    // last sequence delivered, or where reading starts
	last    message   // the message there; none (seq 0) where it isn't known
	lent    *page     // being read
	msgs    []message // lent from it
	run     *bulkRun  // nil when it is over
	rest    source    // nil until then
	marks   []mark    // on a stream of several replicas: of pages since the last look
	looked  time.Time // when it was asked who leads
}

const (
	bulkChunk   = 256 << 10 // asked for, in bytes
	bulkWindow  = 8 << 20   // chunks on their way, in bytes
	bulkPages   = 4         // unpacked and not yet read
	bulkCredit  = 32        // chunks that are acknowledged while the reader is at rest
	bulkSilence = 10 * time.Second
	bulkTick    = time.Second
)

// bulkRun is one backup on its way.
type bulkRun struct {
	f      *Feed
	sub    *nats.Subscription
	chunks chan *nats.Msg // as many as can be on their way
	pages  chan *page     // closed at the end
	free   chan *page
	stop   chan struct{}
	denied chan *PermissionError
	wg     sync.WaitGroup
	undeny func()
	made   uint64 // the connection's reconnects at the start
	term   term   // of the leader that makes it
	credit int
	queue  []*nats.Msg // taken in and not yet unpacked
	paid   int         // of these, acknowledged
	index  uint64      // of the last chunk
	whole  bool        // the last entry was there; valid when pages is closed
	err    error       // why it ended otherwise; the same
}

var (
	errBulkSilent = errors.New("the server sends nothing")
	errBulkLost   = errors.New("the connection was lost")
	errBulkMissed = errors.New("a chunk was missed")
	errBulkShort  = errors.New("it ended too early")
	errBulkLeader = errors.New("another server leads the stream")
)

// openBulk begins to read behind a sequence. Where the server doesn't make a
// backup, that is an error, and the caller reads by tail.
func (f *Feed) openBulk(ctx context.Context, after uint64, known mark, trimmed bool) (*bulk, error) {
	r := &bulkRun{
		f: f, credit: bulkCredit, made: f.log.nc.Stats().Reconnects,
		chunks: make(chan *nats.Msg, 2*bulkWindow/bulkChunk+bulkCredit+8),
		pages:  make(chan *page, bulkPages), free: make(chan *page, bulkPages+2),
		stop: make(chan struct{}), denied: make(chan *PermissionError, 1),
	}
	r.undeny = f.log.watch(func(e *PermissionError) {
		select {
		case r.denied <- e:
		default:
		}
	}, "$JS.SNAPSHOT.ACK."+f.stream+".")
	if err := r.start(ctx, after, known, trimmed); err != nil {
		r.end()
		return nil, err
	}
	return &bulk{f: f, trimmed: trimmed, got: after, run: r}, nil
}

// start asks for the backup. It is asked for once: a second one would come in
// between.
func (r *bulkRun) start(ctx context.Context, after uint64, known mark, trimmed bool) (err error) {
	l := r.f.log
	inbox := l.nc.NewInbox()
	if r.sub, err = l.nc.Subscribe(inbox, r.receive); err != nil {
		return err
	}
	if err := r.sub.SetPendingLimits(-1, -1); err != nil {
		return err
	}
	req, err := json.Marshal(map[string]any{
		"deliver_subject": inbox, "no_consumers": true,
		"chunk_size": min(bulkChunk, l.nc.MaxPayload()), "window_size": bulkWindow,
	})
	if err != nil {
		return err
	}
	asking, cancel := context.WithTimeout(ctx, l.opts.RequestTimeout)
	defer cancel()
	subject := l.api + ".STREAM.SNAPSHOT." + r.f.stream
	asking, done := l.watchDenied(asking, subject)
	answer, err := l.nc.RequestWithContext(asking, subject, req)
	if err = done(err); err != nil {
		return err
	}
	var resp struct {
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(answer.Data, &resp); err != nil {
		return err
	}
	if resp.Error != nil {
		return resp.Error
	}
	// The backup is of the stream that was there until now.
	st, err := r.f.rangeCheck(ctx, after, trimmed)
	if err != nil {
		return err
	}
	if err := r.f.recognise(ctx, known, st); err != nil {
		return err
	}
	r.term = st.term
	r.wg.Go(r.unpack)
	return nil
}

// receive is the subscription's callback.
func (r *bulkRun) receive(m *nats.Msg) {
	select {
	case r.chunks <- m:
	case <-r.stop:
	}
}

// end stops the backup, wherever it is.
func (r *bulkRun) end() {
	close(r.stop)
	if r.sub != nil {
		_ = r.sub.Unsubscribe() // the server notices, and ends it
	}
	r.undeny()
	r.wg.Wait()
}

// next is the source's.
func (b *bulk) next(ctx context.Context) ([]message, error) {
	for b.run != nil {
		if msgs := b.lend(); len(msgs) > 0 {
			return msgs, nil
		}
		if err := b.look(ctx, false); err != nil || b.run == nil {
			if err != nil {
				return nil, err
			}
			break
		}
		select {
		case p, open := <-b.run.pages:
			if !open {
				if err := b.look(ctx, true); err != nil {
					return nil, err
				}
				if b.run != nil && b.handOver(ctx, nil) {
					return nil, nil // that was all, for now
				}
				break
			}
			b.lent = p
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-b.f.closing:
			return nil, b.f.closedRead()
		}
	}
	return b.rest.next(ctx)
}

// lend lends out the next messages of the page, without those that the reader
// has, and gives the page back when there are no more.
func (b *bulk) lend() []message {
	p := b.lent
	if p == nil {
		return nil
	}
	b.msgs = b.msgs[:0]
	for p.read < len(p.slots) && len(b.msgs) < readBatch {
		s := &p.slots[p.read]
		p.read++
		switch {
		case s.seq > b.got:
			b.msgs = append(b.msgs, s.message(p.buf))
		case s.seq == b.got:
			m := s.message(p.buf)
			b.last = m.clone()
		}
	}
	if n := len(b.msgs); n > 0 {
		b.got = b.msgs[n-1].seq
		b.f.stats.bulk.Add(uint64(n))
		return b.msgs
	}
	b.lent = nil
	// What tail has to recognise.
	if last := &p.slots[len(p.slots)-1]; last.seq == b.got && b.last.seq != b.got {
		m := last.message(p.buf)
		b.last = m.clone()
	}
	if b.f.replicated.Load() && b.last.seq == b.got {
		b.marks = append(b.marks, markOf(&b.last))
	}
	b.run.giveBack(p)
	return nil
}

// look asks, each second or at the end, whether the leader that makes the
// backup still leads. Where it doesn't, the backup is over, and what was
// returned since the last look must be what the leader has.
func (b *bulk) look(ctx context.Context, end bool) error {
	now := time.Now()
	if b.looked.IsZero() {
		b.looked = now
	}
	if !b.f.replicated.Load() || (!end && now.Sub(b.looked) < bulkTick) {
		return nil
	}
	var st State
	err := b.f.untilAvailable(ctx, func() (err error) {
		if st, err = b.f.rangeCheck(ctx, b.got, b.trimmed); err == nil && st.term != b.run.term {
			err = b.f.compareMarks(ctx, b.marks, st)
		}
		return err
	})
	if err != nil {
		return err
	}
	if st.term != b.run.term {
		b.handOver(ctx, errBulkLeader)
		return nil
	}
	b.looked, b.marks = now, b.marks[max(0, len(b.marks)-1):]
	return nil
}

// handOver goes on by another source, behind what was delivered, and says
// whether the backup was whole. Where err is given, it isn't used further.
func (b *bulk) handOver(ctx context.Context, err error) bool {
	r := b.run
	b.run = nil
	r.end()
	if err != nil {
		r.whole, r.err = false, err
	}
	if !r.whole {
		b.f.noBulk(ctx, r.err)
	}
	if b.f.replicated.Load() {
		known := mark{}
		if b.last.seq != 0 && b.last.seq == b.got {
			known = markOf(&b.last)
		}
		b.rest = b.f.openLeader(b.got, known, math.MaxUint64, "", b.trimmed)
		return r.whole
	}
	t := b.f.newTail(b.got, mark{}, "", b.trimmed)
	t.last = b.last
	b.rest = t
	return r.whole
}

// close is the source's.
func (b *bulk) close() {
	if b.run != nil {
		b.run.end()
		b.run = nil
	}
	if b.rest != nil {
		b.rest.close()
	}
}
