package projection

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
)

// ErrInHandler: a handler called something that waits until the handler has
// returned. Nothing was read or done.
var ErrInHandler = errors.New("a handler waits for itself")

// InHandlerError is an ErrInHandler. It is what the call panics with; the
// panic ends the handler, whose commit fails by its policy with this error.
// The function of a View that calls it makes View return it.
type InHandlerError struct {
	Call       string // such as "Table.Get"
	Projection string // that it was called of; a unit's name where it is of all
	Use        string // what to use there
	// Circle: the caller is of another unit, which this one waits for as well.
	Circle bool
}

func (e *InHandlerError) Error() string {
	why := "a handler or a View of the same unit called it, and it would wait until that has returned"
	if e.Circle {
		why = "a handler of another unit called it, and a handler of this one waits for that unit: neither would go on"
	}
	return fmt.Sprintf("projection: %s of %q: %v: %s: %s", e.Call, e.Projection, ErrInHandler, why, e.Use)
}

func (e *InHandlerError) Unwrap() error { return ErrInHandler }

// uses says what to use where a call can't be used, by the call.
var uses = map[string]string{
	"Table.Get":       "use the handler's Tx.Get, or Reads for another table; in a View Table.In",
	"Table.Len":       "use the handler's Tx.Len, or Reads for another table; in a View Table.In",
	"Table.All":       "keep what the handler needs in rows that it can get by their key; in a View use Table.In",
	"Table.GetAt":     "use the handler's Tx.Get: it includes all that is before the event; in a View Table.In and Snapshot.At",
	"Partitioned.Get": "use the handler's Row.Get, or let another table handle the changes, by OnChange",
	"Partitioned.Len": "let another table count the rows, by OnChange",
	"Partitioned.All": "let another table read the rows, by OnChange",
	"Value.Get":       "use the state that the handler is given",
	"Model.View":      "use the model that the handler is given",
	"Watch":           "use OnChange",
	"View":            "use the handler's Tx, and Reads for another table; in a View name all tables at once",
}

const useOutside = "call it from outside of handlers, hooks of Config and Views"

// The problem: a handler runs while its unit holds the locks of the unit's
// rows, so that readers never see half of a commit. A handler that reads a
// table of its unit by the readers' methods waits for itself, and with it
// Start, Wait and Close. So does a hook or a View that waits for what its unit
// is to do.
//
// Invariants:
//   - a call whose lock is free at once pays nothing but the try;
//   - a call of which a goroutine is certain that its unit waits for it panics
//     and doesn't wait;
//   - no other call panics.
//
// The goroutine that runs a unit is an insider of it, known by its number.
// The goroutines of partitions live for one run: it would cost too much to
// note them, so they are told by what is on their stack and by the goroutine
// that made them. A goroutine that steps a Rehearsal is told by its stack, too.
//
// An insider of one unit that waits for another one makes the first wait for
// the second; a circle of these is an endless wait as well.
//
// The function of a View holds the locks of its tables, so the same happens
// to it where the unit waits for these. Which unit a View is of isn't noted
// (it would cost more than the View), so a call in a View gives up after
// Config.StuckAfter.
//
// Rejected: a flag in Tx or in the context (the call has neither), labels of
// the profiler (they can't be read), and a number for each run (a microsecond
// a step in the kit).

// insiders are the units by the number of the goroutine (uint64) that they
// can't go on without.
var insiders sync.Map

// enter makes the present goroutine an insider of the unit; leave ends it.
func (u *unit) enter() (leave func()) {
	id := goroutineID()
	before, was := insiders.Swap(id, u)
	return func() {
		if was {
			insiders.Store(id, before)
		} else {
			insiders.Delete(id)
		}
	}
}

// rowsLock guards the rows of a table or of a model. The unit's goroutine
// holds it for a run of handlers.
type rowsLock struct{ sync.RWMutex }

// read is RLock for the calls of users.
func (l *rowsLock) read(n *node, call string) {
	if !l.TryRLock() {
		l.readLater(n, call)
	}
}

func (l *rowsLock) readLater(n *node, call string) {
	u := n.unitOf()
	if u == nil {
		l.RLock()
		return
	}
	defer u.awaited(call, n.name)()
	defer u.warnLater(call, n.name)()
	if !onStack().view {
		l.RLock()
		return
	}
	if !l.readWithin(u.stuckAfter()) {
		panic(newInHandler(call, n.name))
	}
}

