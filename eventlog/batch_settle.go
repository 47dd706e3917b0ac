package eventlog

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// The server's error codes of batches that decide something here.
const (
	codeDuplicateInFlight = 10158 // duplicate message id is in process
	codeBatchIncomplete   = 10176 // lost its beginning: a new leader, or a gap
	codeBatchTooLarge     = 10199 // more messages than this server takes
	codeBatchDuplicate    = 10201 // contains a message ID that the stream knows
	codeBatchTooMany      = 10210 // too many are open, of whomever
)

// batchOutcome is what an answer means for the transactions of a batch.
type batchOutcome int

const (
	batchStored  batchOutcome = iota
	batchUnknown              // may have been stored, or may be later
	batchAgain                // not stored; the server can't at the moment
	batchLook                 // not stored by this send: the leader says why
	batchRefused              // not stored, for good
)

// batchOutcome is the gate for the answers to batches.
func (a ack) batchOutcome() batchOutcome {
	if a.Error != nil {
		switch a.Error.ErrorCode {
		case codeBatchIncomplete, codeBatchTooMany:
			return batchAgain
		case codeBatchDuplicate, codeDuplicateInFlight:
			return batchLook
		}
	}
	switch {
	case a.garbled:
		return batchUnknown
	case a.outcome() == ackStored:
		return batchStored
	case a.outcome() == ackRetry:
		return batchAgain
	case a.outcome() == ackConflict, a.outcome() == ackInFlight:
		return batchLook
	}
	return batchRefused
}

// step is what comes behind a send that didn't settle everything.
type step struct {
	examine bool // ask the leader about every condition
	split   bool // one of the group is at fault
	pause   time.Duration
}

// soon is how long a batch waits for writes of others to its subjects that
// aren't decided yet.
const soon = 3 * time.Millisecond

// process gives every transaction of a group its outcome, after a first send
// that didn't: rounds of looking and sending, until each is decided or its
// time is over.
func (b *batcher) process(group []*txn, next step) {
	for len(group) > 0 {
		if next.pause > 0 {
			<-time.After(next.pause) // Close waits for what is on its way anyhow
		}
		n := len(group)
		if group = b.look(group, next.examine); len(group) == 0 {
			return
		}
		if next.split && n > 1 && len(group) == n {
			// It can't be seen who is at fault: each for itself.
			for _, t := range group {
				rest, next := b.round([]*txn{t})
				b.process(rest, next)
			}
			return
		}
		group, next = b.round(group)
	}
}

// round sends a group once, and returns what is left of it.
func (b *batcher) round(group []*txn) ([]*txn, step) {
	ctx, cancel := context.WithDeadline(context.Background(), group[0].deadline)
	defer cancel()
	msgs := compose(group)
	a, sent, err := b.send(ctx, msgs)
	for _, t := range group {
		if sent {
			t.sends++
		}
		if t.sends > 1 {
			b.f.stats.retries.Add(1)
		}
	}
	switch {
	case errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrConnectionDraining):
		for _, t := range group {
			t.settle(nil, t.orAmbiguous(t.wrap(ErrClosed)))
		}
		return nil, step{}
	case errors.Is(err, nats.ErrMaxPayload):
		// The server that we are connected to now takes less than the one
		// that the sizes were checked for.
		return b.refused(group, func(t *txn) error { return t.wrap(fmt.Errorf("%w: %w", ErrTooLarge, err)) })
	case !sent:
		return note(group, err), step{pause: retryEvery}
	case err != nil: // no answer
		return b.unknown(group)
	}
	return b.answered(group, msgs, a)
}

