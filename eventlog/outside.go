package eventlog

import "fmt"

// Outside its log a commit is named by its ID, and never by its position alone:
// a log that has lost its end gives out the same positions again, for other
// events, and two logs give out the same ones.

// Identity names the commit outside its log: it is the commit's ID. A commit
// without an ID of ours (of an adopted feed, or published by another program)
// has <feed>@<sequence>#<fingerprint>, with the fingerprint in hexadecimal; it
// is made at each call. With the key it tells the commit from all others of its
// feed, wherever the feed is restored.
func (c *Commit) Identity() string {
	if !c.unnamed {
		return c.ID
	}
	return fmt.Sprintf("%s@%d#%s", c.Feed, c.Seq, c.Fingerprint())
}

// Identity names the event outside its log: by what its commit is named by
// (Commit.Identity), or the draft where an import has packed several into the
// commit; by which event it is there as it was stored, from 0; and by which of
// those that an upcaster made of that one, from 0. It stays the same at every
// read, after a restore, and when events get upcasters.
func (e Event) Identity() (id string, index, sub int) {
	c := e.commit
	if c == nil {
		return "", 0, 0
	}
	index, sub = e.Stored()
	id = c.Identity()
	stored := len(c.parts)
	if c.evolved != nil {
		stored = c.evolved.stored
	}
	if c.unnamed || stored == 1 {
		return id, index, sub
	}
	if _, packed := c.msg.header.find(headerIDs); packed {
		c.msg.eachID(func(draft []byte, first, n int) bool {
			if index >= first+n {
				return true
			}
			id, index = string(draft), index-first
			return false
		})
	}
	return id, index, sub
}
