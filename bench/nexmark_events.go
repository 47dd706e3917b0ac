package main

import "github.com/tinylib/msgp/msgp"

// The three events of NEXMARK, an auction house (Tucker, Tufte, Papadimos,
// Maier: "NEXMark – A Benchmark for Queries over Data Streams", 2008), with
// the fields that the queries here look at. All times are milliseconds of the
// auction house's own clock. In msgpack each is an array of its fields.
type (
	person struct {
		ID                uint64
		Name, City, State string
		At                int64
	}
	auction struct {
		ID, Seller, Category uint64
		Item                 string
		At, Expires          int64
	}
	bid struct {
		Auction, Bidder, Price uint64
		At                     int64
	}
)

// MarshalMsg appends p to b.
func (p *person) MarshalMsg(b []byte) ([]byte, error) {
	b = msgp.AppendUint64(msgp.AppendArrayHeader(b, 5), p.ID)
	b = msgp.AppendString(msgp.AppendString(msgp.AppendString(b, p.Name), p.City), p.State)
	return msgp.AppendInt64(b, p.At), nil
}

// UnmarshalMsg fills p from b and returns what is left of it.
func (p *person) UnmarshalMsg(b []byte) ([]byte, error) {
	d := fields{b: b}
	d.begin(5)
	p.ID, p.Name, p.City, p.State, p.At = d.uint(), d.string(), d.string(), d.string(), d.int()
	return d.b, d.err
}

// MarshalMsg appends a to b.
func (a *auction) MarshalMsg(b []byte) ([]byte, error) {
	b = msgp.AppendUint64(msgp.AppendArrayHeader(b, 6), a.ID)
	b = msgp.AppendUint64(msgp.AppendUint64(b, a.Seller), a.Category)
	return msgp.AppendInt64(msgp.AppendInt64(msgp.AppendString(b, a.Item), a.At), a.Expires), nil
}

// UnmarshalMsg fills a from b and returns what is left of it.
func (a *auction) UnmarshalMsg(b []byte) ([]byte, error) {
	d := fields{b: b}
	d.begin(6)
	a.ID, a.Seller, a.Category, a.Item, a.At, a.Expires = d.uint(), d.uint(), d.uint(), d.string(), d.int(), d.int()
	return d.b, d.err
}

// MarshalMsg appends o to b.
func (o *bid) MarshalMsg(b []byte) ([]byte, error) {
	b = msgp.AppendUint64(msgp.AppendArrayHeader(b, 4), o.Auction)
	return msgp.AppendInt64(msgp.AppendUint64(msgp.AppendUint64(b, o.Bidder), o.Price), o.At), nil
}

// UnmarshalMsg fills o from b and returns what is left of it.
func (o *bid) UnmarshalMsg(b []byte) ([]byte, error) {
	d := fields{b: b}
	d.begin(4)
	o.Auction, o.Bidder, o.Price, o.At = d.uint(), d.uint(), d.uint(), d.int()
	return d.b, d.err
}

// fields reads an array of msgpack, up to the first error.
type fields struct {
	b   []byte
	err error
}

func (d *fields) begin(want uint32) {
	n, b, err := msgp.ReadArrayHeaderBytes(d.b)
	if d.b, d.err = b, err; err == nil && n != want {
		d.err = msgp.ArrayError{Wanted: want, Got: n}
	}
}

func (d *fields) uint() uint64   { return next(d, msgp.ReadUint64Bytes) }
func (d *fields) int() int64     { return next(d, msgp.ReadInt64Bytes) }
func (d *fields) string() string { return next(d, msgp.ReadStringBytes) }

func next[T any](d *fields, read func([]byte) (T, []byte, error)) (v T) {
	if d.err == nil {
		v, d.b, d.err = read(d.b)
	}
	return v
}
