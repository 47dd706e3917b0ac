package eventlog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tidemark-es/tidemark/timeframe"
)

// GapsError is an ErrGap: messages are missing inside a feed's stream, and
// nobody has registered that; or an erasure that was begun isn't done.
type GapsError struct {
	Feed    string
	Missing uint64     // messages
	Where   []SeqRange // their positions, the first 8 ranges; empty where they couldn't be asked for
	Pending uint64     // messages of erasures that were begun over a minute ago
}

func (e *GapsError) Error() string {
	if e.Missing == 0 {
		return fmt.Sprintf("eventlog: feed %q: %d messages are registered as being erased, and that wasn't completed: call Feed.Erase again", e.Feed, e.Pending)
	}
	var where strings.Builder
	for i, r := range e.Where {
		switch {
		case i == 0:
			where.WriteString(", at ")
		default:
			where.WriteString(", ")
		}
		if fmt.Fprintf(&where, "%d", r.First); r.Last > r.First {
			fmt.Fprintf(&where, "-%d", r.Last)
		}
	}
	return fmt.Sprintf("eventlog: feed %q: %v: %d messages are missing inside its stream%s: restore it from a backup, or register by Feed.AcceptGap that they are lost; until then nothing is read beyond them", e.Feed, ErrGap, e.Missing, where.String())
}

func (e *GapsError) Unwrap() error { return ErrGap }

const (
	gapsShown = 8
	// gapsPatience is how long an erasure may be under way.
	gapsPatience = time.Minute
)

// check says what is wrong with what the stream holds, as far as its state, the
// register and this process's readers tell.
func (g *feedGaps) check(ctx context.Context, st State) error {
	if g.f.adopted != nil {
		return g.unreadable(ctx)
	}
	missing, where, err := g.unregistered(ctx, st)
	if err != nil {
		return err
	}
	e := &GapsError{Feed: g.f.name, Missing: missing, Pending: g.interrupted()}
	if e.Pending > 0 { // another process may have completed it
		if err := g.refresh(ctx); err != nil {
			return err
		}
		e.Pending = g.interrupted()
	}
	now := g.now.Load()
	e.Where = publicRanges(where[:min(len(where), gapsShown)])
	err = errors.Join(now.broken, g.unreadable(ctx))
	if e.Missing+e.Pending > 0 {
		err = errors.Join(e, err)
	}
	return err
}

// interrupted is how many messages are to be erased for too long.
func (g *feedGaps) interrupted() (n uint64) {
	for _, e := range g.now.Load().reg.Entries {
		if e.Pending && time.Since(e.At) > gapsPatience {
			n += e.Ranges.Len()
		}
	}
	return n
}

// unreadable are the messages that readers have met and can't be decoded.
func (g *feedGaps) unreadable(ctx context.Context) error {
	if strays, _ := g.known(); len(strays) == 0 {
		return nil
	}
	if err := g.refreshOld(ctx); err != nil && !errors.Is(err, ErrDenied) {
		return err
	}
	strays, others := g.known()
	errs := make([]error, 0, len(strays)+1)
	for _, e := range strays {
		errs = append(errs, e)
	}
	if others {
		errs = append(errs, fmt.Errorf("eventlog: feed %q: there are further messages that can't be decoded: %w", g.f.name, ErrCorrupt))
	}
	return errors.Join(errs...)
}

// StoredMessage is a message of a feed's stream as it is stored.
type StoredMessage struct {
	Seq     uint64
	Time    time.Time
	Subject string
	Header  []byte // the whole block, also where it is malformed
	Data    []byte
	Print   timeframe.Fingerprint
	// Problem is why it can't be decoded: a *CorruptError, or nil. Passed says
	// that readers go past it (Feed.Pass).
	Problem error
	Passed  bool
}

// Stored reads the message at a sequence from the leader, whatever it is: a
// commit, the marker of a tag, or what another tool has published. ok is false
// where there is none.
func (f *Feed) Stored(ctx context.Context, seq uint64) (s StoredMessage, ok bool, err error) {
	if err := f.online(); err != nil || seq == 0 {
		return s, false, err
	}
	m, ok, err := f.get(ctx, getRequest{Seq: seq})
	if err != nil || !ok {
		return s, false, err
	}
	if err := f.gaps.refresh(ctx); err != nil && !errors.Is(err, ErrDenied) {
		return s, false, err
	}
	s = StoredMessage{Seq: seq, Time: m.time(), Subject: m.subject, Header: m.header, Data: m.data, Print: m.fingerprint(), Passed: f.gaps.now.Load().passes(&m)}
	if !f.isMarker(&m) {
		var c Commit
		s.Problem = f.decode(&c, m)
	}
	return s, true, nil
}
