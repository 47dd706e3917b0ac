package main

import (
	"maps"
	"slices"
	"testing"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
	"pgregory.net/rapid"
)

// T2.1 on NEXMARK: whatever the events, and wherever the program is ended and
// started again, with or without its last snapshot, the answers are those of
// plain loops over all events: after following and after a restart.
func TestNexmark(t *testing.T) {
	if testing.Short() {
		t.Skip("opens a log for each of a hundred cases, some seconds; TestEveryCase runs the queries")
	}
	rapid.Check(t, func(rt *rapid.T) {
		ctx := logtest.Context(t)
		log, err := eventlog.Open(ctx, eventlog.Options{App: logtest.App(t), Memory: true})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = log.Close() }()
		f, err := feedsOf(ctx, log)
		if err != nil {
			t.Fatal(err)
		}
		n := rapid.SampledFrom(nexmarks()).Draw(rt, "query")
		seed := rapid.Uint64().Draw(rt, "seed")
		h, events := newHouse(seed), 0
		for range rapid.IntRange(1, 3).Draw(rt, "lives") {
			c := projection.Config{Snapshots: projection.Policy{Events: rapid.Uint64Range(20, 500).Draw(rt, "events per snapshot"), MinInterval: 1}}
			c.Snapshots.NotOnClose = rapid.Bool().Draw(rt, "killed")
			q := n.tables(f)
			run, err := c.Start(ctx, log, q.tables...)
			if err != nil {
				rt.Fatal(err)
			}
			compare := func(when string) {
				m := newMarket(seed, events)
				if got, want := q.answer(), n.batch(&m); !maps.Equal(got, want) {
					rt.Fatalf("%s, %s of %d events: %v, want %v", n.name, when, events, got, want)
				}
			}
			compare("started")
			more := rapid.IntRange(1, 1000).Draw(rt, "events")
			at, err := f.append(ctx, h, more)
			if err != nil {
				rt.Fatal(err)
			}
			events += more
			for _, p := range at {
				if slices.Contains(n.feeds, p.Feed) {
					if err := run.Wait(ctx, p); err != nil {
						rt.Fatal(err)
					}
				}
			}
			compare("followed")
			if err := run.Close(); err != nil {
				rt.Fatal(err)
			}
		}
	})
}

// The events are those of the published model: shares, ids that count up
// without gaps, time that doesn't go back, and all of it from the seed.
func TestHouse(t *testing.T) {
	m, again, other := newMarket(7, 5000), newMarket(7, 5000), newMarket(8, 5000)
	if len(m.persons) != 100 || len(m.auctions) != 300 || len(m.bids) != 4600 {
		t.Errorf("%d persons, %d auctions, %d bids", len(m.persons), len(m.auctions), len(m.bids))
	}
	if !slices.Equal(m.bids, again.bids) || !slices.Equal(m.auctions, again.auctions) || !slices.Equal(m.persons, again.persons) {
		t.Error("the same seed made other events")
	}
	if slices.Equal(m.bids, other.bids) {
		t.Error("another seed made the same bids")
	}
	for i, p := range m.persons {
		if p.ID != uint64(firstPerson+i) {
			t.Fatalf("person %d has id %d", i, p.ID)
		}
	}
	for i, a := range m.auctions {
		if a.ID != uint64(firstAuction+i) || a.Expires <= a.At || i > 0 && a.At < m.auctions[i-1].At {
			t.Fatalf("auction %d is %+v", i, a)
		}
	}
	ahead, hot := 0, 0
	for i, b := range m.bids {
		if i > 0 && b.At < m.bids[i-1].At || b.Price < 100 || b.Price > 100_000_000 {
			t.Fatalf("bid %d is %+v", i, b)
		}
		if a := b.Auction - firstAuction; a >= uint64(len(m.auctions)) || m.auctions[a].At > b.At {
			ahead++
		} else if a%hotEach == 0 {
			hot++
		}
	}
	if ahead == 0 || ahead > 460 || hot < 2000 || hot > 2700 {
		t.Errorf("%d bids come before their auctions, %d are on hot ones", ahead, hot)
	}
}

// FuzzNexmarkEvents: what decodes is what its own encoding decodes to, and
// nothing else is taken.
func FuzzNexmarkEvents(f *testing.F) {
	h := newHouse(1)
	for range 6 {
		switch e := h.next().(type) {
		case person:
			b, _ := e.MarshalMsg(nil)
			f.Add(b)
		case auction:
			b, _ := e.MarshalMsg(nil)
			f.Add(b)
		case bid:
			b, _ := e.MarshalMsg(nil)
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var p, p2 person
		var a, a2 auction
		var o, o2 bid
		if _, err := p.UnmarshalMsg(b); err == nil {
			again, _ := p.MarshalMsg(nil)
			if rest, err := p2.UnmarshalMsg(again); err != nil || len(rest) > 0 || p2 != p {
				t.Errorf("%+v came back as %+v, %v", p, p2, err)
			}
		}
		if _, err := a.UnmarshalMsg(b); err == nil {
			again, _ := a.MarshalMsg(nil)
			if rest, err := a2.UnmarshalMsg(again); err != nil || len(rest) > 0 || a2 != a {
				t.Errorf("%+v came back as %+v, %v", a, a2, err)
			}
		}
		if _, err := o.UnmarshalMsg(b); err == nil {
			again, _ := o.MarshalMsg(nil)
			if rest, err := o2.UnmarshalMsg(again); err != nil || len(rest) > 0 || o2 != o {
				t.Errorf("%+v came back as %+v, %v", o, o2, err)
			}
		}
	})
}
