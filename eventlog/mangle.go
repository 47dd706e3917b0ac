package eventlog

import "time"

// mangledText and mangledByte are what stands where something was lent.
const (
	mangledText = "\xdb lent: not valid after the next step"
	mangledByte = 0xdb
)

// mangle overwrites what a commit lends; see mangle_on.go.
func (c *Commit) mangle() {
	spoil(c.msg.data)
	spoil(c.msg.header)
	for i := range c.parts {
		spoil(c.parts[i].data)
		c.parts[i].typ = mangledText
	}
	c.Feed, c.Key, c.ID, c.Time = mangledText, mangledText, mangledText, time.Time{}
}

func spoil(b []byte) {
	for i := range b {
		b[i] = mangledByte
	}
}

// mangle overwrites the batch that the reader has lent last, and doesn't use
// its memory again, where a kept commit would become another one.
func (r *Reader) mangle() {
	for i := range r.lent {
		r.lent[i].mangle()
	}
	r.lent, r.batch = nil, nil
}
