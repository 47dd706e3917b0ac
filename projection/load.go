package projection

import (
	"fmt"
	"iter"

	"github.com/tidemark-es/tidemark/snapshot"
)

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
	f := newFiller(t, clean)
	defer f.stop()
	migrate, _ := m.(migrateRow[K, V])
	for e, err := range entries {
		if err == nil {
			err = f.add(e, migrate)
		}
		if err != nil {
			return err
		}
	}
	if err := f.finish(); err != nil {
		return err
	}
	t.take(f)
	return nil
}

// take swaps in what a filler that has finished holds.
func (t *Table[K, V]) take(f *filler[K, V]) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rows, t.dirty, t.whole, t.undo, t.digest = f.rows, f.dirty, !f.clean, nil, f.digest
	t.gathered, t.joined = nil, nil
	t.uncompare()
	t.swapped(f.number)
	t.replaced()
}

func (t *Table[K, V]) clear() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rows, t.dirty, t.whole, t.undo, t.digest = make(map[K]*row[V]), nil, false, nil, snapshot.Digest{}
	t.gathered, t.joined = nil, nil
	t.uncompare()
	t.swapped(0)
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
