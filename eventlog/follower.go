package eventlog

import (
	"context"
	"errors"
	"math"
)

// follower is a reader's source that goes on with the log's end. While it is
// far from there it reads by a source of its own; near the end it takes what
// the feed's hub reads for all. One that falls behind goes back to a source
// of its own, exactly where it stands. A follower of a key is a member of the
// hub from the start, and reads by itself what had come before.
//
// All methods are called by one goroutine.
type follower struct {
	f       *Feed
	filter  string // subject, "" for all
	trimmed bool   // commits may be missing at the start
	near    bool   // the log's end was reached, so that a hub may begin here

	at   uint64 // all up to it was returned
	m    member
	run  *hubRun // nil: not a member
	own  source  // nil: none
	head uint64  // of the key: where own ends

	placed bool    // own has one of the hub's few consumers
	last   message // the last one that was returned; valid until the next call
}

// openFollower follows behind a sequence, whose message the log must still have
// where it is known; last is where the log ended a moment ago, end where the
// reader will end.
func (f *Feed) openFollower(ctx context.Context, after uint64, known mark, last uint64, filter string, trimmed bool, end uint64) (source, error) {
	s := &follower{f: f, filter: filter, trimmed: trimmed, at: after}
	s.m = member{subject: filter, end: end, known: known, wake: make(chan struct{}, 1)}
	if err := s.begin(ctx, last); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// begin finds a source behind s.at. The log reached last a moment ago.
func (s *follower) begin(ctx context.Context, last uint64) (err error) {
	if s.filter != "" {
		return s.beginKey(ctx, last)
	}
	s.near = s.at >= last
	if joined, err := s.join(ctx); joined || err != nil {
		return err
	}
	return s.openOwn(ctx, last)
}

// join is tried by followers of all.
func (s *follower) join(ctx context.Context) (joined bool, err error) {
	if !s.f.hub.open(s.at, s.near) {
		return false, nil
	}
	s.remember()
	s.m.pos = s.at
	s.run, err = s.f.hub.join(ctx, &s.m)
	return s.run != nil, err
}

// beginKey joins the hub, and then reads what the key had before: up to its
// head as the leader has it, since what comes behind that comes by the hub.
func (s *follower) beginKey(ctx context.Context, last uint64) (err error) {
	s.m.pos = last // where a hub may begin
	if s.run, err = s.f.hub.join(ctx, &s.m); err != nil {
		return err
	}
	head, ok, err := s.f.lastOf(ctx, s.filter)
	if err != nil || !ok || head.seq <= s.at {
		return err
	}
	st, err := s.f.rangeCheck(ctx, s.at, true)
	if err == nil {
		err = s.f.recognise(ctx, s.m.known, st)
	}
	if err != nil {
		return err
	}
	s.head = head.seq
	s.own, err = s.f.openKey(ctx, s.at, head, s.head, st)
	return err
}

// openOwn reads behind s.at, up to last and beyond. Few followers that catch
// up with all get a consumer.
func (s *follower) openOwn(ctx context.Context, last uint64) error {
	if s.filter == "" {
		select {
		case s.f.hub.catching <- struct{}{}:
			own, err := s.f.openLong(ctx, s.at, s.m.known, last, s.trimmed)
			if err != nil {
				<-s.f.hub.catching
				return err
			}
			s.own, s.placed = own, true
			return nil
		default:
		}
	}
	s.own = s.f.openStored(s.at, s.m.known, last, s.filter, s.trimmed || s.filter != "")
	return nil
}

// next waits for messages and returns those that have come, in order; none
// when nothing comes for the moment, where the reader has an end.
func (s *follower) next(ctx context.Context) ([]message, error) {
	for {
		var msgs []message
		var err error
		var idle bool
		switch {
		case s.own != nil:
			msgs, idle, err = s.nextOwn(ctx)
		case s.run != nil:
			msgs, idle, err = s.nextShared(ctx)
		default:
			err = s.restart(ctx)
		}
		switch {
		case errors.Is(err, ErrUnavailable):
			s.close() // it joined in vain: restart waits for the server
		case err != nil:
			return nil, err
		case len(msgs) > 0:
			s.last = msgs[len(msgs)-1]
			return msgs, nil
		case idle && s.m.end != math.MaxUint64:
			return nil, nil
		}
	}
}

// nextOwn reads by the follower's own source, unless it can do without.
func (s *follower) nextOwn(ctx context.Context) (msgs []message, idle bool, err error) {
	if s.filter != "" && s.at >= s.head {
		s.at = s.run.skip(&s.m, s.at) // it may have gone beyond the head
		s.endOwn()
		return nil, false, nil
	}
	if s.filter == "" {
		if joined, err := s.join(ctx); joined || err != nil {
			s.endOwn()
			return nil, false, err
		}
	}
	s.remember()
	s.last = message{} // its loan ends
	msgs, err = s.own.next(ctx)
	if n := len(msgs); n > 0 {
		s.at = msgs[n-1].seq
	}
	if err == nil && len(msgs) == 0 {
		return nil, true, s.ownEnded(ctx)
	}
	return msgs, false, err
}

// ownEnded is called when its own source has nothing more for the moment: a
// follower of all may join the hub now, or reads what came meanwhile; one of a
// key has all that there is, although the head that it was told of may be
// trimmed.
func (s *follower) ownEnded(ctx context.Context) error {
	if s.filter != "" {
		head, ok, err := s.f.lastOf(ctx, s.filter)
		switch {
		case errors.Is(err, ErrUnavailable):
		case err != nil:
			return err
		case !ok:
			s.head = s.at
		default:
			s.head = head.seq
			if led, ok := s.own.(*leaderSource); ok {
				led.extend(s.head)
			}
		}
		return nil
	}
	h, ok := s.own.(*history)
	led, asked := s.own.(*leaderSource)
	if !asked && (!ok || h.tail != nil) {
		s.near = true
		return nil
	}
	st, err := s.f.rangeCheck(ctx, s.at, s.trimmed)
	switch {
	case errors.Is(err, ErrUnavailable):
		return nil
	case err != nil:
		return err
	case !asked:
		s.near, h.end = s.at >= st.Last, max(h.end, st.Last)
	case s.at+hubMessages/2 >= st.Last: // more may come than it can read
		s.near = true
		led.extend(st.Last)
	case s.placed:
		s.endOwn() // another source suits what is left
		return s.openOwn(ctx, st.Last)
	default:
		led.extend(st.Last)
	}
	return nil
}

// nextShared takes what the hub has, or waits for it.
func (s *follower) nextShared(ctx context.Context) (msgs []message, idle bool, err error) {
	msgs, idle, err = s.run.take(&s.m)
	switch {
	case err == nil && (len(msgs) > 0 || idle):
		s.at = s.m.pos
		return msgs, idle, nil
	case errors.Is(err, ErrLostTail), errors.Is(err, ErrDenied):
		return nil, false, err // another hub would end so, too
	case err != nil:
		// It fell behind, or the hub ended: its own source says what is wrong.
		s.leave()
		return nil, false, nil
	}
	s.at = s.m.pos
	select {
	case <-s.m.wake:
	case <-s.run.ended:
	case <-ctx.Done():
		return nil, false, context.Cause(ctx)
	case <-s.f.closing:
		return nil, false, s.f.closedRead()
	}
	return nil, false, nil
}

// restart goes on where it stands, for as long as it takes the server to come
// back.
func (s *follower) restart(ctx context.Context) error {
	s.remember()
	return s.f.untilAvailable(ctx, func() error {
		st, err := s.f.rangeCheck(ctx, s.at, s.trimmed || s.filter != "")
		if err == nil {
			err = s.f.recognise(ctx, s.m.known, st)
		}
		if err == nil {
			err = s.begin(ctx, st.Last)
		}
		if err != nil {
			s.close()
		}
		return err
	})
}

// remember notes which message is at the follower's position.
func (s *follower) remember() {
	if s.last.seq != 0 {
		s.m.known = markOf(&s.last)
	}
}

func (s *follower) endOwn() {
	if s.own != nil {
		s.own.close()
		s.own = nil
	}
	if s.placed {
		<-s.f.hub.catching
		s.placed = false
	}
}

func (s *follower) leave() {
	if s.run != nil {
		s.run.leave(&s.m)
		s.run = nil
	}
}

func (s *follower) close() {
	s.endOwn()
	s.leave()
}
