// Package fastcodec shows how an event type gets generated methods, which
// eventlog finds and uses by itself in place of reflection: several times the
// speed, in the same msgpack, so that a log written without them is read with
// them and the other way round.
//
// A project of one's own needs one line, and `go generate` after each change
// of the types:
//
//	//go:generate go run github.com/tinylib/msgp@v1.6.5 -io=false -tests=false
//
// Here the generator is pinned in tools/go.mod. Two directives, and an option
// of some fields, let both sides read each other:
//
//   - //msgp:tag msgpack: the names of fields are those that reflection uses
//   - //msgp:newtime: times in msgpack's own form, which reflection writes
//   - allownil on slices and maps: reflection writes nil where they are nil,
//     and the methods would refuse it
//
// The bytes are the same but for three things, which both sides read: signed
// numbers above 127, where reflection prefers the unsigned forms; the very
// start of 1970, which reflection writes in fewer bytes; and maps with several
// keys, which reflection sorts. So what is compared by its bytes
// (a digest of rows) is to be of types without such maps, and to keep the
// codec that it began with.
package fastcodec

import "time"

//go:generate go tool -modfile=../../tools/go.mod msgp -io=false -tests=false -o payment_gen.go

//msgp:tag msgpack
//msgp:newtime

// Paid is an event: a payment has been made.
type Paid struct {
	Account string    `msgpack:"account"`
	Cents   int64     `msgpack:"cents"`
	Rate    float64   `msgpack:"rate"`
	At      time.Time `msgpack:"at"`
	Proof   []byte    `msgpack:"proof,allownil"`
	Note    *string   `msgpack:"note"`
	Papers  Papers    `msgpack:"papers"`
}

// Papers is what belongs to a payment.
type Papers struct {
	Lines  []Line            `msgpack:"lines,allownil"`
	Labels map[string]string `msgpack:"labels,allownil"`
}

// Line is a part of a payment.
type Line struct {
	Article string  `msgpack:"article"`
	Count   uint32  `msgpack:"count"`
	Cents   int64   `msgpack:"cents"`
	Tax     float32 `msgpack:"tax"`
	Free    bool    `msgpack:"free"`
}

// Posted is the event of the benchmarks: a line of a ledger, 200 bytes in
// msgpack.
type Posted struct {
	Entry     string `msgpack:"entry"`
	Account   string `msgpack:"account"`
	Contra    string `msgpack:"contra"`
	Cents     uint64 `msgpack:"cents"`
	Currency  string `msgpack:"currency"`
	At        uint64 `msgpack:"at"` // ms since 1970
	Reference string `msgpack:"reference"`
	Text      string `msgpack:"text"`
}

// Balance is the row that the benchmarks' projections keep of each key.
type Balance struct {
	Count uint64 `msgpack:"count"`
	Cents uint64 `msgpack:"cents"`
}
