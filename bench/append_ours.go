package main

import (
	"context"

	"github.com/tidemark-es/tidemark/eventlog"
)

// ourAppends appends to a fresh log.
func ourAppends(ctx context.Context, e *env, c *clock, l appendLoad) (s sample, err error) {
	o, done, err := freshOurs(ctx, e)
	if err != nil {
		return s, err
	}
	defer done()
	return o.appends(ctx, e, c, l)
}

func (o *ours) appends(ctx context.Context, e *env, c *clock, l appendLoad) (s sample, err error) {
	keys, events := madeBefore(e)
	stored, err := l.run(ctx, e, c, func(ctx context.Context, i, key int, last uint64) (uint64, error) {
		expect := eventlog.ExpectAny
		if l.exact {
			expect = eventlog.ExpectSeq(last)
		}
		at, err := o.feed.AppendDraft(ctx, eventlog.Draft{
			Key: keys[key], Expect: expect, Events: []any{events[i%len(events)]}, Durability: l.durability,
		})
		return at.Seq, err
	})
	if err != nil {
		return s, err
	}
	st, err := o.feed.State(ctx)
	if err != nil {
		return s, err
	}
	return appended(e, c, l, stored, st.Messages, st.Bytes)
}

// madeBefore makes keys and events outside of the timed part.
func madeBefore(e *env) (keys []string, events []posted) {
	for i := range e.keys {
		keys = append(keys, keyOf(i, e.keys))
		events = append(events, eventOf(i, e.keys))
	}
	return keys, events
}
