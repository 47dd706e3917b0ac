package main

import (
	"fmt"
	"slices"
)

// market is all events of an auction house, for queries by plain loops: what
// the tables are compared with.
type market struct {
	persons  []person
	auctions []auction
	bids     []bid
}

func newMarket(seed uint64, events int) (m market) {
	h := newHouse(seed)
	for range events {
		switch e := h.next().(type) {
		case person:
			m.persons = append(m.persons, e)
		case auction:
			m.auctions = append(m.auctions, e)
		case bid:
			m.bids = append(m.bids, e)
		}
	}
	return m
}

// events counts those of feeds.
func (m *market) events(feeds []string) (n int) {
	for _, f := range feeds {
		n += map[string]int{"persons": len(m.persons), "auctions": len(m.auctions), "bids": len(m.bids)}[f]
	}
	return n
}

func (m *market) q3() answers {
	sellers := make(map[uint64]offer)
	for _, p := range m.persons {
		if nearby(p.State) {
			sellers[p.ID] = offer{p.Name, p.City, p.State}
		}
	}
	all := make(answers)
	for _, a := range m.auctions {
		if s, ok := sellers[a.Seller]; ok && a.Category == firstCategory {
			all[a.ID] = s
		}
	}
	return all
}

func (m *market) q4() answers {
	lots := make(map[uint64]int, len(m.auctions))
	for i, a := range m.auctions {
		lots[a.ID] = i
	}
	best := make([]uint64, len(m.auctions))
	for _, b := range m.bids {
		if i, ok := lots[b.Auction]; ok && m.auctions[i].At <= b.At && b.At <= m.auctions[i].Expires {
			best[i] = max(best[i], b.Price)
		}
	}
	var sums, n [firstCategory + categories]uint64
	for i, a := range m.auctions {
		if best[i] > 0 {
			sums[a.Category] += best[i]
			n[a.Category]++
		}
	}
	all := make(answers)
	for c, n := range n {
		if n > 0 {
			all[uint64(c)] = sums[c] / n
		}
	}
	return all
}

func (m *market) q5() answers {
	counts := make(map[windowed]int)
	for _, b := range m.bids {
		for end := b.At - b.At%hop + hop; end <= b.At+hopping; end += hop {
			counts[windowed{end, b.Auction}]++
		}
	}
	top := make(map[int64]hottest)
	for w, n := range counts {
		h := top[w.Window]
		if n > h.Bids {
			h = hottest{Bids: n}
		}
		if n == h.Bids {
			h.Auctions = append(h.Auctions, w.ID)
		}
		top[w.Window] = h
	}
	all := make(answers)
	for end, h := range top {
		slices.Sort(h.Auctions)
		all[end] = h.row()
	}
	return all
}

// row is h as something that can be compared.
func (h hottest) row() any { return fmt.Sprint(h.Bids, h.Auctions) }

func (m *market) q8() answers {
	sellers := make(map[windowed]bool)
	for _, a := range m.auctions {
		sellers[windowed{tumble(a.At), a.Seller}] = true
	}
	all := make(answers)
	for _, p := range m.persons {
		if w := (windowed{tumble(p.At), p.ID}); sellers[w] {
			all[w] = p.Name
		}
	}
	return all
}
