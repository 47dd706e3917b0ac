package projection

import (
	"errors"
	"io"
	"sync/atomic"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/timeframe"
)

// Snapshotter is what a model may have so that it is saved as it wants. It is
// found when the model is registered (NewModel); a model without it is saved
// as the events that it has consumed, and restored by handling them again.
type Snapshotter interface {
	// Snapshot writes the whole state. It must not change the model. Events
	// wait for it; a model that is large should be a Capturer as well.
	Snapshot(w io.Writer) error
	// Restore makes an empty model what Snapshot has written. What it leaves
	// unread is ignored.
	Restore(r io.Reader) error
}

// Capturer is what a Snapshotter may have so that events don't wait while it
// is written.
type Capturer interface {
	// Capture is called instead of Snapshot. It returns at once, and write is
	// called later, on another goroutine, while the model changes: it must
	// write the state that the model had when Capture was called.
	Capture() (write func(w io.Writer) error, err error)
}

// Model is a projection whose state is a value of the user's own that
// handlers change in place: a graph, an index, a simulation. It is saved
// through Snapshotter where it has that; else the commits that it consumed
// are saved, each once, and replayed at the next start without the log.
//
// A Table is saved in proportion to what changed, and has undo; a Model is for
// state that doesn't fit into one. A handler that fails may leave a model
// half changed, unless that is an Undoer: it can't be looked at any more then
// (View says why), isn't saved, and the next start restores it from before that
// event.
type Model[T any] struct {
	n     *node
	fresh func() T

	mu    rowsLock
	model T
	// target is what handlers change: the model, or while loading the one
	// that takes its place. Both belong to who applies.
	target  T
	loading bool
	torn    atomic.Bool // a commit was applied in part, and can't be undone
	undoer  Undoer      // the model, where it can take back; else nil
	why     error       // it is torn, where it could
	// unequal: what its Snapshot brings back isn't Equal to it; see begin.
	unequal atomic.Pointer[error]

	store modelStore[T]
}

// modelStore is how a model is saved and restored: the two kinds of them.
type modelStore[T any] interface {
	// consumed is told each event that a handler takes, before that.
	consumed(e eventlog.Event) error
	// capture returns what has to be written, beside the handlers.
	capture(model T) capture
	peek(model T) capture
	requeue(capture)
	discard() // what another process saves; touchAll is called before the next save
	touchAll()
	// load fills an empty model. done is called when it takes the place of
	// the present one.
	load(model T, entries entries, m migration, clean bool) (done func(), err error)
	clear()
}

// NewModel makes a projection of the user's own model. fresh makes an empty
// one: at the start, and for each restore. The name is stored: lower-case
// letters, digits and '-', at most 64. Options are Version and MigrateModel, and
// for an Undoer OnFailure and OnRebuildFailure.
// What is wrong is reported by Start.
func NewModel[T any](name string, fresh func() T, opts ...TableOption) *Model[T] {
	m := &Model[T]{fresh: fresh}
	m.n = &node{
		name: name, state: m, reset: true,
		handlers: make(map[string]map[string]handler),
		feeds:    make(map[string]*eventlog.Feed),
	}
	if err := timeframe.ValidName(name); err != nil {
		m.n.problems.Add("name: %v", err)
	}
	for _, o := range opts {
		if o != nil {
			o.applyTable(m.n)
		}
	}
	if m.n.codec != nil || m.n.hops != nil {
		m.n.problems.Add("Codec and Migrate are for tables; a model has MigrateModel")
	}
	var err error
	if fresh == nil {
		err = errors.New("nil function that makes the model")
	} else {
		m.model, err = m.make()
	}
	if err != nil {
		m.n.problems.Add("model: %v", err)
		m.fresh = func() (zero T) { return zero }
	}
	m.target = m.model
	_, snapshots := any(m.model).(Snapshotter)
	if snapshots {
		m.n.shape, m.n.codec = "model", modelCodec("model-bytes")
		m.store = &modelBytes[T]{}
		m.undoing(m.model)
	} else {
		m.n.shape, m.n.codec = "model", modelCodec("model-events")
		m.store = &modelEvents[T]{n: m.n}
	}
	m.policies()
	m.n.migrations = make(map[uint64]migration)
	for from, fn := range m.n.modelHops {
		if from >= m.n.version {
			m.n.problems.Add("migration from version %d to %d", from, m.n.version)
		}
		if (fn != nil) != snapshots {
			m.n.problems.Add("migration from version %d: a model with Snapshot and Restore needs a function, one without takes nil", from)
		}
		m.n.migrations[from] = fn
	}
	return m
}

