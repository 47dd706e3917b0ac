package eventlog

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"
)

const (
	leaderFirst = 64      // messages that are asked for at a time, to begin with
	leaderMost  = 1024    // and later, while they are small
	leaderBytes = 4 << 20 // of a batch, about
	leaderAtOne = 32      // questions on their way
	leaderPause = 5 * time.Millisecond
)

// leaderSource reads what the stream's leader has, message by message: slower
// than a consumer, and the leader's word, where a consumer's is that of the
// replica that it lives on. It is the source for all that a stream of several
// replicas held when reading began and that isn't worth a backup; and for the
// keys there, of which any replica would answer a direct get.
//
// Questions for messages go out many at a time. For all messages their
// sequences are known. Those of a key aren't: a direct get, by whichever
// replica, says where they may be, and the leader is asked for the next one
// after each of these places. Where its answers follow on one another, they are
// the key's messages, none left out; the rest is asked for again.
//
// A batch counts only where the leader before and after it was the same: else
// it may be of two histories. Then it is read again, after the last message
// that was returned was compared with the new leader's.
type leaderSource struct {
	f       *Feed
	filter  string // subject, "" for all
	trimmed bool   // commits may be missing at the start
	at      uint64
	end     uint64 // reading ends there; math.MaxUint64: nowhere
	upto    uint64 // the leader has, or had, all up to there
	known   mark   // of the last message that was read; none where seq is 0
	term    term   // under which that was
	begun   bool   // term is valid
	said    bool   // that the end, as it was known, is reached
	most    int    // messages that the next batch asks for
	sparse  bool   // messages are missing: the next one is asked for, and not the one at a sequence
	empty   int    // answers in a row without anything new
}

// openLeader reads after a sequence, up to one that the leader has, or on and on
// (math.MaxUint64). Where known is given, the log
// must still have that message.
func (f *Feed) openLeader(after uint64, known mark, end uint64, filter string, trimmed bool) *leaderSource {
	s := &leaderSource{f: f, filter: filter, trimmed: trimmed, at: after, end: end, upto: end, known: known, most: leaderFirst, sparse: f.adopted != nil}
	if end == math.MaxUint64 {
		s.upto = after
	}
	return s
}

// next returns further messages, and none at the end.
func (s *leaderSource) next(ctx context.Context) (msgs []message, err error) {
	if s.at >= s.end {
		return nil, nil
	}
	if s.at >= s.upto && s.begun && !s.said {
		s.said = true // so that it isn't read on this way for as long as more comes
		return nil, nil
	}
	s.said = false
	err = s.f.untilAvailable(ctx, func() (err error) {
		msgs, err = s.read(ctx)
		return err
	})
	if err != nil || len(msgs) > 0 {
		s.empty = 0
		return msgs, err
	}
	s.empty = min(s.empty+1, 20)
	return nil, await(ctx, time.Duration(s.empty)*leaderPause)
}

func (s *leaderSource) read(ctx context.Context) ([]message, error) {
	if s.f.closed.Load() {
		return nil, s.f.closedRead()
	}
	if (!s.begun && s.known.seq != 0) || s.at >= s.upto {
		if err := s.look(ctx); err != nil || s.at >= s.upto {
			return nil, err
		}
	}
	msgs, err := s.f.fromLeader(ctx, s.at, s.upto, s.filter, s.most, s.sparse)
	if err == nil && len(msgs) == 0 && s.filter == "" && !s.sparse {
		s.sparse = true // whether that may be is for the reader to judge
		msgs, err = s.f.fromLeader(ctx, s.at, s.upto, s.filter, s.most, true)
	}
	if err != nil {
		return nil, err
	}
	before, begun := s.term, s.begun
	if err := s.look(ctx); err != nil {
		return nil, err
	}
	if begun && before != s.term {
		return nil, nil // what was read may be of both
	}
	n, size := len(msgs), 0
	if n == 0 {
		return nil, nil
	}
	for i := range msgs {
		size += msgs[i].size()
	}
	switch {
	case size > leaderBytes:
		s.most = max(1, s.most/2)
	case n == s.most && size < leaderBytes/2:
		s.most = min(2*s.most, leaderMost)
	}
	s.at, s.known = msgs[n-1].seq, markOf(&msgs[n-1])
	return msgs, nil
}

