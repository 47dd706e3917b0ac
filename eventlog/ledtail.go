package eventlog

import (
	"context"
	"math"
)

const (
	ledLeast = 512 // messages for which a consumer at the leader is looked for
	ledTries = 8   // consumers that are made for that, at most
)

// ledTail reads what the leader has by a consumer that lives on the leader's
// server, for distances that are too long to ask for each message and too short
// for a backup. Where a consumer is placed is for the server to say, so some are
// made until one is there: of three servers the third, on average, at some
// milliseconds each.
//
// What it has delivered is the leader's if the leadership is the same after it
// came as before the consumer was made. A batch that this can't be said of is
// dropped, and leaderSource goes on in its place.
//
// All methods are called by one goroutine.
type ledTail struct {
	f       *Feed
	trimmed bool
	term    term
	tail    *tail         // nil when it is over
	rest    *leaderSource // nil until then

	held []message // the tail's, not yet known to be the leader's
	at   uint64    // all up to it was returned
	last message   // the last one that was returned; valid until the next call; seq 0 where none was
}

// openLed reads what is there after a sequence, up to one that the leader has,
// by what suits the distance. Where known is given, the log must still have that
// message.
func (f *Feed) openLed(ctx context.Context, after uint64, known mark, end uint64, trimmed bool) (source, error) {
	if end < after || end-after < ledLeast {
		return f.openLeader(after, known, end, "", trimmed), nil
	}
	st, err := f.State(ctx)
	if err != nil {
		return nil, err
	}
	if st.term.since == 0 { // that it is the same can't be told
		return f.openLeader(after, known, end, "", trimmed), nil
	}
	for range ledTries {
		t, err := f.openTail(ctx, after, known, "", trimmed)
		if err != nil {
			return nil, err
		}
		if t.server == st.Leader {
			return &ledTail{f: f, trimmed: trimmed, term: st.term, tail: t, at: after}, nil
		}
		t.close()
	}
	return f.openLeader(after, known, end, "", trimmed), nil
}

func (s *ledTail) next(ctx context.Context) ([]message, error) {
	if s.rest != nil {
		return s.rest.next(ctx)
	}
	if s.last.seq != 0 {
		s.last = s.last.clone() // its loan ends
	}
	if len(s.held) == 0 {
		msgs, err := s.tail.next(ctx)
		if err != nil || len(msgs) == 0 {
			return nil, err
		}
		s.held = msgs
	}
	var st State
	if err := s.f.untilAvailable(ctx, func() (err error) {
		st, err = s.f.rangeCheck(ctx, s.at, s.trimmed)
		return err
	}); err != nil {
		return nil, err
	}
	if st.term != s.term || s.tail.times != 1 {
		known := s.tail.known
		if s.last.seq != 0 {
			known = markOf(&s.last)
		}
		s.tail.close()
		s.tail, s.held = nil, nil
		s.rest = s.f.openLeader(s.at, known, math.MaxUint64, "", s.trimmed)
		return s.rest.next(ctx)
	}
	msgs := s.held
	s.held, s.at, s.last = nil, msgs[len(msgs)-1].seq, msgs[len(msgs)-1]
	return msgs, nil
}

func (s *ledTail) close() {
	if s.tail != nil {
		s.tail.close()
	}
}
