package main

import (
	"fmt"

	"github.com/tinylib/msgp/msgp"
)

// posted is the event of all cases: a line of a ledger, 200 bytes in msgpack.
// Its methods are what `msgp` generates for it.
type posted struct {
	Entry     string `msg:"entry" msgpack:"entry"`
	Account   string `msg:"account" msgpack:"account"`
	Contra    string `msg:"contra" msgpack:"contra"`
	Cents     uint64 `msg:"cents" msgpack:"cents"`
	Currency  string `msg:"currency" msgpack:"currency"`
	At        uint64 `msg:"at" msgpack:"at"` // ms since 1970
	Reference string `msg:"reference" msgpack:"reference"`
	Text      string `msg:"text" msgpack:"text"`
}

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

// MarshalMsg appends z in msgpack to b.
func (z *posted) MarshalMsg(b []byte) ([]byte, error) {
	o := msgp.Require(b, 220)
	o = msgp.AppendMapHeader(o, 8)
	o = msgp.AppendString(msgp.AppendString(o, "entry"), z.Entry)
	o = msgp.AppendString(msgp.AppendString(o, "account"), z.Account)
	o = msgp.AppendString(msgp.AppendString(o, "contra"), z.Contra)
	o = msgp.AppendUint64(msgp.AppendString(o, "cents"), z.Cents)
	o = msgp.AppendString(msgp.AppendString(o, "currency"), z.Currency)
	o = msgp.AppendUint64(msgp.AppendString(o, "at"), z.At)
	o = msgp.AppendString(msgp.AppendString(o, "reference"), z.Reference)
	o = msgp.AppendString(msgp.AppendString(o, "text"), z.Text)
	return o, nil
}

// UnmarshalMsg fills z from bts and returns what is left of it.
func (z *posted) UnmarshalMsg(bts []byte) (o []byte, err error) {
	n, bts, err := msgp.ReadMapHeaderBytes(bts)
	if err != nil {
		return nil, msgp.WrapError(err)
	}
	var field []byte
	for ; n > 0; n-- {
		if field, bts, err = msgp.ReadMapKeyZC(bts); err != nil {
			return nil, msgp.WrapError(err)
		}
		switch msgp.UnsafeString(field) {
		case "entry":
			z.Entry, bts, err = msgp.ReadStringBytes(bts)
		case "account":
			z.Account, bts, err = msgp.ReadStringBytes(bts)
		case "contra":
			z.Contra, bts, err = msgp.ReadStringBytes(bts)
		case "cents":
			z.Cents, bts, err = msgp.ReadUint64Bytes(bts)
		case "currency":
			z.Currency, bts, err = msgp.ReadStringBytes(bts)
		case "at":
			z.At, bts, err = msgp.ReadUint64Bytes(bts)
		case "reference":
			z.Reference, bts, err = msgp.ReadStringBytes(bts)
		case "text":
			z.Text, bts, err = msgp.ReadStringBytes(bts)
		default:
			bts, err = msgp.Skip(bts)
		}
		if err != nil {
			return nil, msgp.WrapError(err, string(field))
		}
	}
	return bts, nil
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
