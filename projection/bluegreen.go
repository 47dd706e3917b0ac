package projection

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// BlueGreen runs two versions of one projection: the one that serves, and the
// other, which is built beside it. Live is the one that serves; Switch makes
// green serve at once, and Back blue again. Both go on following the log, so
// that neither waits for anything then.
//
// P is what readers use: a *Table where both versions have the same type, else
// an interface of the program's own that embeds Projection, and that a type
// around each version's table implements.
//
// Each version has snapshots of its own: blue's are those that the projection
// had before, green's are in the unit <name>--v<version>. What serves is stored
// beside them, so that it is the same after a restart, and in other processes
// that run the same BlueGreen within seconds. When green is to stay, the next
// program has it alone, with the same version: it finds its snapshots. A
// program with blue alone finds blue's.
//
// Each version has a failure policy of its own (OnFailure), and sets aside for
// itself: Parked.Version says which one did.
//
// The version that doesn't serve holds up nothing: Start, Wait, Ready and
// Healthy don't look at it, and where it stops, or can't be restored, the
// other goes on. Status does look, with Beside set.
type BlueGreen[P Projection] struct {
	sides [2]P
	s     *switching
}

// NewBlueGreen makes a BlueGreen of two single projections (not units) with
// one name and different versions. What is wrong is reported by Start. Both
// states are held in memory.
func NewBlueGreen[P Projection](blue, green P) *BlueGreen[P] {
	return &BlueGreen[P]{sides: [2]P{blue, green}, s: newSwitching(blue, green)}
}

func (b *BlueGreen[P]) projections() (string, []*node) {
	if b == nil {
		return "", nil
	}
	return b.s.name, slices.Concat(b.s.parts[:]...)
}

func (b *BlueGreen[P]) switched() *switching { return b.s }

// Live returns the version that serves. It is one atomic load: call it for
// each use, and keep the result for as long as one answer takes.
func (b *BlueGreen[P]) Live() P { return b.sides[b.s.live.Load()] }

// Beside returns the version that doesn't serve.
func (b *BlueGreen[P]) Beside() P { return b.sides[1-b.s.live.Load()] }

// Switch makes green serve, as soon as it has applied all that blue has when
// Switch is called: so who has waited for a position in blue finds it in
// green. It is atomic: a reader has one of them, whole, and after a crash it
// is what was stored. Where green serves already it does nothing.
//
// Errors: ErrNotReady where ctx ends before green has caught up; a
// *StoppedError where green has stopped; ErrClosed; those of the store, among
// them snapshot.ErrConflict where another process switched at the same time.
// Blue goes on serving then, in this process; where the store didn't answer,
// the switch may have been stored, and is seen within seconds if it was.
func (b *BlueGreen[P]) Switch(ctx context.Context) error { return b.s.to(ctx, greenSide) }

// Back makes blue serve again; as Switch.
func (b *BlueGreen[P]) Back(ctx context.Context) error { return b.s.to(ctx, blueSide) }

// Build is how the version beside is doing.
type Build struct {
	Live, Beside uint64 // versions
	// Ready: it has caught up with what the log held at the start, and hasn't
	// stopped.
	Ready bool
	// Done of Total commits that it had to apply at the start, in Elapsed.
	Done, Total uint64
	Elapsed     time.Duration
	// Remaining is how long the rest takes at the speed until now: 0 when it is
	// Ready, -1 where nothing is known yet.
	Remaining time.Duration
	// Parked is how many commits it has set aside, by its OnFailure, or has a
	// record of.
	Parked int
	Err    error // why it stopped; nil while it runs
}

// Build returns how the version beside is doing; the zero Build before Start.
func (b *BlueGreen[P]) Build() Build { return b.s.build() }

func (s *switching) build() Build {
	live := s.live.Load()
	n, u := s.nodes[1-live], s.unitOf(1-live)
	if u == nil {
		return Build{}
	}
	b := Build{Live: s.nodes[live].version, Beside: n.version}
	if n.park != nil {
		b.Parked = n.park.t.size()
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	for feed, target := range u.target {
		from := min(u.done[feed], target)
		b.Total += target - from
		b.Done += min(max(n.pos[feed], from), target) - from
	}
	switch {
	case n.stopped != nil:
		b.Err = n.stopped
		b.Remaining = -1
		return b
	case u.isCaught:
		b.Ready, b.Done, b.Elapsed = true, b.Total, n.recovery.Took
		return b
	}
	b.Elapsed, b.Remaining = time.Since(u.begun), -1
	if b.Done > 0 {
		b.Remaining = time.Duration(float64(b.Elapsed) / float64(b.Done) * float64(b.Total-b.Done))
	}
	return b
}

// String is one line for an operator.
func (b Build) String() string {
	switch {
	case b.Err != nil:
		return fmt.Sprintf("version %d serves; version %d: %v", b.Live, b.Beside, b.Err)
	case b.Ready && b.Parked > 0:
		return fmt.Sprintf("version %d serves; version %d is ready, but for %d commits that are set aside", b.Live, b.Beside, b.Parked)
	case b.Ready:
		return fmt.Sprintf("version %d serves; version %d is ready", b.Live, b.Beside)
	case b.Remaining < 0:
		return fmt.Sprintf("version %d serves; version %d: %d of %d commits", b.Live, b.Beside, b.Done, b.Total)
	}
	return fmt.Sprintf("version %d serves; version %d: %d of %d commits, %s to go", b.Live, b.Beside, b.Done, b.Total, b.Remaining.Round(time.Second))
}
