package eventlog

import (
	"context"
	"math"
	"sync/atomic"
	"time"
)

const (
	provenQuick   = 3 // consumers that are tried at once after one that differs
	provenFirst   = 250 * time.Millisecond
	provenLongest = 5 * time.Second

	// leaderPatience is how long a leader that goes no further may lack what
	// another server has.
	leaderPatience = 5 * time.Second
)

// replicaTail is a tail, as provenTail needs it; tests have one that delivers
// another history.
type replicaTail interface {
	markedSource
	pause()
	resumeAt(at uint64, last message)
	// placed says on which server the present consumer lives ("" where that
	// isn't known), how many there were, and beyond which sequence all was
	// appended under the leadership that there was when it was made.
	placed() (server string, times int, floor uint64)
}

// provenTail is a tail on a stream of several replicas: it returns nothing that
// the stream's leader doesn't have, as proof says. While the consumer that it
// has lives on a server with another history, it reads what the leader has by
// itself, and tries another consumer now and then.
//
// All methods but doubt are called by one goroutine.
type provenTail struct {
	f      *Feed
	tail   replicaTail
	filter string // subject, "" for all
	proof  proof
	times  int           // of the tail's consumers, the one that proof is about
	anew   atomic.Uint64 // another leader was seen, whose last sequence was one less; 0: none

	own     *leaderSource // read instead of the consumer; nil: the consumer is read
	again   time.Time     // when another consumer is tried
	pending []message     // the tail's, not yet returned
	at      uint64        // all up to it was returned
	last    message       // the last one that was; valid until the next call; seq 0 where none was
	bad     int           // consumers in a row that differed
}

// doubt has the consumer proved again: another leader was seen, which ended at
// last.
func (p *provenTail) doubt(last uint64) { p.anew.Store(last + 1) }

func (p *provenTail) mark() mark { return p.tail.mark() }
func (p *provenTail) close()     { p.tail.close() }

func (p *provenTail) next(ctx context.Context) ([]message, error) {
	if p.last.seq != 0 {
		p.last = p.last.clone() // its loan ends
	}
	for {
		if p.own != nil {
			if msgs, err := p.nextOwn(ctx); err != nil || len(msgs) > 0 || p.own != nil {
				return msgs, err
			}
		}
		if len(p.pending) == 0 {
			msgs, err := p.tail.next(ctx)
			if err != nil || len(msgs) == 0 {
				return nil, err
			}
			p.pending = msgs
		}
		if _, times, floor := p.tail.placed(); p.times != times {
			p.times = times
			p.proof.begin(floor)
		}
		if last := p.anew.Swap(0); last > 0 {
			p.proof.begin(last - 1)
		}
		n := p.proof.need(p.pending)
		same, err := p.compare(ctx, p.pending[:n])
		switch {
		case err != nil:
			return nil, err
		case same == n:
			if p.proof.proved {
				p.bad = 0
			}
			return p.lend(len(p.pending)), nil
		case same > 0:
			return p.lend(same), nil
		}
		p.replace(p.pending[0].seq)
	}
}

// lend returns the first of the pending messages.
func (p *provenTail) lend(n int) []message {
	msgs := p.pending[:n]
	p.pending = p.pending[n:]
	p.at, p.last = msgs[n-1].seq, msgs[n-1]
	return msgs
}

// compare returns how many of the messages, from the first one on, are the
// leader's. A server may have a message a moment before the leader has applied
// it, so what the leader doesn't have is waited for.
func (p *provenTail) compare(ctx context.Context, msgs []message) (same int, err error) {
	var behind leaderBehind
	var st State // older than the answers that it is compared with
	for same < len(msgs) {
		part := firstOf(msgs[same:])
		n, differs, err := p.comparePart(ctx, part)
		if same += n; err != nil || differs {
			return same, err
		}
		if n == len(part) {
			continue
		}
		if seq := msgs[same].seq; st.Last >= seq {
			gone, err := p.f.mayBeGone(ctx, seq, st)
			if !gone || err != nil {
				return same, err
			}
			same++ // meanwhile, which says nothing about who has it
			continue
		}
		if err := p.f.untilAvailable(ctx, func() (err error) {
			st, err = p.f.State(ctx)
			return err
		}); err != nil {
			return same, err
		}
		if st.Last < msgs[same].seq && !behind.mayCome(st.Last) {
			return same, nil
		}
		if err := await(ctx, leaderPause); err != nil {
			return same, err
		}
	}
	return same, nil
}

