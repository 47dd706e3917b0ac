package projection

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/problem"
)

const (
	blueSide  = 0
	greenSide = 1
)

// besideName is the unit of a version's snapshots that are kept beside those
// of the projection's name.
func besideName(name string, version uint64) string { return fmt.Sprintf("%s--v%d", name, version) }

// switching is a BlueGreen without its types.
type switching struct {
	name  string
	nodes [2]*node
	parts [2][]*node   // each node with the table of what it has set aside
	live  atomic.Int32 // a side

	mu    sync.Mutex // one switch at a time
	rt    atomic.Pointer[Runtime]
	units [2]*unit      // before rt
	every time.Duration // of looking what other processes have switched to

	unknown trouble // which version serves isn't, by the store
}

// switched is a projection that is a pair of versions.
type switched interface{ switched() *switching }

func newSwitching(blue, green Projection) *switching {
	s := &switching{every: 5 * time.Second}
	var p problem.List
	for i, pr := range []Projection{blue, green} {
		name, nodes := pr.projections()
		if !single(nodes) {
			p.Add("a BlueGreen of unit %q: it takes single projections", name)
			nodes = []*node{{name: name, started: true}} // Start isn't reached
		}
		s.nodes[i], s.parts[i] = nodes[0], nodes
	}
	b, g := s.nodes[blueSide], s.nodes[greenSide]
	s.name = b.name
	switch {
	case b == g:
		p.Add("the same projection twice")
	case b.name != g.name:
		p.Add("two versions of one projection have one name; the other is %q", g.name)
	case b.version == g.version:
		p.Add("both have version %d", b.version)
	}
	b.problems = append(b.problems, p...)
	return s
}

// single says whether nodes are one projection's: it, and what it sets aside.
func single(nodes []*node) bool {
	return len(nodes) > 0 && !slices.ContainsFunc(nodes[1:], func(n *node) bool { return n.of != nodes[0] })
}

// begin tells the pair its units, in a runtime that starts.
func (s *switching) begin(rt *Runtime, units [2]*unit) {
	s.units = units
	units[greenSide].twin.beside.Store(true)
	s.rt.Store(rt)
}

func (s *switching) unitOf(side int32) *unit {
	if s.rt.Load() == nil {
		return nil
	}
	return s.units[side]
}

// set makes a side the one that serves. Who waits meanwhile waits for both.
func (s *switching) set(side int32) {
	s.units[side].twin.beside.Store(false)
	s.live.Store(side)
	s.units[1-side].twin.beside.Store(true)
}

// to switches, and stores that.
func (s *switching) to(ctx context.Context, side int32) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	rt := s.rt.Load()
	switch {
	case rt == nil:
		return fmt.Errorf("projection: %q: %w: it isn't started", s.name, ErrNotReady)
	case s.live.Load() == side:
		return nil
	}
	if err := s.ready(ctx, side); err != nil {
		return fmt.Errorf("projection: %q: switching to version %d: %w", s.name, s.nodes[side].version, err)
	}
	if err := rt.storeServing(ctx, s.name, s.nodes[side].version); err != nil {
		return fmt.Errorf("projection: %q: switching to version %d: %w", s.name, s.nodes[side].version, err)
	}
	s.set(side)
	rt.cfg.Logger.Info().Str("projection", s.name).Uint64("version", s.nodes[side].version).Msg("projection: another version serves")
	return nil
}

// ready waits until a side has applied all that the other has now.
func (s *switching) ready(ctx context.Context, side int32) error {
	from, to := s.units[1-side], s.units[side]
	from.mu.Lock()
	at := s.nodes[1-side].at()
	from.mu.Unlock()
	n := s.nodes[side]
	for feed, seq := range at.All() {
		if n.feeds[feed] == nil {
			continue
		}
		if err := to.wait(ctx, n, eventlog.Position{Feed: feed, Seq: seq}); err != nil {
			if ctx.Err() != nil {
				err = fmt.Errorf("%w: %w", ErrNotReady, err)
			}
			return err
		}
	}
	to.mu.Lock()
	defer to.mu.Unlock()
	if n.stopped != nil {
		return n.stopped
	}
	return nil
}

// recall makes the side serve that is stored; blue where none of the two is.
// Where the store doesn't say, blue serves until it does: either is right.
func (s *switching) recall(ctx context.Context) {
	side, known, err := s.stored(ctx)
	if err != nil && s.told(err) {
		s.rt.Load().cfg.Logger.Error().Err(err).Str("projection", s.name).Uint64("version", s.nodes[blueSide].version).Msg("projection: blue serves")
	}
	if known {
		s.set(side)
	}
}

func (s *switching) stored(ctx context.Context) (side int32, known bool, err error) {
	version, known, err := s.rt.Load().serving(ctx, s.name)
	if err != nil || !known {
		return 0, false, err
	}
	for i, n := range s.nodes {
		if n.version == version {
			return int32(i), true, nil
		}
	}
	return 0, false, nil
}

// follow switches when another process has.
func (s *switching) follow(ctx context.Context) {
	rt := s.rt.Load()
	if rt.cfg.NoSnapshots {
		return
	}
	t := time.NewTicker(s.every)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
		_ = s.look(ctx)
	}
}

// look switches when another process has, and tells what keeps it from that.
func (s *switching) look(ctx context.Context) error {
	err := s.catchUp(ctx)
	if s.told(err) && ctx.Err() == nil {
		s.rt.Load().cfg.Logger.Warn().Err(err).Str("projection", s.name).Msg("projection: another version serves elsewhere, and can't here")
	}
	return err
}

// told takes in what came of a look, and says whether that is to be logged.
// A server that is away says nothing about what serves.
func (s *switching) told(err error) bool {
	switch {
	case errors.Is(err, eventlog.ErrUnavailable):
		return false
	case errors.Is(err, ErrNotReady): // it is known, and switched to later
		s.unknown.set(nil)
		return true
	}
	return s.unknown.set(err)
}

func (s *switching) catchUp(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	side, known, err := s.stored(ctx)
	if err != nil || !known || side == s.live.Load() {
		return err
	}
	wait, cancel := context.WithTimeout(ctx, s.every)
	defer cancel()
	if err := s.ready(wait, side); err != nil {
		return err
	}
	s.set(side)
	return nil
}
