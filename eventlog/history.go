package eventlog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	historyBatch = 1000    // messages that one request asks for
	historyBytes = 4 << 20 // and their bytes: more than the connection takes at once is lost
	historyTries = 5       // at a server that lags behind the leader
)

// history is a source of what is there already, for few messages or those of
// one key: it asks for batches of stored messages, without a consumer, so
// that any number of them can read at a time. Any server of a cluster may
// answer, also one that lags; but each has a prefix of the log, so who has
// the last message that is wanted has all. Where that isn't found, or
// nobody answers so (the permission or the stream's setting is missing), a
// consumer reads the rest.
type history struct {
	f       *Feed
	filter  string // subject, "" for all
	trimmed bool
	at      uint64
	end     uint64 // sequence of a message that the leader has: reading ends there
	tail    source // nil: not needed so far
	lagging int    // answers in a row without anything new

	known mark   // of the last message that was read; none where seq is 0
	made  uint64 // the connection's reconnects when the log was last recognised
}

// openStored reads what is there already, few messages or those of a key, behind
// a sequence up to one that the leader has: by direct gets, or by the leader
// alone where another server could answer those with another history.
func (f *Feed) openStored(after uint64, known mark, end uint64, filter string, trimmed bool) source {
	if f.manyAnswer() {
		return f.openLeader(after, known, end, filter, trimmed)
	}
	return f.openHistory(after, known, end, filter, trimmed)
}

// manyAnswer says whether direct gets may be answered by another server than
// the stream's leader: by other replicas, and by mirrors (mirror_direct) that
// the cluster's servers may have.
func (f *Feed) manyAnswer() bool {
	return f.replicated.Load() || f.log.nc.ConnectedClusterName() != ""
}

// openHistory reads behind a sequence. Where known is given, the log must
// still have that message when its server has been away.
func (f *Feed) openHistory(after uint64, known mark, end uint64, filter string, trimmed bool) *history {
	return &history{f: f, filter: filter, trimmed: trimmed, at: after, end: end, known: known, made: f.log.nc.Stats().Reconnects}
}

