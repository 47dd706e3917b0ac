package main

import (
	"context"
	"errors"
	"fmt"
	"time"

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
		{
			name: "decide/long-key", about: "a command to a key with 1,000 events, against one to a key with 1 event; one caller, the median",
			unit: unitMillis, ceiling: 1.1,
			ours: func(ctx context.Context, e *env, c *clock) (sample, error) { return ourLongKeys(ctx, e, c, longKey) },
			base: func(ctx context.Context, e *env, c *clock) (sample, error) { return ourLongKeys(ctx, e, c, 1) },
		},
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

// ourLongKeys sends commands to keys that have so many events each: 1 or
// longKey. Both kinds are in the same log.
func ourLongKeys(ctx context.Context, e *env, c *clock, each int) (s sample, err error) {
	const rounds = 5
	keys := max(5, e.keys/50)
	o, done, err := freshDeciding(ctx, e)
	if err != nil {
		return s, err
	}
	defer done()
	prefix, err := o.fillKeys(ctx, keys, each)
	if err != nil {
		return s, err
	}
	if err := c.start(); err != nil {
		return s, err
	}
	var took []float64
	for i := range rounds * keys {
		begun := time.Now()
		_, err := o.d.Do(ctx, prefix+keyOf(i, keys), func(sum uint64) ([]any, error) {
			if sum < uint64(each)*centsAt(0) {
				return nil, fmt.Errorf("%w: %d of %d", errNoSum, sum, each)
			}
			return []any{eventOf(i, keys)}, nil
		})
		if err != nil {
			return s, err
		}
		took = append(took, millis(time.Since(begun)))
		s.count++
	}
	if err := c.stop(); err != nil {
		return s, err
	}
	s.values = []float64{quantile(took, 0.5)}
	return s, nil
}

const longKey = 1000

// fillKeys appends longKey events to each of some keys, then one to as many
// others, and says what those with so many begin with.
func (o *deciding) fillKeys(ctx context.Context, keys, each int) (prefix string, err error) {
	if err := fill(ctx, o.feed, 0, keys*longKey, keys); err != nil {
		return "", err
	}
	var at eventlog.Position
	for i := range keys {
		if at, err = o.feed.Append(ctx, "short-"+keyOf(i, keys), eventlog.ExpectNew, eventOf(i, keys)); err != nil {
			return "", err
		}
	}
	if each == 1 {
		prefix = "short-"
	}
	return prefix, o.rt.Wait(ctx, at)
}