// look asks who leads, and makes sure that the log still has what was read.
func (s *leaderSource) look(ctx context.Context) error {
	st, err := s.f.rangeCheck(ctx, s.at, s.trimmed || s.filter != "")
	if err != nil {
		return err
	}
	// A leadership that doesn't say since when it is may be another one.
	if !s.begun || st.term != s.term || st.term.since == 0 {
		if err := s.f.recognise(ctx, s.known, st); err != nil {
			return err
		}
	}
	s.term, s.begun = st.term, true
	s.upto = min(s.end, max(s.upto, st.Last))
	return nil
}

// extend moves the end to a sequence that the leader has.
func (s *leaderSource) extend(end uint64) {
	s.end, s.upto = max(s.end, end), max(s.upto, end)
}

func (s *leaderSource) close() {}

// fromLeader asks the leader for the messages after a sequence, up to end, and
// returns those that follow on one another, at most so many.
func (f *Feed) fromLeader(ctx context.Context, after, end uint64, filter string, most int, sparse bool) (msgs []message, err error) {
	asks := f.leaderAsks(ctx, after, end, filter, most, sparse)
	answers, err := f.getAll(ctx, asks)
	if err != nil {
		return nil, err
	}
	at := after
	for i, m := range answers {
		if asks[i].Seq <= at {
			continue // its answer is among those
		}
		if m.seq == 0 || asks[i].Seq != at+1 || m.seq > end {
			break
		}
		msgs, at = append(msgs, m), m.seq
	}
	return msgs, nil
}

// leaderAsks are questions each of which is likely to continue what the one
// before answers; at least one. Of a key they are as many as a direct get finds
// (historyBatch, historyBytes).
func (f *Feed) leaderAsks(ctx context.Context, after, end uint64, filter string, most int, sparse bool) []getRequest {
	asks := make([]getRequest, 0, most)
	if filter != "" {
		asks = append(asks, getRequest{Seq: after + 1, NextFor: filter})
		if f.directOff.Load() {
			return asks
		}
		hints, err := f.fetch(ctx, after+1, filter)
		if err != nil {
			f.noDirect(err)
		}
		for i := range hints {
			if at := hints[i].seq; at < end {
				asks = append(asks, getRequest{Seq: at + 1, NextFor: filter})
			}
		}
		return asks
	}
	next := ""
	if sparse {
		next = f.everything()
	}
	for seq := after + 1; seq <= end && len(asks) < most; seq++ {
		asks = append(asks, getRequest{Seq: seq, NextFor: next})
	}
	return asks
}

// noDirect takes note that this user may not ask for stored messages directly.
func (f *Feed) noDirect(err error) {
	if errors.Is(err, ErrDenied) && !f.directOff.Swap(true) {
		f.log.opts.Logger.Info().Err(err).Str("feed", f.name).Msg("eventlog: keys are read without direct gets")
	}
}

// getAll asks the leader several questions at a time. Where there is no such
// message, its answer's sequence is 0.
func (f *Feed) getAll(ctx context.Context, asks []getRequest) ([]message, error) {
	answers := make([]message, len(asks))
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan int, len(asks))
	for i := range asks {
		next <- i
	}
	close(next)
	one := func(i int) error {
		done, err := f.turn(ctx)
		if err != nil {
			return err
		}
		defer done()
		m, ok, err := f.get(ctx, asks[i])
		if err == nil && ok {
			answers[i] = m
		}
		return err
	}
	var wg sync.WaitGroup
	for range min(leaderAtOne, len(asks)) {
		wg.Go(func() {
			for i := range next {
				if err := one(i); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	return answers, nil
}
