package main

import (
	"context"
	"fmt"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
)

const longKey = 1000

// longKeyCase is whether the length of a key's history counts. Both kinds of
// keys are in one log, and their commands take turns, one by one: the figures
// are of some 50 us each, and what runs beside on a machine differs by more
// than that from one second to the next. So whichever side of a round is first
// measures both.
func longKeyCase() *benchCase {
	var other *sample // of the side that comes second in a round
	of := func(long bool) side {
		return func(ctx context.Context, e *env, c *clock) (sample, error) {
			if s := other; s != nil {
				other = nil
				return *s, nil
			}
			ours, theirs, err := longKeys(ctx, e, c)
			if err != nil {
				return sample{}, err
			}
			if !long {
				ours, theirs = theirs, ours
			}
			other = &theirs
			return ours, nil
		}
	}
	return &benchCase{
		name: "decide/long-key", about: "a command to a key with 1,000 events, against one to a key with 1 event, in turns; one caller, the medians",
		unit: unitMillis, ceiling: 1.1,
		ours: of(true),
		base: of(false),
	}
}

// longKeys sends commands to keys that have longKey events each, and to as many
// that have one.
func longKeys(ctx context.Context, e *env, c *clock) (long, short sample, err error) {
	const rounds = 5
	keys := max(5, e.keys/50)
	o, done, err := freshDeciding(ctx, e)
	if err != nil {
		return long, short, err
	}
	defer done()
	if err := o.fillKeys(ctx, keys); err != nil {
		return long, short, err
	}
	if err := c.start(); err != nil {
		return long, short, err
	}
	var tookLong, tookShort []float64
	for i := range 2 * rounds * keys {
		key := keyOf(i/2, keys)
		took, each := &tookLong, longKey
		if i%2 != i/2%2 { // neither kind is always behind the other
			key, took, each = "short-"+key, &tookShort, 1
		}
		begun := time.Now()
		if err := o.commandTo(ctx, key, uint64(each)*centsAt(0), i, keys); err != nil {
			return long, short, err
		}
		*took = append(*took, millis(time.Since(begun)))
	}
	if err := c.stop(); err != nil {
		return long, short, err
	}
	of := func(took []float64) sample {
		return sample{values: []float64{quantile(took, 0.5)}, count: uint64(len(took))}
	}
	return of(tookLong), of(tookShort), nil
}

// commandTo appends an event to a key whose sum is so much at least.
func (o *deciding) commandTo(ctx context.Context, key string, least uint64, i, keys int) error {
	_, err := o.d.Do(ctx, key, func(sum uint64) ([]any, error) {
		if sum < least {
			return nil, fmt.Errorf("%w: %s has %d, not %d", errNoSum, key, sum, least)
		}
		return []any{eventOf(i, keys)}, nil
	})
	return err
}

// fillKeys appends longKey events to each of some keys, then one to as many
// others, and waits until they are in the table.
func (o *deciding) fillKeys(ctx context.Context, keys int) error {
	if err := fill(ctx, o.feed, 0, keys*longKey, keys); err != nil {
		return err
	}
	var at eventlog.Position
	for i := range keys {
		var err error
		if at, err = o.feed.Append(ctx, "short-"+keyOf(i, keys), eventlog.ExpectNew, eventOf(i, keys)); err != nil {
			return err
		}
	}
	return o.rt.Wait(ctx, at)
}
