package main

import (
	"context"
	"fmt"
	"iter"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidemark-es/tidemark/eventlog"
)

// importLoad is one shape of importing.
type importLoad struct {
	pack  int // consecutive events of one key, and those of a commit of ours
	times int // events are so many times those of 64 callers
}

func (l importLoad) events(e *env) int { return e.many * l.times / l.pack * l.pack }

// key is that of event i: runs of pack events have one key.
func (l importLoad) key(e *env, i int) int { return i / l.pack % e.keys }

// warm is how many are imported before the clock starts.
func (l importLoad) warm(e *env) int { return l.events(e) / 10 / l.pack * l.pack }

func importCases() []*benchCase {
	return []*benchCase{
		importCase("import/single", "Feed.Import, a commit an event, against PublishMsgAsync of encoded events; the same IDs and headers",
			unitCommits, importLoad{pack: 1, times: 3}),
		importCase("import/packed20", "Feed.Import, 20 events of one key a commit, against PublishMsgAsync of one event a message, encoded on both sides; each event has its ID",
			unitEvents, importLoad{pack: 20, times: 5}),
	}
}

func importCase(name, about, unit string, l importLoad) *benchCase {
	var how asyncPublisher
	return &benchCase{
		name: name, about: about, unit: unit,
		setup: func(ctx context.Context, e *env) (err error) {
			how, err = fastest(ctx, e, name, asyncPublishers(), func(ctx context.Context, e *env, how asyncPublisher) (float64, error) {
				s, err := rawImport(ctx, e, &clock{}, l, how)
				return s.rate(), err
			})
			return err
		},
		ours: func(ctx context.Context, e *env, c *clock) (sample, error) { return ourImport(ctx, e, c, l) },
		base: func(ctx context.Context, e *env, c *clock) (sample, error) { return rawImport(ctx, e, c, l, how) },
		note: func() string { return how.String() },
	}
}

// asyncPublisher is a setting of nats.go's asynchronous publish.
type asyncPublisher struct {
	by      transport
	pending int // messages that may wait for their acknowledgement
}

func (p asyncPublisher) String() string {
	return fmt.Sprintf("PublishMsgAsync, %d pending, %s", p.pending, p.by)
}

func asyncPublishers() (ps []asyncPublisher) {
	for _, by := range []transport{pipe, tcp} {
		for _, n := range []int{1000, 4000, 16_000} {
			ps = append(ps, asyncPublisher{by, n})
		}
	}
	return ps
}

func importID(i int) string { return "import/" + strconv.Itoa(i) }

// ourImport imports into a fresh log.
func ourImport(ctx context.Context, e *env, c *clock, l importLoad) (s sample, err error) {
	o, done, err := freshOurs(ctx, e)
	if err != nil {
		return s, err
	}
	defer done()
	keys, events := madeBefore(e)
	drafts := func(from, n int) iter.Seq2[eventlog.Draft, error] {
		return func(yield func(eventlog.Draft, error) bool) {
			for i := from; i < from+n; i++ {
				d := eventlog.Draft{Key: keys[l.key(e, i)], ID: importID(i), Events: []any{events[i%len(events)]}}
				if !yield(d, nil) {
					return
				}
			}
		}
	}
	opts := eventlog.ImportOptions{Pack: l.pack}
	warm, n := l.warm(e), l.events(e)
	if _, err := o.feed.Import(ctx, drafts(0, warm), opts); err != nil {
		return s, err
	}
	if err := c.start(); err != nil {
		return s, err
	}
	res, err := o.feed.Import(ctx, drafts(warm, n), opts)
	if err != nil {
		return s, err
	}
	if err := c.stop(); err != nil {
		return s, err
	}
	for cm, err := range o.feed.Commits(ctx) {
		if err != nil {
			return s, err
		}
		s.count += uint64(cm.Len())
	}
	if want := uint64(n / l.pack); res.Commits != want {
		return s, fmt.Errorf("%d commits, not %d", res.Commits, want)
	}
	s.values = []float64{c.rate(n)}
	return s, nil
}

// rawImport publishes the same events to a fresh stream. Where a commit of
// ours has one event they are encoded before, as in the other cases.
func rawImport(ctx context.Context, e *env, c *clock, l importLoad, how asyncPublisher) (s sample, err error) {
	r, done, err := freshRaw(ctx, e, how.by)
	if err != nil {
		return s, err
	}
	defer done()
	subjects, payloads, err := encodedBefore(e, r)
	if err != nil {
		return s, err
	}
	_, events := madeBefore(e)
	js, err := jetstream.New(r.nc, jetstream.WithPublishAsyncMaxPending(how.pending))
	if err != nil {
		return s, err
	}
	publish := func(from, n int) error {
		for i := from; i < from+n; i++ {
			payload := payloads[i%len(payloads)]
			if l.pack > 1 {
				var err error
				if payload, err = events[i%len(events)].MarshalMsg(nil); err != nil {
					return err
				}
			}
			m := &nats.Msg{
				Subject: subjects[l.key(e, i)], Data: payload,
				Header: nats.Header{jetstream.MsgIDHeader: {importID(i)}, "Tm-Type": {eventName}},
			}
			if _, err := js.PublishMsgAsync(m, jetstream.WithStallWait(time.Minute)); err != nil {
				return err
			}
		}
		select {
		case <-js.PublishAsyncComplete():
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	warm, n := l.warm(e), l.events(e)
	if err := publish(0, warm); err != nil {
		return s, err
	}
	if err := c.start(); err != nil {
		return s, err
	}
	if err := publish(warm, n); err != nil {
		return s, err
	}
	if err := c.stop(); err != nil {
		return s, err
	}
	st, err := r.state(ctx)
	if err != nil {
		return s, err
	}
	return sample{values: []float64{c.rate(n)}, count: st.Msgs}, nil
}
