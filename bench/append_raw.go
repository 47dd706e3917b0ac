package main

import (
	"context"
	"fmt"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

// publisher is a way to publish with nats.go and wait for the server.
type publisher struct {
	by    transport
	async bool // PublishMsgAsync and its future, instead of PublishMsg
}

func (p publisher) String() string {
	if p.async {
		return "PublishMsgAsync and Ok, " + string(p.by)
	}
	return "PublishMsg, " + string(p.by)
}

// waiting are the ways to js.Publish, and futures what is faster with many
// callers.
func waiting() []publisher { return []publisher{{pipe, false}, {tcp, false}} }
func futures() []publisher { return []publisher{{pipe, true}, {tcp, true}} }

// rawAppends publishes to a fresh stream. The payloads are encoded before,
// so that the baseline has nothing to do but to publish.
func rawAppends(ctx context.Context, e *env, c *clock, l appendLoad, how publisher, change ...func(*server.Options)) (s sample, err error) {
	r, done, err := freshRaw(ctx, e, how.by, change...)
	if err != nil {
		return s, err
	}
	defer done()
	return r.appends(ctx, e, c, l, how.async)
}

func (r *raw) appends(ctx context.Context, e *env, c *clock, l appendLoad, async bool) (s sample, err error) {
	subjects, payloads, err := encodedBefore(e, r)
	if err != nil {
		return s, err
	}
	stored, err := l.run(ctx, e, c, func(ctx context.Context, i, key int, last uint64) (uint64, error) {
		msg := rawMsg(subjects[key], payloads[i%len(payloads)])
		var opts []jetstream.PublishOpt
		if l.exact && last > 0 { // its best: the expectation makes a Nats-Msg-Id superfluous
			msg.Header["Tm-Id"] = msg.Header[jetstream.MsgIDHeader]
			delete(msg.Header, jetstream.MsgIDHeader)
		}
		if l.exact {
			opts = append(opts, jetstream.WithExpectLastSequencePerSubject(last))
		}
		ack, err := r.publish(ctx, async, msg, opts...)
		if err != nil {
			return 0, err
		}
		return ack.Sequence, nil
	})
	if err != nil {
		return s, err
	}
	st, err := r.state(ctx)
	if err != nil {
		return s, err
	}
	return appended(e, c, l, stored, st.Msgs, st.Bytes)
}

func (r *raw) publish(ctx context.Context, async bool, m *nats.Msg, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	if !async {
		return r.js.PublishMsg(ctx, m, opts...)
	}
	f, err := r.js.PublishMsgAsync(m, opts...)
	if err != nil {
		return nil, err
	}
	select {
	case ack := <-f.Ok():
		return ack, nil
	case err := <-f.Err():
		return nil, err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// rawMsg is a message with the headers of a commit.
func rawMsg(subject string, payload []byte) *nats.Msg {
	return &nats.Msg{
		Subject: subject, Data: payload,
		Header: nats.Header{jetstream.MsgIDHeader: {nuid.Next()}, "Tm-Type": {eventName}},
	}
}

// freshRaw starts a server with an empty stream.
func freshRaw(ctx context.Context, e *env, t transport, change ...func(*server.Options)) (_ *raw, done func(), err error) {
	return onFresh(e, "raw", func(dir string) (*raw, error) {
		o := rawOptions(dir, t)
		for _, f := range change {
			f(o)
		}
		r, err := startRaw(ctx, o, t, e.stream)
		if err != nil {
			return nil, err
		}
		if err := r.create(ctx); err != nil {
			r.close()
			return nil, err
		}
		return r, nil
	})
}

// encodedBefore makes subjects and payloads outside of the timed part.
func encodedBefore(e *env, r *raw) (subjects []string, payloads [][]byte, err error) {
	keys, events := madeBefore(e)
	for i := range keys {
		b, err := events[i].MarshalMsg(nil)
		if err != nil {
			return nil, nil, err
		}
		subjects, payloads = append(subjects, r.prefix()+keys[i]), append(payloads, b)
	}
	return subjects, payloads, nil
}

// appended checks that what was appended is in the stream. The bytes of the
// two sides are compared as well, except where the headers hold sequences,
// whose length depends on who was faster.
func appended(e *env, c *clock, l appendLoad, stored, found, bytes uint64) (sample, error) {
	if found != stored {
		return sample{}, fmt.Errorf("%d were acknowledged, the stream has %d", stored, found)
	}
	if l.exact {
		bytes = 0
	}
	return sample{values: []float64{c.rate(l.timed(e))}, count: found, bytes: bytes}, nil
}
