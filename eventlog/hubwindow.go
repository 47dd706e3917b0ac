package eventlog

import (
	"cmp"
	"errors"
	"slices"
)

// put adds a message to the window.
func (r *hubRun) put(m message) {
	n := len(r.chunks)
	if n == 0 || len(r.chunks[n-1]) == hubChunk {
		r.chunks = append(r.chunks, make([]message, 0, hubChunk))
		n++
	}
	r.chunks[n-1] = append(r.chunks[n-1], m)
	r.upto = m.seq
	r.count++
	r.bytes += m.size()
	// Whole chunks go, so the window is shorter than its bound by up to one.
	for len(r.chunks) > 1 && (r.count > hubMessages || r.bytes > hubBytes) {
		for i := range r.chunks[0] {
			r.bytes -= r.chunks[0][i].size()
		}
		r.count -= len(r.chunks[0])
		r.floor = r.chunks[0][hubChunk-1].seq
		r.chunks = slices.Delete(r.chunks, 0, 1)
	}
}

var errFellBehind = errors.New("the follower fell out of the hub's window")

// take returns what there is behind m.pos, in order; errFellBehind where the
// window doesn't hold all of it any more, and idle where nothing comes for
// the moment. What is returned is shared, and never changes.
func (r *hubRun) take(m *member) (msgs []message, idle bool, err error) {
	r.h.mu.Lock()
	defer r.h.mu.Unlock()
	idle, m.idle = m.idle, false
	if r.err != nil {
		return nil, false, r.err
	}
	if m.subject != "" {
		msgs, err = r.takeKey(m)
		return msgs, idle, err
	}
	if m.pos < r.floor {
		return nil, false, errFellBehind
	}
	if err := r.recognise(m); err != nil {
		return nil, false, err
	}
	if rest := r.behind(m.pos); len(rest) > 0 {
		msgs = rest
		m.pos = rest[len(rest)-1].seq
	}
	return msgs, idle, err
}

// recognise makes sure that what m has read by itself is what the hub read,
// as soon as the hub is there: if one of them read before the log lost its
// tail, and the other when it had grown again, the numbers don't tell.
func (r *hubRun) recognise(m *member) error {
	var there mark
	switch {
	case m.known.seq == 0 || m.known.seq > r.upto:
		return nil
	case m.known.seq == r.known.seq:
		there = r.known
	case m.known.seq <= r.floor:
		return errFellBehind
	default:
		there = markOf(&r.behind(m.known.seq - 1)[0])
	}
	if there != m.known {
		return &RangeError{Feed: r.h.f.name, Want: m.known.seq + 1, Last: r.upto, class: ErrLostTail, reused: true}
	}
	m.known = mark{}
	return nil
}

// behind returns messages that follow on a sequence: the rest of a chunk.
func (r *hubRun) behind(at uint64) []message {
	i, _ := slices.BinarySearchFunc(r.chunks, at+1, func(c []message, seq uint64) int {
		return cmp.Compare(c[len(c)-1].seq, seq)
	})
	if i == len(r.chunks) {
		return nil
	}
	c := r.chunks[i]
	k, _ := slices.BinarySearchFunc(c, at+1, func(m message, seq uint64) int { return cmp.Compare(m.seq, seq) })
	return c[k:len(c):len(c)]
}

// takeKey collects the messages of m's key.
func (r *hubRun) takeKey(m *member) ([]message, error) {
	if m.pending == 0 {
		m.pos = max(m.pos, r.upto)
		return nil, nil
	}
	at := max(m.pending-1, m.pos)
	if at < r.floor {
		return nil, errFellBehind
	}
	clear(m.out)
	m.out = m.out[:0]
	for {
		chunk := r.behind(at)
		if len(chunk) == 0 {
			break
		}
		for i := range chunk {
			if chunk[i].subject == m.subject {
				m.out = append(m.out, chunk[i])
			}
		}
		at = chunk[len(chunk)-1].seq
	}
	m.pending, m.pos = 0, max(m.pos, r.upto)
	return m.out, nil
}
