package eventlog

import (
	"cmp"
	"context"
	"fmt"
)

// Sync returns when all commits up to a sequence, which the log has, are on the
// disk, as after a Synced append (docs/durability.md): for who is about to do
// something that mustn't outlive them. Those that are there already cost
// nothing, and who comes at the same time shares an fsync, also with Synced
// appends. What another process has appended costs a question how far the log
// goes, one for all that is there then; a log that can't be synced is asked
// nothing.
//
// Errors: a *SyncError, whose Err is nil where this log can't be synced at all
// (see Synced), and the disk's where that failed: then nobody knows;
// ErrInvalid where the log doesn't have the sequence; ErrClosed; those of
// State; and the context's.
func (f *Feed) Sync(ctx context.Context, upto uint64) error {
	if err := f.online(); err != nil {
		return err
	}
	if f.closed.Load() {
		return fmt.Errorf("eventlog: sync of feed %q: %w", f.name, ErrClosed)
	}
	// Servers elsewhere can't be synced. Asked how far their log goes they
	// would answer once for each effect, and with less where a new leader lags.
	if upto > max(f.frontier.upto.Load(), f.syncer.seen.Load()) && f.syncer.by != byNobody {
		st, err := f.State(ctx)
		if err != nil {
			return err
		}
		if upto > st.Last {
			return fmt.Errorf("eventlog: sync of feed %q: %w: it ends at %d, so %d can't be on the disk", f.name, ErrInvalid, st.Last, upto)
		}
		f.syncer.seen.Store(st.Last) // whoever is overtaken asks once more
	}
	return f.syncer.sync(ctx, Position{Feed: f.name, Seq: upto})
}

// sync waits until what is in the log at a position is on the disk.
func (s *syncer) sync(ctx context.Context, pos Position) error {
	switch s.by {
	case byServer:
		return nil
	case byNobody:
		return s.unsynced(pos, nil, cmp.Or(s.reason, "the stream is another application's, which decides what is on the disk"))
	}
	a := acked{pos: pos, done: make(chan error, 1)}
	s.mu.Lock()
	switch {
	case s.synced >= pos.Seq:
		s.mu.Unlock()
		return nil
	case s.poison != nil:
		s.mu.Unlock()
		return s.unsynced(pos, s.poison, poisoned)
	case s.closed:
		s.mu.Unlock()
		return s.unsynced(pos, ErrClosed, "the log was closed meanwhile")
	}
	s.begin.Do(func() { go s.run() })
	s.wait(a)
	s.mu.Unlock()
	select {
	case err := <-a.done:
		if err != nil {
			return s.unsynced(pos, err, poisoned)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("eventlog: sync of feed %q: %w", s.f.name, context.Cause(ctx))
	}
}

func (s *syncer) unsynced(pos Position, err error, reason string) error {
	return &SyncError{Feed: s.f.name, Pos: pos, Err: err, Reason: reason}
}