// leaderBehind is the wait for a message that a server of the cluster has and
// the leader doesn't: it may be about to apply it, for as long as it goes on.
type leaderBehind struct {
	last  uint64
	since time.Time
}

func (b *leaderBehind) mayCome(last uint64) bool {
	if now := time.Now(); b.since.IsZero() || last > b.last {
		b.last, b.since = last, now
	}
	return time.Since(b.since) < leaderPatience
}

// firstOf are the first messages, at least one, and so many that as many of the
// leader's fit in memory beside them.
func firstOf(msgs []message) []message {
	size := 0
	for i := range msgs {
		if size += msgs[i].size(); i > 0 && (size > leaderBytes || i == leaderMost) {
			return msgs[:i]
		}
	}
	return msgs
}

// comparePart returns how many of the messages the leader has, from the first
// one on, and whether the next one is another there, and not just absent.
func (p *provenTail) comparePart(ctx context.Context, msgs []message) (same int, differs bool, err error) {
	asks := make([]getRequest, len(msgs))
	for i := range msgs {
		asks[i] = getRequest{Seq: msgs[i].seq}
	}
	var answers []message
	if err = p.f.untilAvailable(ctx, func() (err error) {
		answers, err = p.f.getAll(ctx, asks)
		return err
	}); err != nil {
		return 0, false, err
	}
	for i := range answers {
		if answers[i].seq == 0 {
			return same, false, nil
		}
		if answers[i].fingerprint() != msgs[i].fingerprint() {
			return same, true, nil
		}
		same++
		p.proof.equal(msgs[i].seq)
	}
	return same, false, nil
}

// replace gives up a consumer whose message at a sequence isn't the leader's:
// the leader is read instead, until it is time to try another one.
func (p *provenTail) replace(seq uint64) {
	server, _, _ := p.tail.placed()
	p.f.accuse(server, seq)
	known := p.mark()
	if p.last.seq != 0 {
		known = markOf(&p.last)
	}
	p.tail.pause()
	p.pending = nil
	wait := time.Duration(0)
	if p.bad++; p.bad > provenQuick {
		wait = min(provenFirst<<min(p.bad-provenQuick-1, 10), provenLongest)
	}
	p.again = time.Now().Add(wait)
	p.own = p.f.openLeader(p.at, known, math.MaxUint64, p.filter, true)
}

// nextOwn returns what the leader has; none, where there is nothing more and it
// may be time to try a consumer again.
func (p *provenTail) nextOwn(ctx context.Context) ([]message, error) {
	msgs, err := p.own.next(ctx)
	if n := len(msgs); n > 0 {
		p.at, p.last = msgs[n-1].seq, msgs[n-1]
		return msgs, nil
	}
	if err == nil && !time.Now().Before(p.again) {
		p.own = nil
		p.tail.resumeAt(p.at, p.last)
	}
	return nil, err
}

// openProven is a tail, or one that proves its consumer where the stream has
// several replicas.
func (f *Feed) openProven(ctx context.Context, after uint64, known mark, filter string, trimmed bool) (markedSource, error) {
	t, err := f.openTail(ctx, after, known, filter, trimmed)
	if err != nil || !f.replicated.Load() {
		return t, err
	}
	return &provenTail{f: f, tail: t, filter: filter, at: after}, nil
}

// accuse takes note of a server whose message at a sequence isn't the leader's.
func (f *Feed) accuse(server string, seq uint64) {
	e := &ReplicaError{Feed: f.name, Stream: f.stream, Server: server, Seq: seq}
	if f.replicas.add(e) {
		f.log.opts.Logger.Error().Err(e).Str("feed", f.name).Str("server", server).Msg("eventlog: a replica has another history: reading goes on by the leader's word")
	}
}