// readUntil is RLock for as long as ctx. It is for calls that have said that
// they wait for the unit.
func (l *rowsLock) readUntil(ctx context.Context) error {
	if l.TryRLock() {
		return nil
	}
	locked := make(chan struct{})
	go func() {
		l.RLock()
		select {
		case locked <- struct{}{}:
		case <-ctx.Done():
			l.RUnlock()
		}
	}()
	select {
	case <-locked:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// readWithin is RLock that gives up. The lock has no trial that is as sure to
// succeed as its waiting, so a goroutine waits, and unlocks what comes too late.
func (l *rowsLock) readWithin(d time.Duration) bool {
	locked, late := make(chan struct{}), make(chan struct{})
	go func() {
		l.RLock()
		select {
		case locked <- struct{}{}:
		case <-late:
			l.RUnlock()
		}
	}()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-locked:
		return true
	case <-timer.C:
		close(late)
		return false
	}
}

func newInHandler(call, name string) *InHandlerError {
	use, ok := uses[call]
	if !ok {
		use = useOutside
	}
	return &InHandlerError{Call: call, Projection: name, Use: use}
}

// awaited is called before a goroutine waits for the unit, and over when it
// doesn't any more. It panics where the unit would wait for the goroutine.
func (u *unit) awaited(call, name string) (over func()) {
	self := u.insider()
	if self == nil {
		return func() {}
	}
	if self == u {
		panic(newInHandler(call, name))
	}
	// It is noted before the look, so that of two that close a circle at once
	// one sees the other.
	before := self.awaits.Swap(u)
	for x, left := u, 100; x != nil && left > 0; x, left = x.awaits.Load(), left-1 {
		if x == self {
			self.awaits.Store(before)
			e := newInHandler(call, name)
			e.Circle = true
			panic(e)
		}
	}
	return func() { self.awaits.Store(before) }
}

// insider is the unit that can't go on without the present goroutine: nil for
// none. u is the one that it is about to wait for.
func (u *unit) insider() *unit {
	if of, ok := insiders.Load(goroutineID()); ok {
		return of.(*unit)
	}
	on := onStack()
	switch rehearsed := u.rt.log == nil; {
	case rehearsed && (on.step || on.partition):
		return u
	case on.partition:
		if of, ok := insiders.Load(parentID()); ok {
			return of.(*unit)
		}
	}
	return nil
}

// stackMarks are the functions of this package that the present goroutine is in.
type stackMarks struct {
	step      bool // of a Rehearsal
	partition bool // a partition's share of a run
	view      bool
}

func onStack() (on stackMarks) {
	pcs := make([]uintptr, 256)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs)])
	for {
		f, more := frames.Next()
		if name, ours := strings.CutPrefix(f.Function, packagePath); ours {
			on.step = on.step || name == "(*Rehearsal).step"
			on.partition = on.partition || strings.HasSuffix(name, ").runPart")
			on.view = on.view || name == "viewing" || strings.HasSuffix(name, ").viewing")
		}
		if !more {
			return on
		}
	}
}

const packagePath = "github.com/tidemark-es/tidemark/projection."

// goroutineID is the number of the present goroutine, which the runtime tells
// in the first line of a stack only: "goroutine 18 [running]:".
func goroutineID() uint64 {
	var buf [40]byte
	return idAfter(buf[:runtime.Stack(buf[:], false)], "goroutine ")
}

// parentID is the number of the goroutine that made the present one, from the
// last lines of its stack: "created by … in goroutine 7"; 0 where it isn't told.
func parentID() uint64 {
	buf := make([]byte, 64<<10)
	return idAfter(buf[:runtime.Stack(buf, false)], " in goroutine ")
}

// idAfter is the number behind the last mark.
func idAfter(stack []byte, mark string) (id uint64) {
	at := bytes.LastIndex(stack, []byte(mark))
	if at < 0 {
		return 0
	}
	digits := stack[at+len(mark):]
	end := bytes.IndexFunc(digits, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(digits)
	}
	id, _ = strconv.ParseUint(string(digits[:end]), 10, 64)
	return id
}
