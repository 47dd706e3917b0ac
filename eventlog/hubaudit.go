package eventlog

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"time"
)

const (
	auditEvery = 5 * time.Second  // looks of a hub that hands messages out
	auditIdle  = 10 * time.Second // and of one that doesn't
	auditAfter = hubMessages / 2  // messages that are looked at in any case
	auditFresh = time.Second      // a look that is younger needn't be done again
	auditWaits = 8                // pauses that are looked before
)

// auditor carries out what audit decides, for one life of the hub, on a stream
// of several replicas: 4 requests to the leader every 5 s while messages come,
// 2 every 10 s while none do.
type auditor struct {
	r    *hubRun
	src  *provenTail
	wake chan struct{} // has room for one
	turn chan struct{} // has room for one: held by the one that looks

	audit audit     // guarded by turn
	at    time.Time // of the last look that found all in order
}

// audits starts to look after what the hub hands out; known is the message
// after which it begins. It ends with ctx.
func (r *hubRun) audits(ctx context.Context, src *provenTail, known mark) {
	a := &auditor{r: r, src: src, wake: make(chan struct{}, 1), turn: make(chan struct{}, 1)}
	a.audit.sure = known
	r.h.mu.Lock()
	r.auditor = a
	r.h.mu.Unlock()
	go a.run(ctx)
}

func (a *auditor) run(ctx context.Context) {
	tick := time.NewTicker(auditEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.wake:
		case <-tick.C:
			if a.quiet() {
				continue
			}
		}
		if err := a.look(ctx, 0); err != nil && ctx.Err() == nil && errors.Is(a.failed(err), ErrLostTail) {
			return
		}
	}
}

// failed ends the hub where a look has found that its log lost what it handed
// out. What the leader can't be asked now is looked at later.
func (a *auditor) failed(err error) error {
	if errors.Is(err, ErrLostTail) {
		a.r.fail(err)
	}
	return err
}

// quiet says that nothing has come since the last look, which isn't long ago.
func (a *auditor) quiet() bool {
	select {
	case a.turn <- struct{}{}:
		defer func() { <-a.turn }()
	default:
		return false
	}
	a.r.h.mu.Lock()
	defer a.r.h.mu.Unlock()
	return a.r.upto <= a.audit.sure.seq && time.Since(a.at) < auditIdle
}

// came is called for each batch, with the hub's lock held.
func (a *auditor) came(n int) {
	if a.r.unlooked += n; a.r.unlooked < auditAfter {
		return
	}
	a.r.unlooked = 0
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// look compares what was handed out with what the leader has. One that is
// younger than fresh, and reached as far, serves as well.
func (a *auditor) look(ctx context.Context, fresh time.Duration) error {
	select {
	case a.turn <- struct{}{}:
		defer func() { <-a.turn }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	begun := time.Now()
	msgs := a.r.since(a.audit.sure.seq)
	if len(msgs) == 0 && begun.Sub(a.at) < fresh {
		return nil
	}
	f := a.r.h.f
	st, err := f.State(ctx)
	if err != nil {
		return err
	}
	changed := a.audit.changed(st.term)
	if changed {
		a.src.doubt(st.Last)
		msgs = a.r.since(0) // what was sure by the word of another
	}
	places := make([]place, len(msgs))
	for i := range msgs {
		places[i] = place{msgs[i].seq, msgs[i].nanos}
	}
	var marks []mark
	if changed {
		marks = slices.Clone(a.audit.older)
	}
	if a.audit.sure.seq > 0 {
		marks = append(marks, a.audit.sure)
	}
	last := a.audit.sure
	for _, i := range a.audit.plan(st.term, places, rand.IntN) {
		m := markOf(&msgs[i])
		marks = append(marks, m)
		if m.seq > last.seq {
			last = m
		}
	}
	if err := f.compareMarks(ctx, marks, st); err != nil {
		return err
	}
	a.audit.confirmed(st.term, last)
	a.at = begun
	return nil
}

// compareMarks is an ErrLostTail unless the leader has all of these messages,
// but for those that were trimmed. st is its state, not older than they.
func (f *Feed) compareMarks(ctx context.Context, marks []mark, st State) error {
	for part := range slices.Chunk(marks, leaderAtOne) { // their messages may be large
		if err := f.compareSome(ctx, part, st); err != nil {
			return err
		}
	}
	return nil
}

func (f *Feed) compareSome(ctx context.Context, marks []mark, st State) error {
	asks := make([]getRequest, len(marks))
	for i := range marks {
		asks[i] = getRequest{Seq: marks[i].seq}
	}
	var behind leaderBehind
	for {
		answers, err := f.getAll(ctx, asks)
		if err != nil {
			return err
		}
		ahead := false
		for i, m := range answers {
			if m.seq != 0 && markOf(&m) == marks[i] {
				continue
			}
			lost := &RangeError{Feed: f.name, Want: marks[i].seq + 1, First: st.First, Last: st.Last, class: ErrLostTail, reused: m.seq != 0}
			if m.seq != 0 {
				return lost
			}
			// st is older than the answer: what it is beyond may have come since.
			if ahead = ahead || marks[i].seq > st.Last; marks[i].seq > st.Last {
				continue
			}
			if gone, err := f.mayBeGone(ctx, marks[i].seq, st); err != nil {
				return err
			} else if !gone {
				return lost
			}
		}
		if !ahead {
			return nil
		}
		if st, err = f.State(ctx); err != nil {
			return err
		}
		if last := marks[len(marks)-1].seq; last > st.Last && !behind.mayCome(st.Last) {
			return &RangeError{Feed: f.name, Want: last + 1, First: st.First, Last: st.Last, class: ErrLostTail}
		}
		if err := await(ctx, leaderPause); err != nil {
			return err
		}
	}
}

// mayBeGone says whether the leader doesn't have a message for another reason
// than that its log is another: it was trimmed or erased, or its owner has
// deleted it.
func (f *Feed) mayBeGone(ctx context.Context, seq uint64, st State) (bool, error) {
	if seq > st.Last || seq < st.First {
		return seq < st.First, nil
	}
	if f.adopted != nil {
		return true, nil
	}
	return f.gaps.explains(ctx, seq, seq)
}

// since returns what the window holds after a sequence. The messages never
// change.
func (r *hubRun) since(seq uint64) (msgs []message) {
	r.h.mu.Lock()
	defer r.h.mu.Unlock()
	for _, c := range r.chunks {
		if n := len(c); n == 0 || c[n-1].seq <= seq {
			continue
		}
		for i := range c {
			if c[i].seq > seq {
				msgs = append(msgs, c[i])
			}
		}
	}
	return msgs
}

// fail ends the hub with an error that its followers are told.
func (r *hubRun) fail(err error) {
	r.h.mu.Lock()
	if r.err == nil {
		r.err = err
	}
	if r.h.now == r {
		r.h.now = nil
	}
	r.h.mu.Unlock()
	r.cancel()
}

// pauses are the places after which the longest pauses follow: indexes.
func pauses(since []place) []int {
	order := make([]int, 0, len(since))
	for i := range len(since) - 1 {
		order = append(order, i)
	}
	slices.SortFunc(order, func(i, j int) int {
		return int(min(max((since[j+1].nanos-since[j].nanos)-(since[i+1].nanos-since[i].nanos), -1), 1))
	})
	return order[:min(auditWaits, len(order))]
}

func sortedKeys(m map[int]bool) []int { return slices.Sorted(maps.Keys(m)) }
