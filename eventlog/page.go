package eventlog

import "fmt"

// page is a piece of an archive: memory, and the messages that stand in it. It
// goes from the one who unpacks to the one who reads, and back.
type page struct {
	buf   []byte
	slots []slot
	read  int // slots that were lent
}

const (
	// pageSize is what a page is made with: a block, as the server makes
	// them, and what is left of an entry in the one before.
	pageSize = 1<<20 + 64<<10
	// pageSpare is the largest page that is used again.
	pageSpare = 4 * pageSize
)

// release is called when nobody may look at the page's messages any more: what
// was lent ends here.
func (p *page) release() {
	p.buf = p.buf[:0]
	p.slots, p.read = p.slots[:0], 0
}

// pager turns an archive, which comes in pieces of any size, into pages.
type pager struct {
	arch    archive
	packed  []byte // not yet a whole frame
	page    *page  // being filled
	parsed  int    // bytes of it that are parsed
	need    int    // bytes that it has to have for the next entry
	newPage func() *page
}

// write takes the next piece and hands over each page that is full.
func (g *pager) write(piece []byte, full func(*page) error) error {
	g.packed = append(g.packed, piece...)
	used := 0
	defer func() { g.packed = append(g.packed[:0], g.packed[used:]...) }()
	for {
		size, kind, data, err := frame(g.packed[used:])
		if err != nil || size == 0 {
			return err
		}
		used += size
		if data == nil {
			continue
		}
		if g.arch.ended {
			return fmt.Errorf("%w: a block behind its end", errArchive)
		}
		if err := g.fill(kind, data); err != nil {
			return err
		}
		if len(g.page.slots) > 0 {
			if err := g.turn(full); err != nil {
				return err
			}
		}
	}
}

// fill unpacks a frame behind what the page has, and parses that.
func (g *pager) fill(kind byte, data []byte) error {
	n, err := frameLen(kind, data)
	if err != nil {
		return err
	}
	if g.page == nil {
		g.page = g.newPage()
	}
	p := g.page
	if have := len(p.buf); cap(p.buf)-have < n {
		// Nothing of this page is lent yet, so it can move.
		b := make([]byte, have, max(have+n, g.need+pageSize))
		copy(b, p.buf)
		p.buf = b
	}
	at := len(p.buf)
	p.buf = p.buf[:at+n]
	if err := unpack(p.buf[at:], kind, data); err != nil {
		return err
	}
	if len(p.buf)-g.parsed < g.need {
		return nil
	}
	p.slots, g.parsed, g.need, err = g.arch.parse(p.buf, g.parsed, p.slots)
	return err
}

// turn hands the page over, and begins another with what is left in it.
func (g *pager) turn(full func(*page) error) error {
	p := g.page
	left := p.buf[g.parsed:]
	g.page, g.parsed = nil, 0
	if len(left) > 0 {
		g.page = g.newPage()
		g.page.buf = append(g.page.buf[:0], left...)
	}
	return full(p)
}
