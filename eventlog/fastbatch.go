package eventlog

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// fastBatch is a run of publishes by the server's fast ingest (ADR-50): they
// are numbered, the server stores them in that order and without a gap, and
// acknowledges every few hundred. The first that it misses or refuses ends
// the batch, and nothing behind it is stored: so what is in the stream is
// always a prefix of what was sent, and a lost message can't be overtaken.
//
// The number, and what is to be done, stand in the reply subject:
//
//	<inbox><batch>.<acknowledge every>.fail.<number>.<operation>.$FI
type fastBatch struct {
	f       *Feed
	link    link
	token   uint64 // the batch's ID in base 36
	every   string // ".500.fail."
	subject string // one of the stream's
	next    uint64 // number of the next message, from 1
	born    time.Time
	scratch []byte

	mu      sync.Mutex
	answers int // that the server said anything
	batchState
	event chan struct{} // capacity 1: the state has changed
}

// batchState is what the server has said.
type batchState struct {
	acked uint64              // stored, and all before it
	flow  int                 // it acknowledges every so many
	ended bool                // seq and acked are final
	seq   uint64              // sequence in the stream of the last message
	broke bool                // something went wrong: the batch is over, or will be
	gone  bool                // the server doesn't know the batch (any more)
	err   *jetstream.APIError // the first refusal
}

// The operations of a publish (server/stream.go).
const (
	batchStart = iota
	batchAppend
	_           // append, and end the batch
	batchFinish // end it; the message isn't stored
	batchPing   // say again how far it is
)

// batchBeyond is a number that no batch reaches: as a gap it ends a batch
// whatever its state is.
const batchBeyond = 1 << 62

// The server's error codes about batches.
const (
	codeBatchUnknown = 10208
	codeFastTooMany  = 10211
)

func newFastBatch(f *Feed, l link, flow int) *fastBatch {
	b := attachBatch(f, l, rand.Uint64()>>1)
	b.every = fmt.Sprintf(".%d.fail.", flow)
	b.flow = 1
	return b
}

// attachBatch is a batch that somebody else has begun, to end it.
func attachBatch(f *Feed, l link, token uint64) *fastBatch {
	return &fastBatch{f: f, link: l, token: token, every: ".1.fail.", subject: f.prefix + "end", next: 1, born: time.Now(), event: make(chan struct{}, 1)}
}

func (b *fastBatch) id() string { return strconv.FormatUint(b.token, 36) }

// append sends the next message.
func (b *fastBatch) append(m *outgoing) error {
	op := batchAppend
	if b.next == 1 {
		op = batchStart
	}
	if err := b.send(m, b.next, op); err != nil {
		return err
	}
	b.next++
	return nil
}

func (b *fastBatch) send(m *outgoing, number uint64, op int) error {
	s := append(b.scratch[:0], b.every...)
	s = strconv.AppendUint(s, number, 10)
	s = append(s, '.', byte('0'+op))
	s = append(s, ".$FI"...)
	b.scratch, m.flow = s, s // publish doesn't keep it
	return b.link.publish(m, b.token)
}

// control sends an operation that stores nothing.
func (b *fastBatch) control(number uint64, op int) error {
	return b.send(&outgoing{subject: b.subject}, number, op)
}

// ping asks for an answer behind what was sent so far.
func (b *fastBatch) ping() error { return b.control(b.next-1, batchPing) }

// finish ends the batch behind what was sent.
func (b *fastBatch) finish() error { return b.control(b.next, batchFinish) }

// fence ends the batch wherever it is: once the server has answered, nothing
// of it that is still on its way will be stored.
func (b *fastBatch) fence() error { return b.control(batchBeyond, batchFinish) }

// state is what the server has said, and how often it spoke.
func (b *fastBatch) state() (batchState, int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.batchState, b.answers
}

// onAnswer takes one of the server's answers.
func (b *fastBatch) onAnswer(data []byte, noResponders bool) {
	b.mu.Lock()
	b.batchState.apply(data, noResponders)
	b.answers++
	b.mu.Unlock()
	select {
	case b.event <- struct{}{}:
	default:
	}
}

// apply is the one gate from the server's answers to what they mean:
//
//	{"type":"ack","seq":N,"msgs":E}       stored up to number N; the next comes after E
//	{"type":"gap",...}                    a number was missed
//	{"type":"err","seq":N,"error":{...}}  number N was refused
//	{"stream":S,"error":{...}}            the batch was refused
//	{"stream":S,"seq":Q,"batch":B,"count":N}  ended; up to number N, the last is at Q
//
// What can't be understood breaks the batch: its outcome is read from the log.
func (s *batchState) apply(data []byte, noResponders bool) {
	var m struct {
		Type  string              `json:"type"`
		Seq   uint64              `json:"seq"`
		Msgs  int                 `json:"msgs"`
		Count uint64              `json:"count"`
		Error *jetstream.APIError `json:"error"`
	}
	if s.ended || noResponders || json.Unmarshal(data, &m) != nil {
		s.broke = s.broke || !s.ended
		return
	}
	switch {
	case m.Error != nil && m.Error.ErrorCode == codeBatchUnknown:
		s.broke, s.gone = true, true
	case m.Error != nil:
		s.broke, s.err = true, cmp.Or(s.err, m.Error)
	case m.Type == "ack":
		s.acked = max(s.acked, m.Seq)
		s.flow = max(1, m.Msgs)
	case m.Type == "" && m.Count > 0:
		s.acked, s.seq, s.ended = max(s.acked, m.Count), m.Seq, true
	default:
		s.broke = true
	}
}

// over says that the server has done with the batch.
func (s batchState) over() bool { return s.ended || s.gone }
