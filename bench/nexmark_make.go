package main

import (
	"fmt"
	"math"
	"math/rand/v2"
)

// house makes the events of an auction house: what comes, how often, and who
// refers to whom are those of the published generator (Apache Beam,
// sdks/java/testing/nexmark, with its default configuration): of 50 events one
// is a person, three are auctions and 46 are bids; 10,000 events come in a
// second; some auctions and people are hot; and an event may name an auction or
// a person that is only just to come. The same seed makes the same events.
type house struct {
	rnd *rand.Rand
	n   uint64 // events so far
}

const (
	personShare   = 1
	auctionShare  = 3
	allShares     = 50
	firstPerson   = 1000
	firstAuction  = 1000
	firstCategory = 10
	categories    = 5
	activePeople  = 1000
	openAuctions  = 100
	lead          = 10 // ids that may be named before their event
	hotEach       = 100
	eventsByMs    = 10
)

func newHouse(seed uint64) *house { return &house{rnd: rand.New(rand.NewPCG(seed, 0))} }

// at is when event n comes.
func at(n uint64) int64 { return int64(n / eventsByMs) }

// lastPerson and lastAuction count from 0.
func lastPerson(n uint64) uint64 { return n / allShares }

func lastAuction(n uint64) uint64 {
	epoch, offset := n/allShares, n%allShares
	switch {
	case offset >= personShare:
		return epoch*auctionShare + min(offset-personShare, auctionShare-1)
	case epoch == 0:
		return 0 // not here yet; the published one names it, too
	}
	return epoch*auctionShare - 1
}

// next makes a person, an auction or a bid.
func (h *house) next() any {
	n := h.n
	h.n++
	switch offset := n % allShares; {
	case offset < personShare:
		return h.person(n)
	case offset < personShare+auctionShare:
		return h.auction(n)
	}
	return h.bid(n)
}

var (
	states = []string{"AZ", "CA", "ID", "OR", "WA", "WY"}
	cities = []string{"Phoenix", "Los Angeles", "San Francisco", "Boise", "Portland", "Bend", "Redmond", "Seattle", "Kent", "Cheyenne"}
	names  = []string{"Peter", "Paul", "Luke", "John", "Saul", "Vicky", "Kate", "Julie", "Sarah", "Deiter", "Walter"}
)

func (h *house) one(of []string) string { return of[h.rnd.IntN(len(of))] }

func (h *house) person(n uint64) person {
	return person{ID: firstPerson + lastPerson(n), Name: h.one(names), City: h.one(cities), State: h.one(states), At: at(n)}
}

func (h *house) auction(n uint64) auction {
	seller := h.someone(n)
	if h.rnd.IntN(4) > 0 {
		seller = lastPerson(n) / hotEach * hotEach
	}
	// Some openAuctions are open at a time.
	horizon := at(n+openAuctions*allShares/auctionShare) - at(n)
	return auction{
		ID: firstAuction + lastAuction(n), Seller: firstPerson + seller, Category: firstCategory + h.rnd.Uint64N(categories),
		Item: fmt.Sprintf("lot %d", n), At: at(n), Expires: at(n) + 1 + h.rnd.Int64N(max(2*horizon, 1)),
	}
}

func (h *house) bid(n uint64) bid {
	last := lastAuction(n)
	on := last / hotEach * hotEach
	if h.rnd.IntN(2) == 0 {
		first := last - min(last, openAuctions)
		on = first + h.rnd.Uint64N(last-first+1+lead)
	}
	bidder := h.someone(n)
	if h.rnd.IntN(4) > 0 {
		bidder = lastPerson(n)/hotEach*hotEach + 1
	}
	return bid{Auction: firstAuction + on, Bidder: firstPerson + bidder, Price: uint64(math.Round(math.Pow(10, h.rnd.Float64()*6) * 100)), At: at(n)}
}

// someone is a person of the latest ones, or one that is to come.
func (h *house) someone(n uint64) uint64 {
	people := lastPerson(n) + 1
	active := min(people, activePeople)
	return people - active + h.rnd.Uint64N(active+lead)
}
