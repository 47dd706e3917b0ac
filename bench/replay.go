package main

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidemark-es/tidemark/eventlog"
)

func replayCases() []*benchCase {
	const against = ", against an ordered consumer at its best that decodes nothing"
	return []*benchCase{
		replayCase("replay/raw", "the whole log through Feed.Commits, keys and envelopes alone"+against,
			nil),
		replayCase("replay/typed", "the whole log through Feed.Commits, events decoded by methods"+against,
			decodePosted, eventlog.Type[posted](eventName)),
		replayCase("replay/typed-reflect", "the whole log through Feed.Commits, events decoded by reflection"+against,
			decodePlain, eventlog.Type[postedPlain](eventName)),
		packedCase(), clusterReplayCase(), memoryCase(),
	}
}

func decodePosted(e eventlog.Event) (uint64, error) {
	p, err := eventlog.Decode[posted](e)
	return p.Cents, err
}

func decodePlain(e eventlog.Event) (uint64, error) {
	p, err := eventlog.Decode[postedPlain](e)
	return p.Cents, err
}

// decoder decodes an event and returns its amount; nil where events are not
// decoded.
type decoder func(eventlog.Event) (cents uint64, err error)

func replayCase(name, about string, decode decoder, types ...eventlog.FeedOption) *benchCase {
	var how reader
	return &benchCase{
		name: name, about: about, unit: unitEvents,
		setup: func(ctx context.Context, e *env) (err error) {
			how, err = e.bestReader(ctx)
			return err
		},
		ours: func(ctx context.Context, e *env, c *clock) (sample, error) {
			return ourReplay(ctx, e, c, decode, types...)
		},
		base: func(ctx context.Context, e *env, c *clock) (sample, error) { return rawReplay(ctx, e, c, how) },
		note: func() string { return how.String() },
	}
}

// ourReplay reads the log, which it opens before.
func ourReplay(ctx context.Context, e *env, c *clock, decode decoder, types ...eventlog.FeedOption) (s sample, err error) {
	o, err := e.openLog(ctx, types...)
	if err != nil {
		return s, err
	}
	defer o.close()
	return o.replay(ctx, c, decode)
}

func replayDir(ctx context.Context, dir string, c *clock, decode decoder) (s sample, err error) {
	o, err := openOurs(ctx, dir)
	if err != nil {
		return s, err
	}
	defer o.close()
	return o.replay(ctx, c, decode)
}

func (o *ours) replay(ctx context.Context, c *clock, decode decoder) (s sample, err error) {
	var cents uint64
	if err := c.start(); err != nil {
		return s, err
	}
	for cm, err := range o.feed.Commits(ctx) {
		if err != nil {
			return s, err
		}
		if decode != nil {
			for i := range cm.Len() {
				n, err := decode(cm.Event(i))
				if err != nil {
					return s, err
				}
				cents += n
			}
		}
		s.count += uint64(cm.Len())
		s.bytes += uint64(cm.Size())
	}
	if err := c.stop(); err != nil {
		return s, err
	}
	if want := centsOf(int(s.count)); decode != nil && cents != want {
		return s, fmt.Errorf("the amounts add up to %d, not %d", cents, want)
	}
	s.values = []float64{c.rate(int(s.count))}
	return s, nil
}

// rawReplay reads the same log, on a server that it starts before.
func rawReplay(ctx context.Context, e *env, c *clock, how reader) (s sample, err error) {
	r, err := e.openRawLog(ctx, how.by)
	if err != nil {
		return s, err
	}
	defer r.close()
	return r.count(ctx, c, how, e.events)
}

// count reads the first n messages of the stream.
func (r *raw) count(ctx context.Context, c *clock, how reader, n int) (s sample, err error) {
	if err := c.start(); err != nil {
		return s, err
	}
	if err := r.read(ctx, how, n, func(m jetstream.Msg) error {
		s.count++
		s.bytes += uint64(len(m.Data()))
		return nil
	}); err != nil {
		return s, err
	}
	if err := c.stop(); err != nil {
		return s, err
	}
	s.values = []float64{c.rate(int(s.count))}
	return s, nil
}
