package projection

import (
	"fmt"
	"iter"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/problem"
	"github.com/tidemark-es/tidemark/snapshot"
	"github.com/tidemark-es/tidemark/timeframe"
)

// Projection is what Start takes: a *Table, or a *Unit of several.
type Projection interface {
	projections() (unit string, nodes []*node)
}

// node is the part of a projection that doesn't depend on its types: what it
// reads, where it stands, and how its state is changed, saved and restored.
// Everything that the runtime does is compiled once, for nodes.
type node struct {
	name       string
	version    uint64
	codec      eventlog.Codec
	state      state
	migrations map[uint64]migration
	hops       map[uint64]hop // that migrations are made of
	modelHops  map[uint64]migrateBytes
	shape      string // of key and value types
	means      string // its meaning, from the start on
	derived    bool   // a function of the present rows of what it reads
	unsaved    bool   // not in snapshots
	uncut      bool   // by the runtime's choice nothing is saved; from the start on
	equal      any    // func(a, b V) bool, or nil
	priority   int
	lazy       *demand // nil: it isn't Lazy
	history    int     // changes kept for watchers; 0: while there are any
	failures   failing
	park       *parking      // what is set aside; nil where nothing can be
	of         *node         // whose parking this node is; nil for all others
	passes     bool          // over events of unknown types
	unknown    atomic.Uint64 // such events, since the start

	mu       sync.Mutex // guards handlers and ups until the start, and log after it
	handlers map[string]map[string]handler
	ups      []*edge
	// feeds are those that the node handles events of; from the start on also
	// those behind the tables that it reads.
	feeds    map[string]*eventlog.Feed
	problems problem.List
	started  bool
	late     func(problem string)
	unit     *unit

	// Below: owned by the unit's goroutine, and read by others under the
	// unit's lock.
	pos      map[string]uint64 // feed -> last applied sequence; absent: none, from the start
	stopped  *StoppedError
	dormant  bool // it is a sleeper that nobody needs: it has no rows
	recovery Recovery
	applied  uint64 // events, since the start
	seen     []seenDigest
	diverged *DivergedError
	told     map[divergence]bool // of the snapshots that there are
	lost     *LossError          // a row that a snapshot wouldn't bring back; nil: none is known
	// reset: the next save must hold the whole state, since the base holds
	// another one of this projection, or none.
	reset bool
	step  stepping
	plan  planned

	par    parallel // handled ahead of the walk; nil: by it
	out    upstream // the state's changes; nil where it can't say them
	downs  []*node  // that read this one
	dozing int      // of those, the ones that are dormant
	// watched: the changes of each step are published.
	watched atomic.Bool
}

// handler applies one event; its type parameters are gone.
type handler func(e eventlog.Event) error

// migration decodes a value of an older version into the present one's key
// and value, as the state's load takes them.
type migration any

// state is a table's storage. All methods are called by the unit's goroutine
// alone, the mutating ones between lock and unlock.
type state interface {
	lock()
	unlock()
	commit()   // keep what the handlers changed since the last commit
	rollback() // undo it
	misused() error
	size() int // of late: it may be called at any time, by anybody

	// cut captures what changed since the last cut, in a time that depends
	// on that alone, and starts a new cut.
	cut() capture
	// peek is cut without starting a new one; its encode must not be called.
	peek() capture
	// requeue counts a capture that couldn't be saved as changed again.
	requeue(capture)
	// touchAll counts every key as changed; cut follows at once.
	touchAll()
	// load builds a state from entries, each with its digest and lent for one
	// step, beside the present one, and swaps it in when all of them were good.
	// clean says whether the entries are what the next save is relative to.
	load(entries iter.Seq2[snapshot.Change, error], m migration, clean bool) error
	// clear makes the state empty.
	clear()
}

// bounded is a state whose values are decoded within the limit of a log.
type bounded interface{ boundedBy(c eventlog.Codec) }

// capture is what changed between two cuts. encode and digest may run beside
// the reducers, but not beside those of other captures of the same state, and
// only in the order in which the captures were taken.
type capture interface {
	len() int
	// encode also brings the state's digest up to the cut, which it returns.
	// Where it fails, the digest stays as it was.
	encode() ([]snapshot.Change, snapshot.Digest, error)
	// digest is what encode would return as such; it changes nothing.
	digest() (snapshot.Digest, error)
}

// releaser is a capture whose memory serves again. release is called at most
// once, and last.
type releaser interface{ release() }

// feedNames are the feeds that the node reads, in order.
func (n *node) feedNames() []string {
	names := make([]string, 0, len(n.feeds))
	for f := range n.feeds {
		names = append(names, f)
	}
	slices.Sort(names)
	return names
}

// at is the node's timeframe: whole commits, of every feed that it reads.
func (n *node) at() timeframe.Timeframe {
	m := make(map[string]uint64, len(n.feeds))
	for f := range n.feeds {
		m[f] = n.pos[f]
	}
	tf, _ := timeframe.FromMap(m) // feeds were opened, so their names are valid
	return tf
}

// begin checks a node for its start and marks it as started. Where it was
// before, it says no and changes nothing: another runtime may be running it.
func (n *node) begin(log *eventlog.Log, late func(string), p *problem.List) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range n.problems {
		p.Add("%q: %s", n.name, s)
	}
	if n.started {
		p.Add("%q was started before: make a new one for each start", n.name)
		return false
	}
	if len(n.handlers) == 0 && len(n.ups) == 0 {
		p.Add("%q has no handler, so it would do nothing: add one with On or OnChange", n.name)
	}
	n.validDerived(p)
	n.validFailures(p)
	for _, f := range n.feeds {
		if log != nil && f.Log() != log { // nil: a Rehearsal
			p.Add("%q reads feed %q of another log", n.name, f.Name())
		}
	}
	if b, ok := n.state.(bounded); ok && log != nil {
		n.codec = log.Bounded(n.codec)
		b.boundedBy(n.codec)
	}
	n.started, n.late = true, late
	n.pos = make(map[string]uint64)
	return true
}

// validDerived checks what Derived and Unsaved promise.
func (n *node) validDerived(p *problem.List) {
	switch {
	case n.unsaved && !n.derived:
		p.Add("%q is Unsaved, and not Derived: nothing but a replay could build it", n.name)
	case !n.derived:
	case len(n.handlers) > 0:
		p.Add("%q is Derived, and handles events: these aren't there any more when it is built from rows", n.name)
	case slices.ContainsFunc(n.ups, func(e *edge) bool { return e.kind == readsState }):
		p.Add("%q is Derived, and reads the state of %q by Reads: it wouldn't be told when that changes; use OnChange", n.name, n.reads(readsState))
	}
}

// reads names a table that the node reads in a way.
func (n *node) reads(kind edgeKind) string {
	for _, e := range n.ups {
		if e.kind == kind {
			return e.from.name
		}
	}
	return ""
}

// problem notes what is wrong; after the start it is logged.
func (n *node) problem(format string, a ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.problemLocked(format, a...)
}

func (n *node) problemLocked(format string, a ...any) {
	n.problems.Add(format, a...)
	if n.late != nil {
		n.late(fmt.Sprintf(format, a...))
	}
}

// abandon takes a begin back that came to nothing.
func (n *node) abandon() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.started, n.late = false, nil
}

// unitOf is the node's unit; nil before its start.
func (n *node) unitOf() *unit {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.unit
}

// err is why the node stopped, nil while it runs.
func (n *node) err() error {
	u := n.unitOf()
	if u == nil {
		return nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if n.stopped == nil {
		return nil
	}
	return n.stopped
}
