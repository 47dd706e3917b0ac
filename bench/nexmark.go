package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/projection"
)

// nexmarkSeed is whose events the cases handle.
const nexmarkSeed = 42

// nexmark is a query as tables and as plain loops.
type nexmark struct {
	name, about string
	feeds       []string
	tables      func(marketFeeds) query
	batch       func(*market) answers
}

func nexmarks() []nexmark {
	return []nexmark{
		{"nexmark/q3", "NEXMARK q3: two filters and a join by a row's field", []string{"persons", "auctions"}, q3, (*market).q3},
		{"nexmark/q4", "NEXMARK q4: the best bid of each auction while it is open, and the average in each category", []string{"auctions", "bids"}, q4, (*market).q4},
		{"nexmark/q5", "NEXMARK q5: bids of each auction in five overlapping windows, and the most of each window", []string{"bids"}, q5, (*market).q5},
		{"nexmark/q8", "NEXMARK q8: distinct sellers of a window, joined with who came in it", []string{"persons", "auctions"}, q8, (*market).q8},
	}
}

// nexmarkCases share one log.
func nexmarkCases() (all []*benchCase) {
	l := &marketLog{}
	for _, q := range nexmarks() {
		var want expected
		all = append(all, &benchCase{
			name: q.name, about: q.about + ", as tables that are up to date at each commit, against reading the same feeds side by side and then computing once by plain loops",
			unit: unitEvents,
			setup: func(ctx context.Context, e *env) error {
				m := newMarket(nexmarkSeed, e.events)
				want.rows, want.events = q.batch(&m), m.events(q.feeds)
				return l.make(ctx, e)
			},
			ours: func(ctx context.Context, e *env, c *clock) (sample, error) { return l.ours(ctx, e, c, q, want) },
			base: func(ctx context.Context, e *env, c *clock) (sample, error) { return l.base(ctx, e, c, q, want) },
		})
	}
	return all
}

// marketLog is a log with the events of an auction house, in three feeds.
type marketLog struct{ dir string }

func openMarket(ctx context.Context, dir string) (log *eventlog.Log, f marketFeeds, err error) {
	log, err = eventlog.Open(ctx, eventlog.Options{App: appName, Dir: dir, SyncInterval: syncInterval, MaxPayload: maxPayload})
	if err != nil {
		return nil, f, err
	}
	f, err = feedsOf(ctx, log)
	if err != nil {
		return nil, f, errors.Join(err, log.Close())
	}
	return log, f, nil
}

func feedsOf(ctx context.Context, log *eventlog.Log) (f marketFeeds, err error) {
	for _, of := range []struct {
		to   **eventlog.Feed
		name string
		opt  eventlog.FeedOption
	}{
		{&f.persons, "persons", eventlog.Type[person]("person")},
		{&f.auctions, "auctions", eventlog.Type[auction]("auction")},
		{&f.bids, "bids", eventlog.Type[bid]("bid")},
	} {
		if *of.to, err = log.Feed(ctx, of.name, of.opt); err != nil {
			return f, err
		}
	}
	return f, nil
}

// make writes the log when the first case needs it.
func (l *marketLog) make(ctx context.Context, e *env) error {
	if l.dir != "" {
		return nil
	}
	dir := filepath.Join(e.dir, "market")
	log, f, err := openMarket(ctx, dir)
	if err != nil {
		return err
	}
	if _, err := f.append(ctx, newHouse(nexmarkSeed), e.events); err != nil {
		return errors.Join(fmt.Errorf("filling the market: %w", err), log.Close())
	}
	l.dir = dir
	return log.Close()
}

// append makes and appends n events and returns the last position of each feed.
func (f marketFeeds) append(ctx context.Context, h *house, n int) (map[string]eventlog.Position, error) {
	const flying = 4096
	at := make(map[string]eventlog.Position)
	var waiting []*eventlog.Pending
	settle := func(keep int) error {
		for len(waiting) > keep {
			p, err := waiting[0].Wait(ctx)
			if err != nil {
				return err
			}
			at[p.Feed], waiting = p, waiting[1:]
		}
		return nil
	}
	for range n {
		feed, id, ev := f.bids, uint64(0), h.next()
		switch e := ev.(type) {
		case person:
			feed, id = f.persons, e.ID
		case auction:
			feed, id = f.auctions, e.ID
		case bid:
			id = e.Auction
		}
		p, err := feed.AppendAsync(ctx, eventlog.Draft{Key: strconv.FormatUint(id, 10), Events: []any{ev}})
		if err != nil {
			return nil, err
		}
		waiting = append(waiting, p)
		if err := settle(flying); err != nil {
			return nil, err
		}
	}
	return at, settle(0)
}

func (l *marketLog) ours(ctx context.Context, e *env, c *clock, n nexmark, want expected) (s sample, err error) {
	log, f, err := openMarket(ctx, l.dir)
	if err != nil {
		return s, err
	}
	defer func() { _ = log.Close() }()
	q := n.tables(f)
	if err := c.start(); err != nil {
		return s, err
	}
	rt, err := projection.Config{NoSnapshots: true}.Start(ctx, log, q.tables...)
	if err != nil {
		return s, err
	}
	if err := c.stop(); err != nil {
		return s, errors.Join(err, rt.Close())
	}
	if err := rt.Close(); err != nil {
		return s, err
	}
	return want.sample(c, q.answer(), want.events)
}

func (l *marketLog) base(ctx context.Context, e *env, c *clock, n nexmark, want expected) (s sample, err error) {
	log, f, err := openMarket(ctx, l.dir)
	if err != nil {
		return s, err
	}
	defer func() { _ = log.Close() }()
	if err := c.start(); err != nil {
		return s, err
	}
	m, err := f.read(ctx, n.feeds)
	if err != nil {
		return s, err
	}
	got := n.batch(&m)
	if err := c.stop(); err != nil {
		return s, err
	}
	return want.sample(c, got, m.events(n.feeds))
}

// expected is what a side has to come to.
type expected struct {
	rows   answers
	events int // that the query is about
}

func (x expected) sample(c *clock, got answers, events int) (s sample, err error) {
	switch {
	case events != x.events:
		return s, fmt.Errorf("the feeds have %d events, not %d", events, x.events)
	case len(x.rows) == 0 || !maps.Equal(got, x.rows):
		return s, fmt.Errorf("%d rows, which differ from the recomputation's %d", len(got), len(x.rows))
	}
	return sample{values: []float64{c.rate(events)}, count: uint64(events)}, nil
}

// read reads feeds side by side.
func (f marketFeeds) read(ctx context.Context, feeds []string) (m market, err error) {
	var wg sync.WaitGroup
	var errs [3]error
	for _, name := range feeds {
		switch name {
		case "persons":
			wg.Go(func() { m.persons, errs[0] = readAll[person](ctx, f.persons) })
		case "auctions":
			wg.Go(func() { m.auctions, errs[1] = readAll[auction](ctx, f.auctions) })
		case "bids":
			wg.Go(func() { m.bids, errs[2] = readAll[bid](ctx, f.bids) })
		}
	}
	wg.Wait()
	return m, errors.Join(errs[:]...)
}

func readAll[T any](ctx context.Context, f *eventlog.Feed) (all []T, err error) {
	for c, err := range f.Commits(ctx) {
		if err != nil {
			return nil, err
		}
		for i := range c.Len() {
			v, err := eventlog.Decode[T](c.Event(i))
			if err != nil {
				return nil, err
			}
			all = append(all, v)
		}
	}
	return all, nil
}
