package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
	"github.com/tidemark-es/tidemark/eventlog"
)

// batchSize is how many events of one key are stored as a unit.
const batchSize = 10

// rawBatch is how an atomic batch is published.
type rawBatch struct {
	by    transport
	await bool // the answer to the batch's first message
}

func (b rawBatch) String() string {
	if b.await {
		return string(b.by) + ", first message awaited"
	}
	return string(b.by) + ", last message awaited"
}

func rawBatchWays() []rawBatch {
	return []rawBatch{{pipe, false}, {pipe, true}, {tcp, false}, {tcp, true}}
}

func batchCase() *benchCase {
	const name = "append/10events"
	var how rawBatch
	return &benchCase{
		name: name, about: "1 caller, 10 events of one key: Feed.Append against an atomic batch of 10 messages (Nats-Batch-*)",
		unit: unitEvents,
		setup: func(ctx context.Context, e *env) (err error) {
			how, err = fastest(ctx, e, name, rawBatchWays(),
				func(ctx context.Context, e *env, b rawBatch) (float64, error) {
					s, err := rawBatches(ctx, e, &clock{}, b)
					return s.rate(), err
				})
			return err
		},
		ours: ourBatches,
		base: func(ctx context.Context, e *env, c *clock) (sample, error) { return rawBatches(ctx, e, c, how) },
		note: func() string { return how.String() },
	}
}

func ourBatches(ctx context.Context, e *env, c *clock) (s sample, err error) {
	o, done, err := freshOurs(ctx, e)
	if err != nil {
		return s, err
	}
	defer done()
	keys, events := madeBefore(e)
	batch := make([]any, batchSize)
	l := appendLoad{callers: 1, total: func(e *env) int { return e.batches }}
	if _, err := l.run(ctx, e, c, func(ctx context.Context, i, key int, _ uint64) (uint64, error) {
		for k := range batch {
			batch[k] = events[(i*batchSize+k)%len(events)]
		}
		at, err := o.feed.Append(ctx, keys[key], eventlog.ExpectAny, batch...)
		return at.Seq, err
	}); err != nil {
		return s, err
	}
	for cm, err := range o.feed.Commits(ctx) {
		if err != nil {
			return s, err
		}
		s.count += uint64(cm.Len())
	}
	s.values = []float64{c.rate(l.timed(e) * batchSize)}
	return s, nil
}

func rawBatches(ctx context.Context, e *env, c *clock, how rawBatch) (s sample, err error) {
	r, done, err := freshRaw(ctx, e, how.by)
	if err != nil {
		return s, err
	}
	defer done()
	subjects, payloads, err := encodedBefore(e, r)
	if err != nil {
		return s, err
	}
	batch := make([][]byte, batchSize)
	l := appendLoad{callers: 1, total: func(e *env) int { return e.batches }}
	if _, err := l.run(ctx, e, c, func(ctx context.Context, i, key int, _ uint64) (uint64, error) {
		for k := range batch {
			batch[k] = payloads[(i*batchSize+k)%len(payloads)]
		}
		return r.publishBatch(ctx, subjects[key], batch, how.await)
	}); err != nil {
		return s, err
	}
	st, err := r.state(ctx)
	if err != nil {
		return s, err
	}
	return sample{values: []float64{c.rate(l.timed(e) * batchSize)}, count: st.Msgs}, nil
}

// publishBatch stores an atomic batch: the messages but the last are sent
// without waiting, or the first one's empty answer is awaited, as the
// protocol suggests; the last one commits, and its answer is for all.
func (r *raw) publishBatch(ctx context.Context, subject string, batch [][]byte, await bool) (uint64, error) {
	id := nuid.Next()
	for i, payload := range batch {
		m := rawMsg(subject, payload)
		m.Header["Nats-Batch-Id"] = []string{id}
		m.Header["Nats-Batch-Sequence"] = []string{strconv.Itoa(i + 1)}
		switch {
		case i == len(batch)-1:
			m.Header["Nats-Batch-Commit"] = []string{"1"}
			return r.commitBatch(ctx, m, id, len(batch))
		case i == 0 && await:
			answer, err := r.nc.RequestMsgWithContext(ctx, m)
			if err != nil {
				return 0, err
			}
			if len(answer.Data) > 0 {
				return 0, fmt.Errorf("first message of a batch: %s", answer.Data)
			}
		default:
			if err := r.nc.PublishMsg(m); err != nil {
				return 0, err
			}
		}
	}
	return 0, nil
}

func (r *raw) commitBatch(ctx context.Context, last *nats.Msg, id string, size int) (uint64, error) {
	answer, err := r.nc.RequestMsgWithContext(ctx, last)
	if err != nil {
		return 0, err
	}
	var ack struct {
		Error *jetstream.APIError `json:"error"`
		Seq   uint64              `json:"seq"`
		Batch string              `json:"batch"`
		Count int                 `json:"count"`
	}
	if err := json.Unmarshal(answer.Data, &ack); err != nil {
		return 0, err
	}
	if ack.Error != nil {
		return 0, ack.Error
	}
	if ack.Batch != id || ack.Count != size {
		return 0, fmt.Errorf("batch of %d: acknowledged as %s", size, answer.Data)
	}
	return ack.Seq, nil
}