// next returns further messages, and none at the end.
func (h *history) next(ctx context.Context) ([]message, error) {
	for h.tail == nil {
		if h.at >= h.end {
			return nil, nil
		}
		var msgs []message
		err := errNoDirect
		if !h.f.directOff.Load() && h.f.can().release.atLeast(releaseDirect) {
			msgs, err = h.f.fetch(ctx, h.at+1, h.filter)
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if errors.Is(err, ErrDenied) && !h.f.directOff.Swap(true) {
			h.f.log.opts.Logger.Info().Err(err).Str("feed", h.f.name).Msg("eventlog: keys are read by consumers")
		}
		if h.interrupted() {
			if err := h.resume(ctx); err != nil {
				return nil, err
			}
			if len(msgs) == 0 {
				continue
			}
		}
		if n := len(msgs); n > 0 {
			h.at, h.known, h.lagging = msgs[n-1].seq, markOf(&msgs[n-1]), 0
			return msgs, nil
		}
		if err == nil && h.lagging < historyTries {
			h.lagging++
			if err := await(ctx, time.Duration(h.lagging)*5*time.Millisecond); err != nil {
				return nil, err
			}
			continue
		}
		h.tail = h.f.newTail(h.at, h.known, h.filter, h.trimmed)
	}
	msgs, err := h.tail.next(ctx)
	if n := len(msgs); n > 0 {
		h.at = msgs[n-1].seq
	}
	return msgs, err
}

// interrupted says whether the server was away, and may be another log's.
func (h *history) interrupted() bool {
	nc := h.f.log.nc
	return nc.Stats().Reconnects != h.made || !nc.IsConnected()
}

// resume waits for the server, and makes sure that the log still has what was
// read: the numbers don't tell, as tail.recognise says.
func (h *history) resume(ctx context.Context) error {
	made := h.f.log.nc.Stats().Reconnects
	err := h.f.untilAvailable(ctx, func() error {
		st, err := h.f.rangeCheck(ctx, h.at, h.trimmed)
		if err != nil {
			return err
		}
		return h.f.recognise(ctx, h.known, st)
	})
	if err == nil {
		h.made = made
	}
	return err
}

func (h *history) close() {
	if h.tail != nil {
		h.tail.close()
		h.tail = nil
	}
}

var errNoDirect = errors.New("stored messages can't be asked for directly")

// fetch asks for the messages of a subject from a sequence on, one batch at
// most, and returns what came of it.
func (f *Feed) fetch(ctx context.Context, from uint64, filter string) (msgs []message, err error) {
	if filter == "" {
		filter = f.everything()
	}
	over, err := f.turn(ctx)
	if err != nil {
		return nil, err
	}
	defer over()
	ctx, cancel := context.WithTimeoutCause(ctx, f.log.opts.RequestTimeout, errNoDirect)
	defer cancel()
	subject := f.log.api + ".DIRECT.GET." + f.stream
	ctx, done := f.log.watchDenied(ctx, subject)
	req, err := json.Marshal(map[string]any{"seq": from, "next_by_subj": filter, "batch": historyBatch, "max_bytes": historyBytes})
	if err != nil {
		return nil, done(err)
	}
	b := &batchOf{f: f, last: from - 1, ended: make(chan struct{})}
	inbox := f.log.nc.NewInbox()
	sub, err := f.log.nc.Subscribe(inbox, b.receive)
	if err != nil {
		return nil, done(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return nil, done(err)
	}
	if err := f.log.nc.PublishRequest(subject, inbox, req); err != nil {
		return nil, done(err)
	}
	select {
	case <-b.ended:
	case <-ctx.Done():
		b.end(context.Cause(ctx))
	case <-f.closing:
		b.end(f.closedRead())
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.msgs, done(b.err)
}

// batchOf collects the answers to one request.
type batchOf struct {
	f     *Feed
	ended chan struct{}

	mu   sync.Mutex
	msgs []message
	last uint64
	over bool
	err  error
}

func (b *batchOf) end(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.endLocked(err)
}

func (b *batchOf) endLocked(err error) {
	if !b.over {
		b.over, b.err = true, err
		close(b.ended)
	}
}

func (b *batchOf) receive(m *nats.Msg) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over {
		return
	}
	switch status := m.Header.Get("Status"); status {
	case "":
	case "204", "404": // the batch's end; nothing there
		b.endLocked(nil)
		return
	default: // 503: nobody answers for the stream
		b.endLocked(fmt.Errorf("%w: status %s %s", errNoDirect, status, m.Header.Get("Description")))
		return
	}
	msg, err := parseDirect(m)
	if err == nil && msg.seq <= b.last {
		err = errMissed
	}
	if err != nil {
		b.endLocked(err)
		return
	}
	b.last = msg.seq
	b.msgs = append(b.msgs, msg)
}

// directHeaders are those that the server adds to a message that was asked
// for directly, behind its own.
var directHeaders = [...]string{"Nats-Stream", "Nats-Subject", "Nats-Sequence", "Nats-Time-Stamp", "Nats-Num-Pending", "Nats-Last-Sequence"}

// parseDirect makes of an answer the message that is stored.
func parseDirect(m *nats.Msg) (msg message, err error) {
	var added [len(directHeaders)]string
	for i, name := range directHeaders {
		v := m.Header[name]
		if len(v) == 0 {
			return msg, fmt.Errorf("%w: an answer without %s", errNoDirect, name)
		}
		added[i] = v[len(v)-1]
		if v = v[:len(v)-1]; len(v) > 0 {
			m.Header[name] = v // the message has one of its own
		} else {
			delete(m.Header, name)
		}
	}
	seq, err := strconv.ParseUint(added[2], 10, 64)
	if err != nil || seq == math.MaxUint64 {
		return msg, fmt.Errorf("%w: sequence %q", errNoDirect, added[2])
	}
	at, err := time.Parse(time.RFC3339Nano, added[3])
	if err != nil {
		return msg, fmt.Errorf("%w: time %q", errNoDirect, added[3])
	}
	return message{seq: seq, nanos: at.UnixNano(), subject: added[1], header: headersOf(m.Header), data: m.Data}, nil
}
