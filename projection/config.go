package projection

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/rs/zerolog"
	"github.com/tidemark-es/tidemark/dependants"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/problem"
	"github.com/tidemark-es/tidemark/lease"
	"github.com/tidemark-es/tidemark/snapshot"
	"github.com/tidemark-es/tidemark/timeframe"
)

// Store is where a runtime keeps snapshots; *snapshot.Store is one. Its
// methods are called from several goroutines, Save for one unit never twice
// at a time.
type Store interface {
	Candidates(ctx context.Context, unit string) ([]snapshot.Candidate, error)
	Load(ctx context.Context, m *snapshot.Manifest, member string) iter.Seq2[snapshot.Change, error]
	Save(ctx context.Context, unit string, base *snapshot.Manifest, cut snapshot.Cut) (*snapshot.Manifest, error)
}

// Config says how projections run; the zero value is a good default.
type Config struct {
	// Store keeps the snapshots. Default: the bucket <app>_snapshots on the
	// log's server.
	Store Store
	// Leases decide which process saves a unit that several run: one at a
	// time, the others follow, and take over when it is gone. Default: those
	// in the bucket <app>_leases on the log's server, expiring after 10 s.
	Leases *lease.Manager
	// Dependants is the register of who needs which part of the log. Default:
	// that in the bucket <app>_dependants on the log's server.
	Dependants *dependants.Registry
	// Expiry is after how long without a process that runs them these units
	// don't keep the log from being trimmed any more (default 30 days).
	// Negative: they always do.
	Expiry time.Duration
	// Compaction is when the log is trimmed without anyone asking. Default:
	// never; see Runtime.Compact.
	Compaction CompactPolicy
	// Peers are asked at the start, one after another, for snapshots that are
	// further than the store's own; see Config.Import. Whatever goes wrong with
	// that is logged, and costs a longer replay.
	Peers []snapshot.Peer
	// PeerLimits bound, for each unit and peer, what is taken from a peer, and
	// how long that may take (default 15 minutes).
	PeerLimits snapshot.Limits
	// NoSnapshots neither restores nor saves: every start replays.
	NoSnapshots bool
	// Snapshots is when snapshots are saved, and how many are retained.
	Snapshots Policy
	// Unverifiable is what becomes of a snapshot that nothing contradicts, and
	// that the log can't confirm any more. Default: TrustTrimmed.
	Unverifiable Unverifiable
	// Replay names units that are derived from the log anew: their snapshots
	// are removed, and all events applied. It is for one start, to repair a state
	// that differs from what the log says (ErrDiverged), while no other process
	// runs the unit. Where the log was trimmed Start fails with
	// eventlog.ErrTrimmed instead, and nothing is removed.
	Replay []string
	// Background lets Start return when the projections are restored, before
	// they have caught up with the log.
	Background bool
	// Progress is told how catching up goes, at most ten times a second, and
	// once at its end. Calls come one at a time.
	Progress func(Progress)
	// Stopped is told when a projection stops for good. It is called on the
	// unit's goroutine.
	Stopped func(*StoppedError)
	// StallAfter is how long an event waits for what its writer had seen
	// (eventlog.Draft.Seen) before that is reported, in the log and to Stalled
	// (default 10 s). A feed that is stalled doesn't hold Start up.
	StallAfter time.Duration
	// Stalled is told of an event that has waited for StallAfter, once for
	// each, and at once of one that waits in a circle. It is called on the
	// unit's goroutine.
	Stalled func(eventlog.Stall)
	// Parked is told when a commit was parked or skipped (OnFailure). It is
	// called on the unit's goroutine.
	Parked func(Parked)
	// Diverged is told when this process finds that another one came to a
	// different state from the same events. Both go on. It may be called by
	// several goroutines.
	Diverged func(*DivergedError)
	// CompareEvery is how often this process compares its digests with the
	// snapshots of a unit that another one saves (default 1 minute; negative:
	// only when CompareSnapshots asks).
	CompareEvery time.Duration
	// StuckAfter is how long a unit may be at one run of commits, which is made
	// to take milliseconds, before it counts as stuck (default 5 s): Healthy is
	// an ErrStuck then, and readers that wait for it are logged, with the stack
	// of the unit's goroutine. Programs with very slow handlers set it higher.
	StuckAfter time.Duration
	// CloseTimeout bounds Runtime.Close (default 1 minute; negative: it waits
	// for as long as it takes). Then Close returns an ErrStuck, and what it has
	// waited for goes on without anyone to wait for it.
	CloseTimeout time.Duration
	// Logger is the log's unless set.
	Logger *zerolog.Logger
}

// Policy says when a unit is saved without anyone asking, and what is retained
// of it. Its zero value is: after 1,000 events or 16 MiB of them, a second
// apart at least, and when the runtime is closed; the newest three.
type Policy struct {
	// Events is after how many events (default 1,000).
	Events uint64
	// Bytes is after how many bytes of event payload (default 16 MiB).
	Bytes uint64
	// MinInterval is the least time between two saves (default 1 s).
	MinInterval time.Duration
	// NotOnClose leaves out the save when the runtime is closed.
	NotOnClose bool

	// Keep, KeepFor and KeepBytes say how many snapshots of each unit are
	// retained: the newest Keep (at least 2; default 3); with KeepFor also
	// those of so long ago, about 100 of them, evenly spaced, from which older
	// states are near (AsOf); of these as many as hold KeepBytes bytes together
	// with the newest ones (0: no bound). The log isn't trimmed beyond the
	// oldest that is retained. They are for the default store: a Config.Store
	// has its own (snapshot.Options, which says more).
	Keep      int
	KeepFor   time.Duration
	KeepBytes uint64
}

