package eventlog

import (
	"maps"
	"slices"
	"time"
)

// packer gathers the drafts of each key until they fill a commit. One pack of
// a key is open at a time, so the key's order is the input's.
type packer struct {
	size   int // events of a commit
	ahead  int // events that may wait
	open   map[string]*pack
	queue  []*pack // in the order they were opened; some are closed since
	events int     // in open packs
	spare  [][]importDraft
}

type pack struct {
	drafts []importDraft
	events int
	born   time.Time
	closed bool
}

// packPatience is how long a draft waits for others of its key.
const packPatience = time.Second

// So many packs' memory is kept, of so many drafts each: some megabytes.
const (
	packSpare     = 256
	packSpareSize = 128
)

func newPacker(size, ahead int) *packer {
	return &packer{size: size, ahead: ahead, open: make(map[string]*pack)}
}

// add takes a draft in and returns the packs that are due by it, in order.
func (p *packer) add(d *importDraft, now time.Time) (due [][]importDraft) {
	k := p.open[d.Key]
	if k != nil && (k.events+len(d.Events) > p.size || !packable(&k.drafts[0].Draft, &d.Draft)) {
		due = append(due, p.close(k))
		k = nil
	}
	if len(d.Events) >= p.size {
		return append(due, []importDraft{*d})
	}
	if k == nil {
		k = &pack{born: now}
		if n := len(p.spare); n > 0 {
			k.drafts, p.spare = p.spare[n-1], p.spare[:n-1]
		}
		p.open[d.Key] = k
		p.queue = append(p.queue, k)
	}
	k.drafts = append(k.drafts, *d)
	k.events += len(d.Events)
	p.events += len(d.Events)
	if k.events >= p.size {
		due = append(due, p.close(k))
	}
	for p.events > p.ahead {
		due = append(due, p.first())
	}
	return due
}

// packable says whether two drafts of a key may share a commit.
func packable(a, b *Draft) bool {
	return (a.ID == "") == (b.ID == "") && a.Causation == b.Causation && a.Correlation == b.Correlation &&
		(a.Seen.IsEmpty() && b.Seen.IsEmpty() || a.Seen.String() == b.Seen.String()) && maps.Equal(a.Header, b.Header)
}

// close ends a pack and returns its drafts.
func (p *packer) close(k *pack) []importDraft {
	k.closed = true
	p.events -= k.events
	delete(p.open, k.drafts[0].Key)
	ds := k.drafts
	k.drafts = nil
	return ds
}

// recycle takes the memory of drafts back that close has returned.
func (p *packer) recycle(ds []importDraft) {
	if len(p.spare) < packSpare && cap(ds) <= packSpareSize {
		clear(ds)
		p.spare = append(p.spare, ds[:0])
	}
}

// first closes the pack that is open the longest; nil where none is.
func (p *packer) first() []importDraft {
	p.trim()
	if len(p.queue) == 0 {
		return nil
	}
	return p.close(p.queue[0])
}

// overdue closes a pack that was opened before a time; nil for none.
func (p *packer) overdue(before time.Time) []importDraft {
	p.trim()
	if len(p.queue) == 0 || p.queue[0].born.After(before) {
		return nil
	}
	return p.close(p.queue[0])
}

func (p *packer) trim() {
	for len(p.queue) > 0 && p.queue[0].closed {
		p.queue[0] = nil
		p.queue = p.queue[1:]
	}
}

// drop removes drafts from open packs, and returns how many.
func (p *packer) drop(gone func(*importDraft) bool) (n int) {
	for key, k := range p.open {
		before := len(k.drafts)
		k.drafts = slices.DeleteFunc(k.drafts, func(d importDraft) bool {
			if !gone(&d) {
				return false
			}
			k.events -= len(d.Events)
			p.events -= len(d.Events)
			return true
		})
		n += before - len(k.drafts)
		if len(k.drafts) == 0 {
			k.closed = true
			delete(p.open, key)
		}
	}
	return n
}
