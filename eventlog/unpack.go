package eventlog

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// unpack turns chunks into pages until the backup ends, or has to.
func (r *bulkRun) unpack() {
	defer close(r.pages)
	tick := time.NewTicker(bulkTick)
	defer tick.Stop()
	g := &pager{newPage: r.fresh}
	heard := time.Now()
	for {
		var m *nats.Msg
		if len(r.queue) > 0 {
			m = r.pop()
		} else {
			select {
			case m = <-r.chunks:
				r.pay(m)
			case e := <-r.denied:
				r.err = e
				return
			case <-tick.C:
				if r.err = r.broken(heard); r.err != nil {
					return
				}
				continue
			case <-r.stop:
				return
			}
		}
		if len(m.Data) == 0 { // the server's last word
			if r.whole = g.arch.ended; !r.whole {
				r.err = fmt.Errorf("%w: status %s %s", errBulkShort, m.Header.Get("Status"), m.Header.Get("Description"))
			}
			return
		}
		if r.err = r.inOrder(m); r.err == nil {
			r.err = g.write(m.Data, func(p *page) error { return r.hand(p, tick) })
		}
		if r.err != nil {
			return
		}
		heard = time.Now()
	}
}

// pop takes the oldest of the chunks that wait, and acknowledges it unless
// that was done already.
func (r *bulkRun) pop() *nats.Msg {
	m := r.queue[0]
	r.queue[0] = nil
	r.queue = r.queue[1:]
	if r.paid > 0 {
		r.paid--
		r.credit++
	} else {
		r.pay(m)
	}
	return m
}

func (r *bulkRun) pay(m *nats.Msg) {
	if m.Reply != "" {
		// Where it can't be sent the connection is lost, which is seen soon.
		_ = r.f.log.nc.Publish(m.Reply, nil)
	}
}

// hand hands a page to the reader, however long that takes. Meanwhile it
// acknowledges a chunk now and then, so that the server doesn't give up.
func (r *bulkRun) hand(p *page, tick *time.Ticker) error {
	for {
		select {
		case r.pages <- p:
			return nil
		case <-tick.C:
			if r.credit == 0 {
				continue // the server may give up: what has come is good
			}
			select {
			case m := <-r.chunks:
				r.queue = append(r.queue, m)
			default:
			}
			if r.paid < len(r.queue) {
				r.pay(r.queue[r.paid])
				r.paid++
				r.credit--
			}
		case <-r.stop:
			return errBulkShort
		}
	}
}

// broken says why nothing more is going to come.
func (r *bulkRun) broken(heard time.Time) error {
	nc := r.f.log.nc
	switch {
	case nc.Stats().Reconnects != r.made || !nc.IsConnected():
		return errBulkLost
	case time.Since(heard) > bulkSilence:
		return errBulkSilent
	}
	return nil
}

// inOrder makes sure that no chunk is missing: the reply subject ends with a
// chunk's size and number. The last one has none; behind it comes the
// server's last word, and the archive says whether it was whole.
func (r *bulkRun) inOrder(m *nats.Msg) error {
	if m.Reply == "" {
		return nil
	}
	rest, number, _ := cutLast(m.Reply)
	_, size, _ := cutLast(rest)
	index, err := strconv.ParseUint(number, 10, 64)
	if err != nil || index != r.index+1 || size != strconv.Itoa(len(m.Data)) {
		return fmt.Errorf("%w: %q behind chunk %d", errBulkMissed, m.Reply, r.index)
	}
	r.index = index
	return nil
}

func cutLast(s string) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, '.')
	if i < 0 {
		return "", s, false
	}
	return s[:i], s[i+1:], true
}

// fresh is an empty page.
func (r *bulkRun) fresh() *page {
	select {
	case p := <-r.free:
		return p
	default:
		return &page{buf: make([]byte, 0, pageSize)}
	}
}

// giveBack takes a page that nobody reads any more.
func (r *bulkRun) giveBack(p *page) {
	p.release()
	if cap(p.buf) <= pageSpare {
		select {
		case r.free <- p:
		default:
		}
	}
}