// modelCodec names how a model is stored. Nothing is encoded by it: keys and
// values are bytes already.
type modelCodec string

func (c modelCodec) Name() string { return string(c) }

func (c modelCodec) Append(dst []byte, v any) ([]byte, error) {
	return dst, errors.New("codec " + string(c) + " encodes no values")
}

func (c modelCodec) Decode([]byte, any) error {
	return errors.New("codec " + string(c) + " decodes no values")
}

// MigrateModel lets a model with Snapshot and Restore be restored from the
// snapshots of an older version: fn reads what that version's Snapshot wrote,
// and writes what the present Restore reads. For a model that is saved as its
// events fn is nil: they are handled by the present handlers, which is what a
// new version is for, and no log is needed.
func MigrateModel(from uint64, fn func(old io.Reader, present io.Writer) error) TableOption {
	return tableOption(func(n *node) {
		if n.modelHops == nil {
			n.modelHops = make(map[uint64]migrateBytes)
		}
		if _, double := n.modelHops[from]; double {
			n.problems.Add("two migrations from version %d", from)
		}
		n.modelHops[from] = fn
	})
}

// migrateBytes is a migration of a model's bytes.
type migrateBytes func(old io.Reader, present io.Writer) error

// OnModel lets a model handle one type of event of a feed: fn changes the
// model in place. Its duties are those of On's handlers. Don't keep the model
// beyond the call.
func OnModel[T, D any](m *Model[T], feed *eventlog.Feed, fn func(model T, e eventlog.Event, d D) error) {
	if m == nil {
		return // Start says so
	}
	addHandler(m.n, feed, fn == nil, func(e eventlog.Event, d D) error {
		if !m.loading {
			if err := m.store.consumed(e); err != nil {
				return err
			}
		}
		return fn(m.target, e, d)
	})
}

func (m *Model[T]) projections() (string, []*node) {
	if m == nil {
		return "", nil
	}
	return m.n.name, m.n.withParking()
}

// Name is the projection's name.
func (m *Model[T]) Name() string { return m.n.name }

// View calls fn with the model, which doesn't change meanwhile: events wait,
// so be short. fn must neither change the model nor keep it, nor what it
// points to. The error is a *StoppedError where an event could be handled in
// part only; fn isn't called then. fn's panic is a *PanicError.
func (m *Model[T]) View(fn func(model T)) (err error) {
	m.mu.read(m.n, "Model.View")
	defer m.mu.RUnlock()
	defer contain(&err)
	if m.torn.Load() {
		return m.tornErr()
	}
	m.viewing(fn)
	return nil
}

// viewing is what tells a View's function on the stack; see onStack.
func (m *Model[T]) viewing(fn func(model T)) { fn(m.model) }

// Err is nil while the projection runs, else why it stopped.
func (m *Model[T]) Err() error { return m.n.err() }

func (m *Model[T]) tornErr() error {
	if err := m.n.err(); err != nil {
		return err
	}
	return ErrStopped // the moment before the reason is known
}

// make makes an empty model; the user's function may panic.
func (m *Model[T]) make() (model T, err error) {
	defer contain(&err)
	return m.fresh(), nil
}
