package projection

import (
	"fmt"
	"iter"

	"github.com/tidemark-es/tidemark/snapshot"
)

// rowBlock is how many rows are allocated at once. A block lives as long as one
// of its rows.
const rowBlock = 256

// maxExpected bounds what is allocated on the word of a manifest.
const maxExpected = 1 << 22

// expect says about how many entries load will get: a map that grows while it
// is filled takes half as long again.
func (t *Table[K, V]) expect(m snapshot.MemberState) {
	t.expected = 0
	for _, s := range m.Segments {
		t.expected = max(t.expected, int(min(s.Entries, maxExpected)))
	}
}

func (t *Table[K, V]) load(entries iter.Seq2[snapshot.Change, error], m migration, clean bool) (err error) {
	defer contain(&err)
	rows := make(map[K]*row[V], t.expected)
	var digest snapshot.Digest
	var dirty []touched[K, V]
	var block []row[V] // rows are allocated many at a time
	cut := t.epoch
	if clean {
		cut = 0
	}
	migrate, _ := m.(migrateRow[K, V])
	for e, err := range entries {
		if err != nil {
			return err
		}
		key, err := t.keys.decode(e.Key)
		if err != nil {
			return fmt.Errorf("%w: key %x: %w", snapshot.ErrCorrupt, e.Key, err)
		}
		if len(block) == 0 {
			block = make([]row[V], rowBlock)
		}
		r := &block[0]
		r.cut = cut
		keep := true
		if migrate != nil { // what it adds to the digest is found out when it is saved
			r.value, keep, err = migrate(t.n.codec, key, e.Value)
		} else {
			r.digest = e.Digest
			digest = digest.Plus(e.Digest)
			err = t.n.codec.Decode(e.Value, &r.value)
		}
		if err != nil {
			return fmt.Errorf("%w: value of key %v: %w", snapshot.ErrCorrupt, key, err)
		}
		if !keep {
			continue
		}
		block = block[1:]
		rows[key] = r
		if !clean {
			dirty = append(dirty, touched[K, V]{key, r})
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rows, t.dirty, t.whole, t.undo, t.digest = rows, dirty, !clean, nil, digest
	t.replaced()
	return nil
}

func (t *Table[K, V]) clear() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rows, t.dirty, t.whole, t.undo, t.digest = make(map[K]*row[V]), nil, false, nil, snapshot.Digest{}
	t.replaced()
}

// withDigests passes entries on, each with its digest, and ends in an error
// where all together don't have the digest that the member has: the store may
// be one that compares nothing.
func withDigests(entries iter.Seq2[snapshot.Change, error], member snapshot.MemberState) iter.Seq2[snapshot.Change, error] {
	return func(yield func(snapshot.Change, error) bool) {
		var sum snapshot.Digest
		for e, err := range entries {
			if err == nil {
				if e.Digest == (snapshot.Digest{}) {
					e.Digest = snapshot.DigestOf(e.Key, e.Value)
				}
				sum = sum.Plus(e.Digest)
			}
			if !yield(e, err) {
				return
			}
		}
		if want, ok := snapshot.DigestFrom(member.Digest); ok && want != sum {
			yield(snapshot.Change{}, fmt.Errorf("%w: the state has digest %s, the manifest says %s", snapshot.ErrCorrupt, sum, want))
		}
	}
}
