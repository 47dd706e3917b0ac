package snapshot

import (
	"bytes"
	"iter"
)

// merge walks over several segments at once, sorted by key; of equal keys the
// newest segment's entry wins and the others are passed over. Tombstones are
// yielded only if asked for. What is yielded is lent until the next step; an
// error is the last step.
//
// The cursors form a binary heap. Most of a state lies in the oldest segment,
// so usually one cursor stays at the root and a step costs two comparisons.
func merge(cursors []*cursor, tombstones bool) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		m := merger{heap: make([]*cursor, 0, len(cursors))}
		for _, c := range cursors {
			if err := m.push(c); err != nil {
				yield(Change{}, err)
				return
			}
		}
		for len(m.heap) > 0 {
			top := m.heap[0]
			if (tombstones || !top.deleted) && !yield(Change{Key: top.key, Value: top.value, Deleted: top.deleted}, nil) {
				return
			}
			if err := m.advance(); err != nil {
				yield(Change{}, err)
				return
			}
		}
	}
}

type merger struct {
	heap []*cursor // each stands at an entry; the root is the least
	last []byte    // the key that was yielded last
}

// push steps a new cursor to its first entry and takes it in.
func (m *merger) push(c *cursor) error {
	ok, err := c.step()
	if err != nil || !ok {
		return err
	}
	m.heap = append(m.heap, c)
	for i := len(m.heap) - 1; i > 0; {
		parent := (i - 1) / 2
		if !less(m.heap[i], m.heap[parent]) {
			break
		}
		m.heap[i], m.heap[parent] = m.heap[parent], m.heap[i]
		i = parent
	}
	return nil
}

// advance moves the root on, and with it all that stand at the same key.
func (m *merger) advance() error {
	if len(m.heap) == 1 {
		return m.stepRoot()
	}
	m.last = append(m.last[:0], m.heap[0].key...)
	for {
		if err := m.stepRoot(); err != nil {
			return err
		}
		if len(m.heap) == 0 || !bytes.Equal(m.heap[0].key, m.last) {
			return nil
		}
	}
}

// stepRoot moves the root's cursor and restores the heap.
func (m *merger) stepRoot() error {
	ok, err := m.heap[0].step()
	if err != nil {
		return err
	}
	if !ok {
		end := len(m.heap) - 1
		m.heap[0] = m.heap[end]
		m.heap = m.heap[:end]
	}
	m.siftDown()
	return nil
}

func (m *merger) siftDown() {
	for i := 0; ; {
		least, left, right := i, 2*i+1, 2*i+2
		if left < len(m.heap) && less(m.heap[left], m.heap[least]) {
			least = left
		}
		if right < len(m.heap) && less(m.heap[right], m.heap[least]) {
			least = right
		}
		if least == i {
			return
		}
		m.heap[i], m.heap[least] = m.heap[least], m.heap[i]
		i = least
	}
}

// less orders by key, and the newer first among equal ones.
func less(a, b *cursor) bool {
	if c := bytes.Compare(a.key, b.key); c != 0 {
		return c < 0
	}
	return a.age > b.age
}
