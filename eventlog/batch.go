package eventlog

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"
)

// batcher sends transactions as atomic batches of the server. Transactions
// that wait while others are on their way go out together, in one batch: an
// embedded server stages a batch with an fsync, during which it takes
// nothing else, so that this is what makes more than a hundred of them a
// second. Where a batch is refused, the one that is at fault is found by
// asking the leader, and the others go on without it.
type batcher struct {
	f     *Feed
	inbox string
	sub   *nats.Subscription
	slots chan struct{} // one for each transaction on its way
	open  chan struct{} // one for each batch that is open
	wg    sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	queue   []*txn
	working bool // one goroutine takes from the queue
	token   uint64
	waiting map[string]chan ack // by the last token of the reply subject
}

const (
	// maxOpenBatches is how many batches one process has open on a stream;
	// the server allows 50 among all. It works on one at a time, and so do
	// we: more than one from the queue would only make them smaller (with
	// two, 64 callers get through half as many). The others are those that
	// have to be sent again, which nobody else should wait for.
	maxOpenBatches = 4
	// maxGroupBytes bounds what several transactions in one batch have
	// together; a single one may be larger.
	maxGroupBytes = 4 << 20
)

func newBatcher(f *Feed) (*batcher, error) {
	b := &batcher{
		f: f, inbox: f.log.nc.NewInbox() + ".",
		slots:   make(chan struct{}, f.log.opts.MaxInFlight),
		open:    make(chan struct{}, maxOpenBatches),
		waiting: make(map[string]chan ack),
	}
	var err error
	if b.sub, err = f.log.nc.Subscribe(b.inbox+"*", b.onAck); err != nil {
		return nil, f.serverError(context.Background(), "open", err)
	}
	if err := b.sub.SetPendingLimits(-1, -1); err != nil {
		_ = b.sub.Unsubscribe()
		return nil, f.serverError(context.Background(), "open", err)
	}
	return b, nil
}

// submit hands a transaction over; it waits while too many are on their way.
// An error means that nothing was sent.
func (b *batcher) submit(ctx context.Context, t *txn) error {
	select {
	case b.slots <- struct{}{}:
	case <-ctx.Done():
		return t.wrap(fmt.Errorf("not sent, %d are in flight: %w", cap(b.slots), context.Cause(ctx)))
	case <-b.f.closing:
		return t.wrap(ErrClosed)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		<-b.slots
		return t.wrap(ErrClosed)
	}
	t.deadline = time.Now().Add(b.f.resolve)
	b.queue = append(b.queue, t)
	if !b.working {
		b.working = true
		b.wg.Go(b.work)
	}
	return nil
}

// withdraw takes a transaction back with which nobody has begun, and which
// then isn't sent.
func (b *batcher) withdraw(t *txn, why error) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.Index(b.queue, t)
	if i < 0 {
		return false
	}
	b.queue = slices.Delete(b.queue, i, i+1)
	t.settle(nil, t.wrap(fmt.Errorf("not sent: %w", why)))
	return true
}

// run submits and waits for the outcome.
func (b *batcher) run(t *txn) (Position, error) {
	if err := b.submit(context.Background(), t); err != nil {
		return Position{}, err
	}
	<-t.done // it has a deadline of its own
	if t.err != nil {
		return Position{}, t.err
	}
	return t.pos[0], nil
}

func (b *batcher) work() {
	for group := b.take(); group != nil; group = b.take() {
		group = b.look(group, false)
		if len(group) == 0 {
			continue
		}
		if rest, next := b.round(group); len(rest) > 0 {
			b.wg.Go(func() { b.process(rest, next) })
		}
	}
}

// take takes the transactions that can go together off the queue; none ends
// the worker. Those that can't stay, in their order.
func (b *batcher) take() (group []*txn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.queue) == 0 {
		b.working = false
		return nil
	}
	g := grouping{writes: make(map[string]bool), ids: make(map[string]bool)}
	rest := b.queue[:0]
	for _, t := range b.queue {
		if g.admits(t) {
			group = append(group, t)
		} else {
			rest = append(rest, t)
		}
	}
	clear(b.queue[len(rest):])
	b.queue = rest
	return group
}

// grouping decides which transactions share a batch: an expectation may only
// be on the first message of a subject, and an ID may come once.
type grouping struct {
	writes          map[string]bool
	ids             map[string]bool
	messages, bytes int
	full            bool
}

