package main

import "fmt"

// eventName is what the log stores as its type.
const eventName = "posted"

// postedPlain has the same fields and no methods, so that it is decoded by
// reflection, from the same bytes.
type postedPlain struct {
	Entry     string `msgpack:"entry"`
	Account   string `msgpack:"account"`
	Contra    string `msgpack:"contra"`
	Cents     uint64 `msgpack:"cents"`
	Currency  string `msgpack:"currency"`
	At        uint64 `msgpack:"at"`
	Reference string `msgpack:"reference"`
	Text      string `msgpack:"text"`
}

// keyOf is the key of event i: the keys take turns.
func keyOf(i, keys int) string { return fmt.Sprintf("acct-%06d", i%keys) }

// eventOf is event i; all have the same size.
func eventOf(i, keys int) posted {
	return posted{
		Entry:     fmt.Sprintf("01J8ZK4Q6W%016d", i),
		Account:   keyOf(i, keys),
		Contra:    keyOf(i+1, keys),
		Cents:     centsAt(i),
		Currency:  "EUR",
		At:        1_700_000_000_000 + uint64(i),
		Reference: fmt.Sprintf("INV-%010d", i),
		Text:      "monthly invoice, paid by transfer from the business account",
	}
}

// centsAt is the amount of event i; all are encoded in the same size.
func centsAt(i int) uint64 { return uint64(1_000_000 + i%1_000_000) }

// centsOf is the sum of the amounts of the first n events.
func centsOf(n int) (sum uint64) {
	for i := range n {
		sum += centsAt(i)
	}
	return sum
}