// Progress is how far a unit has come while it catches up.
type Progress struct {
	Unit    string
	Done    uint64 // commits, from where it was restored
	Total   uint64
	Elapsed time.Duration
}

func (c Config) withDefaults(ctx context.Context, log *eventlog.Log) (Config, error) {
	c.Snapshots.Events = cmp.Or(c.Snapshots.Events, 1000)
	c.Snapshots.Bytes = cmp.Or(c.Snapshots.Bytes, 16<<20)
	c.Snapshots.MinInterval = cmp.Or(c.Snapshots.MinInterval, time.Second)
	c.CompareEvery = cmp.Or(c.CompareEvery, time.Minute)
	c.CloseTimeout = cmp.Or(c.CloseTimeout, time.Minute)
	c.StuckAfter = cmp.Or(c.StuckAfter, defaultStuckAfter)
	c.StallAfter = cmp.Or(c.StallAfter, 10*time.Second)
	if c.Logger == nil {
		l := log.Logger()
		c.Logger = &l
	}
	if err := c.validate(); err != nil {
		return c, err
	}
	if c.Store == nil && !c.NoSnapshots {
		s, err := c.openStore(ctx, log)
		if err != nil {
			return c, err
		}
		c.Store = s
	}
	if c.Leases == nil && !c.NoSnapshots {
		m, err := lease.New(lease.Options{
			App: log.App(), JetStream: log.JetStream(), APIPrefix: log.APIPrefix(), Session: log.Session(),
			Replicas: log.Replicas(), Memory: log.InMemory(), Logger: *c.Logger,
		})
		if err != nil {
			return c, fmt.Errorf("projection: leases: %w", err)
		}
		c.Leases = m
	}
	if c.Expiry = cmp.Or(c.Expiry, defaultExpiry); c.Expiry < 0 {
		c.Expiry = 0 // as the register has it
	}
	if c.Dependants == nil {
		r, err := dependants.New(dependants.Options{
			App: log.App(), JetStream: log.JetStream(), APIPrefix: log.APIPrefix(), Replicas: log.Replicas(), Memory: log.InMemory(),
		})
		if err != nil {
			return c, fmt.Errorf("projection: dependants: %w", err)
		}
		c.Dependants = r
	}
	return c, nil
}

// Unit is several projections that are saved at one cut, under one name.
// They share their reading of the log, and its position. Projections given to
// Start by themselves are units of one.
type Unit struct {
	name  string
	parts []Projection
}

// NewUnit makes a unit. The name is stored: lower-case letters, digits and
// '-', at most 64.
func NewUnit(name string, parts ...Projection) *Unit { return &Unit{name: name, parts: parts} }

func (u *Unit) projections() (string, []*node) {
	if u == nil {
		return "", nil
	}
	var nodes []*node
	for _, p := range u.parts {
		if p != nil {
			_, ns := p.projections()
			nodes = append(nodes, ns...)
		}
	}
	return u.name, nodes
}

// makeUnits checks what Start was given.
func makeUnits(rt *Runtime, ps []Projection) ([]*unit, error) {
	var p problem.List
	var parts []part
	var begun []*node
	names, nodes := make(map[string]bool), make(map[string]bool)
	for _, pr := range ps {
		if pr == nil {
			p.Add("a nil projection")
			continue
		}
		name, ns := pr.projections()
		if name == "" && ns == nil {
			p.Add("a nil %T", pr)
			continue
		}
		if pair, ok := pr.(switched); ok {
			rt.pairs = append(rt.pairs, pair.switched())
		}
		if err := timeframe.ValidName(name); err != nil {
			p.Add("unit: %v", err)
		}
		if names[name] {
			p.Add("two units are called %q", name)
		}
		if len(ns) == 0 {
			p.Add("unit %q is empty", name)
		}
		names[name] = true
		for _, n := range ns {
			if nodes[n.name] && !rt.paired(n) {
				p.Add("two projections are called %q", n.name)
			}
			nodes[n.name] = true
			late := func(s string) { rt.cfg.Logger.Error().Str("projection", n.name).Msg("projection: " + s) }
			if n.begin(rt.log, late, &p) {
				begun = append(begun, n)
			}
		}
		parts = append(parts, rt.apart(part{name: name, nodes: ns}, names, &p)...)
	}
	rt.checkPairs(parts, &p)
	rt.checkReplay(names, &p)
	if len(ps) == 0 {
		p.Add("nothing to start")
	}
	components := link(parts, &p)
	sleepers := make([][]*node, len(components))
	for i := range components {
		sleepers[i] = components[i].sleepers(&p)
	}
	if err := p.Err("projection", ErrInvalid); err != nil {
		for _, n := range begun {
			n.abandon()
		}
		return nil, err
	}
	units := make([]*unit, len(components))
	for i := range components {
		components[i].connect()
		units[i] = newUnit(rt, &components[i])
		units[i].bedded(sleepers[i])
	}
	rt.pairUnits(units)
	turns := newTurns(units)
	for _, u := range units {
		u.turns = turns
	}
	return units, nil
}