func (g *grouping) admits(t *txn) bool {
	messages, bytes := t.size()
	if len(g.ids) > 0 && (g.messages+messages > MaxTransaction || g.bytes+bytes > maxGroupBytes) {
		g.full = true
	}
	if g.full || g.ids[t.parts[0].id] {
		return false
	}
	for subject := range t.exact {
		if g.writes[subject] {
			return false
		}
	}
	g.messages, g.bytes = g.messages+messages, g.bytes+bytes
	g.ids[t.parts[0].id] = true
	for i := range t.parts {
		g.writes[t.parts[i].msg.subject] = true
	}
	for _, u := range t.uses {
		g.writes[u.subject] = true
	}
	return true
}

// compose makes the messages of a batch: the commits of all transactions in
// their order, then a marker for each tag.
func compose(group []*txn) (msgs []*nats.Msg) {
	type mark struct {
		use    *tagUse
		expect Expectation
		commit int // index of the tag's last commit in the batch; -1: none
	}
	var marks []*mark
	bySubject := make(map[string]*mark)
	for _, t := range group {
		first := len(msgs)
		for i, p := range t.parts {
			msg := p.msg.natsMsg()
			if i == 0 && t.expect.exact {
				msg.Header[nats.ExpectedLastSubjSeqHdr] = []string{strconv.FormatUint(t.expect.seq, 10)}
			}
			msgs = append(msgs, msg)
		}
		for _, u := range t.uses {
			m := bySubject[u.subject]
			if m == nil {
				m = &mark{use: u, commit: -1}
				bySubject[u.subject] = m
				marks = append(marks, m)
				if u.guarded {
					m.expect = ExpectSeq(u.head)
				}
			}
			if u.tags >= 0 {
				m.commit = first + u.tags
			}
		}
	}
	for _, m := range marks {
		back := 0
		if m.commit >= 0 {
			back = len(msgs) - m.commit
		}
		msg := marker(m.use.subject, back, m.use.last)
		if m.expect.exact {
			msg.Header[nats.ExpectedLastSubjSeqHdr] = []string{strconv.FormatUint(m.expect.seq, 10)}
		}
		msgs = append(msgs, msg)
	}
	return msgs
}

// send publishes a batch and waits for what the server says of it: of the
// first of its messages that it refuses, or of the whole. An answer to a
// message that was only staged is empty. sent is false where the commit
// didn't leave this process, so that nothing can have been stored.
func (b *batcher) send(ctx context.Context, msgs []*nats.Msg) (a ack, sent bool, err error) {
	b.open <- struct{}{}
	defer func() { <-b.open }()
	b.mu.Lock()
	b.token++
	token := strconv.FormatUint(b.token, 36)
	answer := make(chan ack, 1)
	b.waiting[token] = answer
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		delete(b.waiting, token)
		b.mu.Unlock()
	}()
	id := nuid.Next()
	for i, m := range msgs {
		// A refused message has an answer; one that is lost leaves a gap in
		// the batch, and the server refuses the commit.
		m.Reply = b.inbox + token
		setBatch(m.Header, id, i+1, i == len(msgs)-1)
		if err := b.f.log.nc.PublishMsg(m); err != nil {
			return a, false, err
		}
	}
	timer := time.NewTimer(b.f.log.opts.RequestTimeout)
	defer timer.Stop()
	select {
	case a = <-answer:
		// A server that doesn't know batches acknowledges the first message.
		a.single = a.outcome() == ackStored && (a.Batch != id || a.Count != len(msgs))
		return a, true, nil
	case <-timer.C:
		return a, true, nats.ErrTimeout
	case <-ctx.Done():
		return a, true, nats.ErrTimeout // the transaction's own deadline
	}
}

func (b *batcher) onAck(m *nats.Msg) {
	if len(m.Data) == 0 && m.Header.Get("Status") == "" {
		return // staged
	}
	a := ack{noResponders: true}
	if len(m.Data) > 0 {
		a = b.f.acks.read(m.Data)
	}
	if a.foreign {
		b.f.keeper.foreign(a)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	answer := b.waiting[strings.TrimPrefix(m.Subject, b.inbox)]
	if answer == nil {
		return
	}
	select {
	case answer <- a:
	default: // the first answer counts: what follows is about its remains
	}
}

// close waits for what is on its way, each at most until its deadline.
func (b *batcher) close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.wg.Wait()
	_ = b.sub.Unsubscribe()
}
