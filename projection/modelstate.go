package projection

import (
	"errors"
	"iter"

	"github.com/tidemark-es/tidemark/snapshot"
)

// entries is what a snapshot holds of a projection.
type entries = iter.Seq2[snapshot.Change, error]

// A model as the runtime sees it.

func (m *Model[T]) lock()   { m.mu.Lock() }
func (m *Model[T]) unlock() { m.mu.Unlock() }

func (m *Model[T]) size() int { return 1 }
func (m *Model[T]) touchAll() { m.store.touchAll() }
func (m *Model[T]) requeue(c capture) {
	if _, ok := c.(tornCut); !ok {
		m.store.requeue(c)
	}
}

func (m *Model[T]) isTorn() bool { return m.torn.Load() }

// errTorn keeps a model out of a save: what the snapshot before has of it is
// carried forward.
var errTorn = errors.New("an event was handled in part, and the model can't undo that")

func (m *Model[T]) cut() capture {
	if m.torn.Load() {
		return tornCut{}
	}
	return m.store.capture(m.model)
}

func (m *Model[T]) peek() capture {
	if m.torn.Load() {
		return tornCut{}
	}
	return m.store.peek(m.model)
}

func (m *Model[T]) discard() { m.store.discard() }

type tornCut struct{}

func (tornCut) len() int { return 0 }
func (tornCut) encode() ([]snapshot.Change, snapshot.Digest, error) {
	return nil, snapshot.Digest{}, errTorn
}
func (tornCut) digest() (snapshot.Digest, error) { return snapshot.Digest{}, errTorn }

func (m *Model[T]) load(e entries, mig migration, clean bool) (err error) {
	defer contain(&err)
	model, err := m.make()
	if err != nil {
		return err
	}
	m.target, m.loading = model, true
	defer func() { m.target, m.loading = m.model, false }()
	done, err := m.store.load(model, e, mig, clean)
	if err != nil {
		return err
	}
	m.swap(model)
	done()
	return nil
}

func (m *Model[T]) clear() {
	model, err := m.make()
	m.swap(model)
	if err != nil {
		m.torn.Store(true) // it worked when the model was registered
	}
	m.store.clear()
}

func (m *Model[T]) swap(model T) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.model, m.target = model, model
	m.torn.Store(false)
	m.why = nil
	if m.undoer != nil {
		m.undoing(model)
		m.commit() // there is nothing before that to go back to
	}
}
