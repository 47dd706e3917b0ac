package projection

import "github.com/tidemark-es/tidemark/eventlog"

// Value is a projection whose state is one value of a plain type, such as a
// struct of totals: a table with one row. It is saved whole when it has
// changed; state that grows with the log belongs into a Table.
//
// As in a table, the value is replaced and never changed in place: a handler
// copies a map, a slice or what a pointer points to before it changes it.
// A state that changes in place is a Model.
type Value[T any] struct{ t *Table[string, T] }

// valueKey is the key of the one row.
const valueKey = ""

// NewValue makes a projection of one value, which is the zero T before the
// first event. Names and options are those of NewTable.
func NewValue[T any](name string, opts ...TableOption) *Value[T] {
	return &Value[T]{t: NewTable[string, T](name, opts...)}
}

// OnValue lets a value handle one type of event of a feed: fn takes the state
// and the event, and returns the new state. Its duties are those of On's, and
// so is what its error or panic does.
func OnValue[T, D any](v *Value[T], feed *eventlog.Feed, fn func(state T, e eventlog.Event, d D) (T, error)) {
	if v == nil {
		return // Start says so
	}
	addHandler(v.t.n, feed, fn == nil, func(e eventlog.Event, d D) error {
		next, err := fn(v.t.tx.Value(valueKey), e, d)
		if err != nil {
			return err
		}
		v.t.tx.Put(valueKey, next)
		return nil
	})
}

// MigrateValue is Migrate for a Value: fn makes the present state of that of
// an older version.
func MigrateValue[Old, T any](from uint64, fn func(old Old) T) TableOption {
	if fn == nil {
		return Migrate[string, Old, T](from, nil)
	}
	return Migrate(from, func(_ string, old Old) (T, bool) { return fn(old), true })
}

func (v *Value[T]) projections() (string, []*node) {
	if v == nil {
		return "", nil
	}
	return v.t.projections()
}

// Name is the projection's name.
func (v *Value[T]) Name() string { return v.t.Name() }

// Get returns the state, the zero T before the first event. It is safe for
// concurrent use; what it returned stays as it is.
func (v *Value[T]) Get() T {
	t := v.t
	t.n.lazy.touch()
	t.mu.read(t.n, "Value.Get")
	defer t.mu.RUnlock()
	s, _ := t.get(valueKey)
	return s
}

// Err is nil while the projection runs, else why it stopped.
func (v *Value[T]) Err() error { return v.t.Err() }
