package main

import (
	"slices"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/projection"
)

// The queries of NEXMARK as a program would have them. The feeds come in no
// order among each other: a bid may be handled before its auction.

// marketFeeds are the three feeds of the auction house.
type marketFeeds struct{ persons, auctions, bids *eventlog.Feed }

// A query's tables, and its answer when they have handled everything.
type query struct {
	tables []projection.Projection
	answer func() answers
}

// answers are rows of a result: anything comparable, under anything comparable.
type answers map[any]any

func answerOf[K comparable, V any](t *projection.Table[K, V], as func(V) any) func() answers {
	return func() answers {
		all := make(answers)
		for k, v := range t.All() {
			all[k] = as(v)
		}
		return all
	}
}

func plainly[V any](v V) any { return v }

// offer is a row of q3: who sells something of a category, nearby.
type offer struct{ Name, City, State string }

func nearby(state string) bool { return state == "OR" || state == "ID" || state == "CA" }

// q3 joins the auctions of a category with their sellers in three states.
func q3(f marketFeeds) query {
	sellers := projection.NewTable[uint64, offer]("sellers")
	projection.On(sellers, f.persons, func(t *projection.Tx[uint64, offer], _ eventlog.Event, p person) error {
		t.Put(p.ID, offer{p.Name, p.City, p.State})
		return nil
	})
	type lot struct{ Seller, Category uint64 }
	lots := projection.NewTable[uint64, lot]("lots")
	projection.On(lots, f.auctions, func(t *projection.Tx[uint64, lot], _ eventlog.Event, a auction) error {
		t.Put(a.ID, lot{a.Seller, a.Category})
		return nil
	})
	local := projection.Filter("local", sellers, func(_ uint64, s offer) bool { return nearby(s.State) })
	wanted := projection.Filter("wanted", lots, func(_ uint64, l lot) bool { return l.Category == firstCategory })
	offers := projection.JoinBy("offers", wanted, local,
		func(_ uint64, l lot) (uint64, bool) { return l.Seller, true },
		func(_ uint64, _ lot, s offer) offer { return s })
	return query{[]projection.Projection{sellers, lots, local, wanted, offers}, answerOf(offers, plainly)}
}

// listing is an auction with its best bid so far. The bids that came before it
// wait for it: which of them count isn't known yet.
type listing struct {
	Category, Best uint64
	At, Expires    int64 // Expires is 0 before the auction came
	Early          []early
}

type early struct {
	At    int64
	Price uint64
}

func (l *listing) offer(at int64, price uint64) {
	if l.At <= at && at <= l.Expires {
		l.Best = max(l.Best, price)
	}
}

// q4 is the average of the closing prices in each category: of the highest
// bids while the auctions were open.
func q4(f marketFeeds) query {
	type tx = *projection.Tx[uint64, listing]
	listings := projection.NewTable[uint64, listing]("listings", projection.Equal(func(a, b listing) bool {
		return a.Category == b.Category && a.Best == b.Best && a.Expires == b.Expires
	}))
	projection.On(listings, f.auctions, func(t tx, _ eventlog.Event, a auction) error {
		l := listing{Category: a.Category, At: a.At, Expires: a.Expires}
		for _, b := range t.Value(a.ID).Early {
			l.offer(b.At, b.Price)
		}
		t.Put(a.ID, l)
		return nil
	})
	projection.On(listings, f.bids, func(t tx, _ eventlog.Event, b bid) error {
		l := t.Value(b.Auction)
		if l.Expires == 0 {
			l.Early = append(slices.Clip(l.Early), early{b.At, b.Price})
		} else {
			l.offer(b.At, b.Price)
		}
		t.Put(b.Auction, l)
		return nil
	})
	sums := projection.Aggregate("sums", listings,
		func(_ uint64, l listing) (uint64, bool) { return l.Category, l.Best > 0 },
		func(sum uint64, _ uint64, l listing) uint64 { return sum + l.Best },
		func(sum uint64, _ uint64, l listing) uint64 { return sum - l.Best })
	averages := projection.Map("averages", sums, func(_ uint64, g projection.Group[uint64]) uint64 { return g.Value / uint64(g.Rows) })
	return query{[]projection.Projection{listings, sums, averages}, answerOf(averages, plainly)}
}

// Windows are named by their ends, in milliseconds, which they exclude.
const (
	hop      = 2_000
	hopping  = 10_000
	tumbling = 10_000
)

func tumble(at int64) int64 { return at - at%tumbling + tumbling }

// windowed is something in a window.
type windowed struct {
	Window int64
	ID     uint64
}

// hottest is a row of q5: the auctions with the most bids in a window.
type hottest struct {
	Bids     int
	Auctions []uint64 // sorted
}

// q5 is the auctions with the most bids in the last ten seconds, every two.
func q5(f marketFeeds) query {
	counts := projection.NewTable[windowed, int]("counts")
	projection.On(counts, f.bids, func(t *projection.Tx[windowed, int], _ eventlog.Event, b bid) error {
		for end := b.At - b.At%hop + hop; end <= b.At+hopping; end += hop {
			w := windowed{end, b.Auction}
			t.Put(w, t.Value(w)+1)
		}
		return nil
	})
	// Counts only grow, so the one that leads is only ever overtaken.
	hot := projection.NewTable[int64, hottest]("hot", projection.Equal(func(a, b hottest) bool {
		return a.Bids == b.Bids && slices.Equal(a.Auctions, b.Auctions)
	}))
	projection.OnChange(hot, counts, func(t *projection.Tx[int64, hottest], c projection.Change[windowed, int]) error {
		switch h := t.Value(c.Key.Window); {
		case c.New > h.Bids:
			t.Put(c.Key.Window, hottest{c.New, []uint64{c.Key.ID}})
		case c.New == h.Bids:
			i, _ := slices.BinarySearch(h.Auctions, c.Key.ID)
			t.Put(c.Key.Window, hottest{h.Bids, slices.Insert(slices.Clone(h.Auctions), i, c.Key.ID)})
		}
		return nil
	})
	return query{[]projection.Projection{counts, hot}, answerOf(hot, hottest.row)}
}

// q8 is who opened an auction in the same ten seconds in which they came.
func q8(f marketFeeds) query {
	newcomers := projection.NewTable[windowed, string]("newcomers")
	projection.On(newcomers, f.persons, func(t *projection.Tx[windowed, string], _ eventlog.Event, p person) error {
		t.Put(windowed{tumble(p.At), p.ID}, p.Name)
		return nil
	})
	lots := projection.NewTable[uint64, windowed]("lots")
	projection.On(lots, f.auctions, func(t *projection.Tx[uint64, windowed], _ eventlog.Event, a auction) error {
		t.Put(a.ID, windowed{tumble(a.At), a.Seller})
		return nil
	})
	sellers := projection.Distinct("sellers", lots, func(_ uint64, w windowed) (windowed, bool) { return w, true })
	monitor := projection.Join("monitor", newcomers, sellers, func(_ windowed, name string, _ int) string { return name })
	return query{[]projection.Projection{newcomers, lots, sellers, monitor}, answerOf(monitor, plainly)}
}
