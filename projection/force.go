package projection

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/tidemark-es/tidemark/snapshot"
)

// ErrNotOwner: another process holds the lease on the unit's snapshots, and saves
// it: what is decided here wouldn't last.
var ErrNotOwner = errors.New("another process saves this unit")

// saveAsk is a request for a save. reply takes one answer without waiting.
type saveAsk struct {
	reply   chan saveAnswer
	compare *comparing // that the states are to begin at the cut; nil: none
}

// comparing is a comparison of a unit's states, which its caller may have given
// up before it begins.
type comparing struct {
	mu   sync.Mutex
	over bool
	of   []comparer
}

func (c *comparing) begin(nodes []*node) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range nodes {
		if by, ok := n.state.(comparer); ok && !c.over {
			by.begin()
			c.of = append(c.of, by)
		}
	}
}

// end may be called again.
func (c *comparing) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.over = true; len(c.of) > 0; c.of = c.of[1:] {
		c.of[0].end()
	}
}

type saveAnswer struct {
	id  snapshot.ID // of the snapshot that has all; zero where the unit sleeps, which was saved before
	err error
}

// save asks the unit's goroutine to save what isn't saved yet, whatever the
// policy says, and waits for the outcome. What is applied before the call is
// in it.
func (u *unit) save(ctx context.Context) error {
	_, err := u.saveFor(ctx, nil)
	return err
}

// saveFor is save. With a comparison, the tables are ready to be compared with
// the snapshot until that ends.
func (u *unit) saveFor(ctx context.Context, compare *comparing) (snapshot.ID, error) {
	defer u.awaited("a call that saves (RetryParked, DropParked, Compact)", u.name)()
	ask := saveAsk{reply: make(chan saveAnswer, 1), compare: compare}
	a := func() saveAnswer {
		select {
		case u.saver.want <- ask:
		case <-u.ended:
			return saveAnswer{err: ErrClosed}
		case <-ctx.Done():
			return saveAnswer{err: context.Cause(ctx)}
		}
		select {
		case a := <-ask.reply:
			return a
		case <-ctx.Done():
			return saveAnswer{err: context.Cause(ctx)}
		}
	}()
	if a.err != nil {
		return snapshot.ID{}, fmt.Errorf("projection: save of unit %q: %w", u.name, a.err)
	}
	return a.id, nil
}

// compareFor lets the states of nodes begin the comparisons that were asked for.
// It is called at a cut.
func compareFor(asked []saveAsk, nodes []*node) {
	for _, a := range asked {
		if a.compare != nil {
			a.compare.begin(nodes)
		}
	}
}

// force takes a wish for a save in.
func (s *saver) force(ask saveAsk) {
	s.asked = append(s.asked, ask)
	s.serve()
}

// serve starts the save that was asked for, once it can.
func (s *saver) serve() {
	if len(s.asked) == 0 || s.inFlight != nil {
		return
	}
	held, known := s.owner.held()
	switch {
	case s.u.rt.cfg.NoSnapshots:
		s.reply(errors.New("it has no snapshots"))
	case !known: // the kick comes
	case held == nil:
		s.reply(ErrNotOwner)
	case s.saved():
		compareFor(s.asked, s.u.savedNodes())
		s.answer(saveAnswer{id: s.base.ID})
	default:
		s.start(held)
	}
}

// saved says whether the newest snapshot holds all that was applied.
func (s *saver) saved() bool {
	if s.base == nil || s.stale || s.events > 0 {
		return false
	}
	for _, n := range s.u.nodes {
		m, ok := s.base.Member(n.name)
		if n.reset || !ok || !m.At.Equal(n.at()) {
			return false
		}
	}
	return true
}

func (s *saver) reply(err error) { s.answer(saveAnswer{err: err}) }

func (s *saver) answer(a saveAnswer) {
	for _, ask := range s.asked {
		ask.reply <- a
	}
	s.asked = nil
}

// answer tells who asked for the save.
func (j *saveJob) answer(r saveResult) {
	a := saveAnswer{err: r.err}
	if r.manifest != nil {
		a.id = r.manifest.ID
	}
	for _, ask := range j.asked {
		ask.reply <- a
	}
}
