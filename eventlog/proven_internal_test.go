package eventlog

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/internal/bubble"
)

// lostTail is a tail on a server that kept other messages than the leader has
// at the sequences from..to, and has them whether or not the leader has come so
// far. It stands for the replica of a quorum that was set back.
type lostTail struct {
	*tail
	from, to uint64
	places   int // consumers that are placed there before others are; -1: all are
	held     []message
	given    uint64
}

func (l *lostTail) stale() bool { return l.places != 0 }

func (l *lostTail) pause() {
	if l.places > 0 {
		l.places--
	}
	l.held, l.given = nil, 0
	l.tail.pause()
}

func (l *lostTail) placed() (string, int, uint64) {
	_, times, floor := l.tail.placed()
	if l.stale() {
		return "third", times, floor
	}
	return "first", times, floor
}

func (l *lostTail) next(ctx context.Context) ([]message, error) {
	msgs, err := l.tail.next(ctx)
	if !l.stale() || err != nil {
		return msgs, err
	}
	var out []message
	for _, m := range cloneMessages(msgs) {
		if m.seq > l.given {
			out = append(out, l.as(m))
		}
	}
	if n := len(out); n > 0 {
		l.given = max(l.given, out[n-1].seq)
	}
	// It has all of its tail, as soon as it is asked.
	if l.given+1 >= l.from && l.given < l.to {
		for seq := l.given + 1; seq <= l.to; seq++ {
			out = append(out, l.as(message{seq: seq, subject: l.f.prefix + "k", nanos: 1}))
		}
		l.given = l.to
	}
	return out, nil
}

func (l *lostTail) as(m message) message {
	if m.seq >= l.from && m.seq <= l.to {
		m.data = append(slices.Clone(m.data), "of the lost tail"...)
	}
	return m
}

// provenReads reads n messages after a sequence by a provenTail over a replica,
// while the log grows, and fails unless they are the leader's.
func provenReads(t *testing.T, f *Feed, p *provenTail, after uint64, n int) {
	t.Helper()
	var got []mark
	for len(got) < n {
		msgs, err := p.next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for i := range msgs {
			got = append(got, markOf(&msgs[i]))
		}
	}
	for i, m := range got {
		want, ok, err := f.get(t.Context(), getRequest{Seq: after + 1 + uint64(i)})
		if err != nil || !ok || m != markOf(&want) {
			t.Fatalf("the %d-th is %d, which the leader doesn't have: %v", i, m.seq, err)
		}
	}
}

func replica(t *testing.T, f *Feed, after uint64, l lostTail) *provenTail {
	t.Helper()
	tail, err := f.openTail(t.Context(), after, mark{}, "", true)
	if err != nil {
		t.Fatal(err)
	}
	l.tail = tail
	p := &provenTail{f: f, tail: &l, at: after}
	t.Cleanup(p.close)
	return p
}

// Whatever a replica keeps of a lost tail, wherever the leader is by then and
// wherever reading begins, nothing of it is returned, reading goes on, and the
// server is named.
func TestProvenTail(t *testing.T) {
	for name, c := range map[string]struct {
		have, after uint64
		lost        lostTail
		more        int // appended while it reads
		named       bool
	}{
		"the leader has none of the numbers yet":   {60, 60, lostTail{from: 61, to: 100, places: 1}, 5, true},
		"and reading began before":                 {60, 20, lostTail{from: 61, to: 100, places: 2}, 5, true},
		"it has used some of them":                 {80, 80, lostTail{from: 61, to: 100, places: 1}, 5, true},
		"and reading begins inside":                {80, 70, lostTail{from: 61, to: 100, places: 1}, 5, true},
		"it has grown beyond, and that is read":    {150, 0, lostTail{from: 61, to: 100, places: 1}, 5, true},
		"and reading begins after it":              {150, 150, lostTail{from: 61, to: 100, places: -1}, 5, false},
		"many consumers live on that server":       {60, 0, lostTail{from: 61, to: 70, places: 6}, 5, true},
		"all do, and the log grows beyond its end": {60, 0, lostTail{from: 61, to: 64, places: -1}, 20, true},
		"a healthy one":                            {60, 0, lostTail{}, 20, false},
	} {
		t.Run(name, func(t *testing.T) {
			bubble.Run(t, func(t *testing.T) {
				f := suiteFeed(t, Options{App: "suite", Dir: t.TempDir()})
				grow(t, f, int(c.have), 10)
				p := replica(t, f, c.after, c.lost)
				var wg sync.WaitGroup
				defer wg.Wait()
				wg.Go(func() {
					for range c.more {
						bubble.Pass(300 * time.Millisecond)
						grow(t, f, 1, 10)
					}
				})
				provenReads(t, f, p, c.after, int(c.have-c.after)+c.more)
				e, ok := errors.AsType[*ReplicaError](f.Check(t.Context()))
				if ok != c.named || (ok && (e.Server != "third" || !errors.Is(e, ErrReplica))) {
					t.Errorf("named: %v", e)
				}
			})
		})
	}
}

// What a hub has handed out and the leader doesn't have, or has another message
// for, ends its followers: that it was handed out is found by a look at the last
// one, at what was sure before, and, after another leader was seen, inside.
func TestAuditorFindsWhatIsLost(t *testing.T) {
	f := suiteFeed(t, Options{App: "suite", Memory: true})
	grow(t, f, 100, 10)
	var log []message
	for seq := uint64(1); seq <= 100; seq++ {
		m, ok, err := f.get(t.Context(), getRequest{Seq: seq})
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		log = append(log, m)
	}
	st, err := f.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		lost, to uint64 // other messages were handed out there
		upto     uint64 // all that was
		sure     uint64 // by an earlier look
		term     term   // of that; zero: the present one
		found    bool
	}{
		"nothing is":                          {0, 0, 100, 50, term{}, false},
		"the last":                            {90, 100, 100, 50, term{}, true},
		"beyond the leader's last":            {90, 130, 130, 50, term{}, true},
		"what was sure":                       {40, 60, 100, 50, term{}, true},
		"inside, and another leads":           {60, 61, 100, 50, term{leader: "other"}, true},
		"all, and nothing came since":         {40, 60, 60, 60, term{}, true},
		"inside of what was looked at before": {40, 45, 100, 50, term{}, false}, // not found: the guarantees page says so
		"that, and another leads":             {40, 45, 100, 50, term{leader: "other"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			ended := make(chan struct{})
			r := &hubRun{h: newHub(f), cancel: func() { close(ended) }}
			a := &auditor{r: r, src: &provenTail{}, turn: make(chan struct{}, 1)}
			r.auditor = a
			for seq := uint64(1); seq <= c.upto; seq++ {
				m := message{seq: seq, nanos: int64(seq)}
				if seq <= 100 && (seq < c.lost || seq > c.to) {
					m = log[seq-1]
				}
				r.put(m)
				if seq == c.sure {
					a.audit.confirmed(cmp.Or(c.term, st.term), markOf(&m))
				}
			}
			err := a.look(t.Context(), 0)
			if errors.Is(err, ErrLostTail) != c.found {
				t.Fatal(err)
			}
			if !c.found {
				if err != nil || a.audit.sure.seq != c.upto {
					t.Error(a.audit.sure.seq, err)
				}
				return
			}
			_ = a.failed(err)
			<-ended
			if _, _, err := r.take(&member{}); !errors.Is(err, ErrLostTail) {
				t.Error("a follower is told", err)
			}
		})
	}
}
