package main

import (
	"context"
	"fmt"
	"testing"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/projection"
	"github.com/tidemark-es/tidemark/projectiontest"
)

// testkitCases run given/when/then cases of a projection.
func testkitCases() []*benchCase {
	return []*benchCase{{
		name: "testkit/cases", about: "given an event, when another, then a row: by projectiontest, against the same on a log in memory (Append, Wait, Get)",
		unit: "cases/s",
		ours: ourTestkit,
		base: serverTestkit,
	}}
}

func sumsOf(feed *eventlog.Feed) *projection.Table[string, uint64] {
	sums := projection.NewTable[string, uint64]("sums")
	projection.On(sums, feed, func(tx *projection.Tx[string, uint64], e eventlog.Event, p posted) error {
		tx.Put(e.Key, tx.Value(e.Key)+p.Cents)
		return nil
	})
	return sums
}

func ourTestkit(_ context.Context, e *env, c *clock) (s sample, err error) {
	t := new(testing.T)
	feed, err := eventlog.Offline(feedName, eventlog.Type[posted](eventName))
	if err != nil {
		return s, err
	}
	sums := sumsOf(feed)
	k := projectiontest.New(t, sums)
	if err := c.start(); err != nil {
		return s, err
	}
	for range e.many {
		k.Reset().Given(feed, "ada", posted{Cents: 10})
		k.When(feed, "ada", posted{Cents: 5}).Then(projectiontest.Row(sums, "ada", uint64(15)))
		s.count++
	}
	if err := c.stop(); err != nil {
		return s, err
	}
	if t.Failed() {
		return s, fmt.Errorf("a case failed")
	}
	s.values = []float64{c.rate(int(s.count))}
	return s, nil
}

func serverTestkit(ctx context.Context, e *env, c *clock) (s sample, err error) {
	o, err := openOursAt(ctx, eventlog.Options{App: appName, Memory: true})
	if err != nil {
		return s, err
	}
	defer o.close()
	sums := sumsOf(o.feed)
	rt, err := projection.Config{NoSnapshots: true}.Start(ctx, o.log, sums)
	if err != nil {
		return s, err
	}
	defer rt.Close()
	if err := c.start(); err != nil {
		return s, err
	}
	for i := range e.many {
		key := fmt.Sprint("ada-", i)
		for _, cents := range []uint64{10, 5} {
			at, err := o.feed.Append(ctx, key, eventlog.ExpectAny, posted{Cents: cents})
			if err != nil {
				return s, err
			}
			if err := rt.Wait(ctx, at); err != nil {
				return s, err
			}
		}
		if v, _ := sums.Get(key); v != 15 {
			return s, fmt.Errorf("%s is %d", key, v)
		}
		s.count++
	}
	if err := c.stop(); err != nil {
		return s, err
	}
	s.values = []float64{c.rate(int(s.count))}
	return s, nil
}
