package projection

import "fmt"

// Undoer is what a Snapshotter may have so that a commit whose handling fails
// leaves no trace in it. Then it may have a FailurePolicy (OnFailure), as a
// table has; and where it stops, it is whole: it can be looked at, and is saved.
//
// All methods are called by the goroutine that calls the handlers. One that
// panics stops the model, as a failed handler stops one that isn't an Undoer.
type Undoer interface {
	Snapshotter
	// Commit keeps what the handlers have changed since the last Commit. It is
	// called behind each commit of the feeds that the model reads, also where
	// no handler changed anything, and behind Restore: keep it cheap.
	Commit()
	// Rollback takes back what the handlers have changed since the last Commit,
	// which may be the events before the one that failed, half of what that did,
	// or nothing.
	Rollback()
}

// undoing finds out, for a model that takes the place of the present one,
// whether it can take back.
func (m *Model[T]) undoing(model T) { m.undoer, _ = any(model).(Undoer) }

// policies gives a model that can take back what its options say about
// failures, as NewTable does.
func (m *Model[T]) policies() {
	f := &m.n.failures
	if !f.given {
		return
	}
	if m.undoer == nil {
		m.n.problems.Add("OnFailure is for tables, and for models with Snapshot, Restore, Commit and Rollback (Undoer): this one can't undo what a handler did before it failed")
		return
	}
	if f.validate(&m.n.problems); f.keeps() {
		m.n.park = newParking(m.n)
	}
}

func (m *Model[T]) commit() {
	if m.undoer != nil && !m.torn.Load() {
		m.tears("Commit", m.undoer.Commit)
	}
}

func (m *Model[T]) rollback() {
	if m.undoer == nil {
		m.torn.Store(true)
	} else if !m.torn.Load() {
		m.tears("Rollback", m.undoer.Rollback)
	}
}

// tears calls a method of the user's, whose panic leaves nobody knows what.
func (m *Model[T]) tears(what string, fn func()) {
	err := func() (err error) {
		defer contain(&err)
		fn()
		return nil
	}()
	if err != nil {
		m.why = fmt.Errorf("%s of the model: %w", what, err)
		m.torn.Store(true)
	}
}

// misused stops a model whose Commit has failed, at the next commit.
func (m *Model[T]) misused() error {
	if m.torn.Load() {
		return m.tornBy()
	}
	return nil
}

// tornBy is why the model is torn, where it isn't a handler's failure alone.
func (m *Model[T]) tornBy() error {
	if m.why != nil {
		return fmt.Errorf("%w: %w", errTorn, m.why)
	}
	return errTorn
}

// torn is why what a failed handler did to the node can't be taken back; nil
// where it was, or can be.
func (n *node) torn() error {
	if m, ok := n.state.(interface {
		isTorn() bool
		tornBy() error
	}); ok && m.isTorn() {
		return m.tornBy()
	}
	return nil
}

// halted makes known that a parked commit has torn its model.
func (u *unit) halted(n *node) {
	u.mu.Lock()
	for _, m := range u.nodes {
		if m.step.stop != nil && m.stopped == nil {
			m.stopped = m.step.stop
		}
	}
	u.wakeLocked()
	u.mu.Unlock()
	u.notify()
	u.tellStopped()
}
