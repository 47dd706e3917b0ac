package projection

import (
	"bytes"
	"context"
	"fmt"
)

// snapshotTries is how often a model is asked for a second snapshot that is
// like the stored one: one that walks a map writes it in many orders.
const snapshotTries = 8

// begin compares a model that has a method Equal(T) bool, and saves itself, with
// what its Snapshot brings back. Without that method what Snapshot leaves out
// can't be found from outside.
func (m *Model[T]) begin() {
	by, ok := any(m.model).(interface{ Equal(T) bool })
	if _, saves := m.store.(*modelBytes[T]); !ok || !saves || m.torn.Load() {
		return
	}
	err := func() (err error) {
		defer contain(&err)
		var b bytes.Buffer
		if err := any(m.model).(Snapshotter).Snapshot(&b); err != nil {
			return nil // the save says so
		}
		back, err := m.restored(b.Bytes())
		if err == nil && !by.Equal(back) {
			err = m.loss("the model", "one that isn't Equal to it")
		}
		return err
	}()
	m.unequal.Store(&err)
}

func (m *Model[T]) end() { m.unequal.Store(nil) }

// compare restores what a model has saved into an empty one. What that one
// saves must be the same bytes; where it saves others each time, they say
// nothing. A model that is saved as its events has nothing to compare.
func (m *Model[T]) compare(_ context.Context, e entries) (n uint64, err error) {
	defer contain(&err)
	var data []byte
	for c, err := range e {
		if err != nil {
			return n, err
		}
		data = append(data, c.Value...)
		n++
	}
	if _, saves := m.store.(*modelBytes[T]); !saves || n == 0 {
		return n, nil
	}
	if unequal := m.unequal.Load(); unequal != nil && *unequal != nil {
		return n, *unequal
	}
	return n, m.savesAgain(data)
}

func (m *Model[T]) savesAgain(data []byte) error {
	back, err := m.restored(data)
	if err != nil {
		return err
	}
	var first []byte
	for i := range snapshotTries {
		var b bytes.Buffer
		if err := any(back).(Snapshotter).Snapshot(&b); err != nil {
			return m.loss("saved", "a model that can't be saved: "+err.Error())
		}
		switch {
		case bytes.Equal(b.Bytes(), data):
			return nil
		case i == 0:
			first = b.Bytes()
		case !bytes.Equal(b.Bytes(), first):
			return nil // in another order each time
		}
	}
	at := 0
	for at < min(len(first), len(data)) && first[at] == data[at] {
		at++
	}
	return m.loss(fmt.Sprintf("saved as %d bytes", len(data)), fmt.Sprintf("a model that is saved as %d bytes, others from byte %d on", len(first), at))
}

// restored is a new model of saved bytes.
func (m *Model[T]) restored(data []byte) (back T, err error) {
	if back, err = m.make(); err != nil {
		return back, err
	}
	if err := any(back).(Snapshotter).Restore(bytes.NewReader(data)); err != nil {
		return back, m.loss("saved", "an error: "+err.Error())
	}
	return back, nil
}

func (m *Model[T]) loss(stored, back string) error {
	return &LossError{Projection: m.n.name, Stored: stored, Back: back}
}
