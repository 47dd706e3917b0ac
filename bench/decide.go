package main

import (
	"context"
	"errors"

	deciders "github.com/tidemark-es/tidemark/command"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/projection"
)

// decideCases carry out commands: the state is read from a table, which
// follows the log meanwhile in the same process, a function decides, and the
// event is appended on the condition that the state is the key's last.
func decideCases() []*benchCase {
	load := appendLoad{callers: 64, total: func(e *env) int { return e.many }}
	occ := load
	occ.exact = true
	const name = "decide/64"
	return []*benchCase{
		{
			name: name, about: "64 callers: Decider.Do on a table that follows, against our append/64 (ExpectAny, and nothing that follows)",
			unit: unitCommits,
			ours: func(ctx context.Context, e *env, c *clock) (sample, error) { return ourDecisions(ctx, e, c, load) },
			base: func(ctx context.Context, e *env, c *clock) (sample, error) { return ourAppends(ctx, e, c, load) },
		},
		{
			name: name + "-occ", about: "the same against appends with the same expectation (ExpectSeq), beside the same table: what deciding itself costs",
			unit: unitCommits,
			ours: func(ctx context.Context, e *env, c *clock) (sample, error) { return ourDecisions(ctx, e, c, load) },
			base: func(ctx context.Context, e *env, c *clock) (sample, error) { return ourFollowed(ctx, e, c, occ) },
		},
		longKeyCase(),
	}
}

// deciding is a log with a table of the keys' sums, and who decides on it.
type deciding struct {
	*ours
	rt   *projection.Runtime
	sums *projection.Table[string, uint64]
	d    *deciders.Decider[uint64]
}

func freshDeciding(ctx context.Context, e *env) (_ *deciding, done func(), err error) {
	return onFresh(e, "ours", func(dir string) (*deciding, error) { return openDeciding(ctx, dir) })
}

func openDeciding(ctx context.Context, dir string) (_ *deciding, err error) {
	o := &deciding{sums: projection.NewTable[string, uint64]("sums")}
	if o.ours, err = openOurs(ctx, dir); err != nil {
		return nil, err
	}
	projection.On(o.sums, o.feed, func(tx *projection.Tx[string, uint64], e eventlog.Event, p posted) error {
		tx.Put(e.Key, tx.Value(e.Key)+p.Cents)
		return nil
	})
	if o.rt, err = (projection.Config{NoSnapshots: true}).Start(ctx, o.log, o.sums); err != nil {
		o.ours.close()
		return nil, err
	}
	if o.d, err = deciders.New(o.feed, o.sums); err != nil {
		o.close()
		return nil, err
	}
	return o, nil
}

func (o *deciding) close() {
	_ = o.rt.Close()
	o.ours.close()
}

var errNoSum = errors.New("the state lacks an event")

// ourDecisions carries the load out by commands, each of which checks the state
// that it is given: at least what a key's earlier events add up to.
func ourDecisions(ctx context.Context, e *env, c *clock, l appendLoad) (s sample, err error) {
	o, done, err := freshDeciding(ctx, e)
	if err != nil {
		return s, err
	}
	defer done()
	keys, events := madeBefore(e)
	stored, err := l.run(ctx, e, c, func(ctx context.Context, i, key int, last uint64) (uint64, error) {
		r, err := o.d.Do(ctx, keys[key], func(sum uint64) ([]any, error) {
			if (sum == 0) != (last == 0) {
				return nil, errNoSum
			}
			return []any{events[i%len(events)]}, nil
		})
		return r.At.Seq, err
	})
	if err != nil {
		return s, err
	}
	st, err := o.feed.State(ctx)
	if err != nil {
		return s, err
	}
	l.exact = true // as the commands are
	return appended(e, c, l, stored, st.Messages, st.Bytes)
}

// ourFollowed appends beside a table that follows.
func ourFollowed(ctx context.Context, e *env, c *clock, l appendLoad) (s sample, err error) {
	o, done, err := freshDeciding(ctx, e)
	if err != nil {
		return s, err
	}
	defer done()
	return o.appends(ctx, e, c, l)
}