// answered draws the conclusion from the server's answer to a batch.
func (b *batcher) answered(group []*txn, msgs []*nats.Msg, a ack) ([]*txn, step) {
	if a.single || a.foreign {
		// Some or all of it may have been stored, and not as a batch: sending
		// it again could only make that worse.
		why := b.f.keeper.refusal()
		if a.single {
			why = b.f.unsupported("transactions and tags", releaseAtomic)
		}
		for _, t := range group {
			t.settle(nil, t.ambiguous(why))
		}
		return nil, step{}
	}
	switch a.batchOutcome() {
	case batchStored:
		// A batch's messages are stored without others between them.
		seq := a.Seq - uint64(len(msgs)) + 1
		for _, t := range group {
			t.stored(seq)
			seq += uint64(len(t.parts))
		}
		return nil, step{}
	case batchUnknown:
		return b.unknown(group)
	case batchRefused:
		return b.refused(group, func(t *txn) error { return t.refusal(a) })
	case batchAgain:
		switch {
		case a.Error == nil:
			return note(group, nats.ErrNoResponders), step{pause: retryEvery}
		case a.Error.ErrorCode == codeBatchTooMany:
			return note(group, a.Error), step{pause: 10 * soon}
		}
		return note(group, a.Error), step{pause: retryEvery / 10}
	}
	next := step{examine: true, split: true, pause: soon}
	switch a.Error.ErrorCode {
	case codeBatchDuplicate:
		// In a group it isn't known yet whose ID it is.
		group[0].doubled = group[0].doubled || len(group) == 1
	case codeWrongLastSequence:
		next.pause = 0
	}
	return note(group, a.Error), next
}

// unknown is for a batch that may have been stored, or may be later.
func (b *batcher) unknown(group []*txn) ([]*txn, step) {
	for _, t := range group {
		t.open++
	}
	return note(group, nats.ErrTimeout), step{examine: true}
}

// refused is for what can't be stored, because of one of the group.
func (b *batcher) refused(group []*txn, why func(*txn) error) ([]*txn, step) {
	if len(group) > 1 {
		return group, step{split: true}
	}
	t := group[0]
	t.settle(nil, t.orAmbiguous(why(t)))
	return nil, step{}
}

func note(group []*txn, why error) []*txn {
	for _, t := range group {
		t.why = why
	}
	return group
}

func (t *txn) refusal(a ack) error {
	switch a.Error.ErrorCode {
	case codeTooLarge, codeBatchTooLarge:
		return t.wrap(fmt.Errorf("%w: %s", ErrTooLarge, a.Error.Description))
	}
	return &ServerError{Feed: t.f.name, Op: "append", Code: int(a.Error.ErrorCode), Description: a.Error.Description}
}

// stored is the outcome of a transaction whose first commit is at seq.
func (t *txn) stored(seq uint64) {
	if first := t.parts[0]; t.natural && t.expect.exact {
		t.f.ids.add(first.draft.Key, first.id, seq, t.expect.seq)
	}
	t.f.frontier.note(seq + uint64(len(t.parts)) - 1)
	t.settle(t.positions(seq), nil)
}

func (t *txn) positions(seq uint64) []Position {
	pos := make([]Position, len(t.parts))
	for i := range pos {
		pos[i] = Position{Feed: t.f.name, Seq: seq + uint64(i)}
	}
	return pos
}

// look decides what can be decided about each transaction without sending
// it, and returns the others. It doesn't return before the leader answered:
// what an identity and a guard expect must be known before sending.
func (b *batcher) look(group []*txn, examine bool) (rest []*txn) {
	remains := make([]bool, len(group))
	var wg sync.WaitGroup
	at := make(chan struct{}, lookers)
	for i, t := range group {
		if !t.unsure(examine) {
			remains[i] = b.lookAt(t, examine)
			continue
		}
		at <- struct{}{}
		wg.Go(func() {
			remains[i] = b.lookAt(t, examine)
			<-at
		})
	}
	wg.Wait()
	for i, t := range group {
		if remains[i] {
			rest = append(rest, t)
		}
	}
	return rest
}

// lookers is how many transactions of a group the leader is asked about at
// once.
const lookers = 16

func (b *batcher) lookAt(t *txn, examine bool) (remains bool) {
	ctx, cancel := context.WithDeadline(context.Background(), t.deadline)
	defer cancel()
	for ctx.Err() == nil {
		pos, err, done := t.decide(ctx, examine)
		switch {
		case done:
			t.settle(pos, err)
			return false
		case err == nil:
			return true
		}
		t.why = err
		select {
		case <-time.After(retryEvery):
		case <-ctx.Done():
		}
	}
	t.expire()
	return false
}

// expire gives up: nothing is known about the sends that had no answer.
func (t *txn) expire() {
	if t.open > 0 {
		t.settle(nil, t.ambiguous(nats.ErrTimeout))
		return
	}
	t.settle(nil, t.wrap(fmt.Errorf("%w: nothing was stored in %v (%v)", ErrUnavailable, t.f.resolve, t.why)))
}
