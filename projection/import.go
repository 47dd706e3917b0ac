package projection

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/lease"
	"github.com/tidemark-es/tidemark/snapshot"

	"github.com/tidemark-es/tidemark/internal/grace"
)

// importer is a store that takes snapshots over from a peer.
type importer interface {
	Import(ctx context.Context, unit string, from snapshot.Peer, o snapshot.ImportOptions) (snapshot.ImportReport, error)
}

// ImportOptions say how Import goes about it; the zero value is a good default.
type ImportOptions struct {
	// CheckOnly says what would be restored, and changes nothing.
	CheckOnly bool
	// Whole takes the peer's state where it differs from this store's own at
	// one timeframe of one history, and wherever they could be compared.
	Whole bool
	// Limits of what is taken from the peer; see snapshot.Limits.
	Limits snapshot.Limits
}

// Import takes a peer's snapshots over with the default configuration; see
// Config.Import.
func Import(ctx context.Context, log *eventlog.Log, from snapshot.Peer, o ImportOptions, ps ...Projection) ([]snapshot.ImportReport, error) {
	return Config{}.Import(ctx, log, from, o, ps...)
}

// Import takes over, for each unit, the newest of a peer's snapshots that
// belongs to this log and this code, and is further than what the store has:
// the next Start restores it. The projections given are used to know the code,
// and can't be started any more: make new ones for Start. Start does all this by
// itself where Config.Peers says so.
//
// Every timeframe is checked against this log's own messages (the anchors of
// each feed that a projection reads), as a restore does; what the peer has of
// projections that weren't given isn't taken. See snapshot.Store.Import for how
// it steps back, goes on after an interruption and verifies. The unit's lease is
// held meanwhile, so a unit that runs somewhere isn't imported into: that is a
// *lease.HeldError. A process that has died holds its lease until it expires.
//
// There is a report for each unit in the order of ps, also for those that
// failed. Errors, joined: ErrInvalid; *snapshot.NoMatchError where nothing fits,
// after which Start replays; and those of snapshot.Store.Import.
func (c Config) Import(ctx context.Context, log *eventlog.Log, from snapshot.Peer, o ImportOptions, ps ...Projection) ([]snapshot.ImportReport, error) {
	if log == nil || from == nil {
		return nil, fmt.Errorf("projection: %w: nil log or peer", ErrInvalid)
	}
	c, err := c.withDefaults(ctx, log)
	if err != nil {
		return nil, err
	}
	rt := &Runtime{log: log, cfg: c, done: make(chan struct{})}
	if rt.units, err = makeUnits(rt, ps); err != nil {
		return nil, err
	}
	reports := make([]snapshot.ImportReport, len(rt.units))
	errs := make([]error, len(rt.units))
	for i, u := range rt.units {
		reports[i], errs[i] = u.importFrom(ctx, from, o)
	}
	return reports, errors.Join(errs...)
}

// importFrom takes the unit's lease and a peer's snapshots.
func (u *unit) importFrom(ctx context.Context, from snapshot.Peer, o ImportOptions) (r snapshot.ImportReport, err error) {
	store, ok := u.rt.cfg.Store.(importer)
	if !ok || u.rt.cfg.NoSnapshots {
		return r, fmt.Errorf("projection: unit %q: %w: there is no store that imports", u.name, ErrInvalid)
	}
	opts := snapshot.ImportOptions{CheckOnly: o.CheckOnly, Whole: o.Whole, Limits: o.Limits, Check: u.importable}
	for _, n := range u.savedNodes() {
		opts.Members = append(opts.Members, n.name)
	}
	if len(opts.Members) == 0 {
		return snapshot.ImportReport{Unit: u.name, UpToDate: true}, nil // nothing of it is ever saved
	}
	if !o.CheckOnly {
		var l *lease.Lease
		if l, err = u.rt.cfg.Leases.TryAcquire(ctx, "snapshots."+u.name); err != nil {
			return r, fmt.Errorf("projection: import into unit %q: %w", u.name, err)
		}
		defer func() {
			free, cancel := grace.After(ctx, releaseTimeout)
			defer cancel()
			err = errors.Join(err, l.Release(free))
		}()
		if err = u.saver.owner.claim(ctx, l); err != nil {
			return r, err
		}
		opts.Epoch = l.Epoch()
	}
	return store.Import(ctx, u.name, from, opts)
}

// importable asks this log and this code about a manifest, whoever wrote it.
func (u *unit) importable(ctx context.Context, m *snapshot.Manifest) error {
	c := &candidate{Manifest: m, findings: make(map[string]finding)}
	for _, n := range u.savedNodes() {
		if _, ok := m.Member(n.name); !ok {
			continue
		}
		var f fit
		if f.why, _ = n.understands(c); f.why == "" {
			if err := u.belongs(ctx, c, n, &f); err != nil {
				return err
			}
		}
		if f.why != "" {
			return fmt.Errorf("%w: projection %q: %s", snapshot.ErrNoMatch, n.name, f.why)
		}
	}
	return nil
}

// sync asks the peers before a unit is restored, one after another, until one
// has something. None of them is needed: what goes wrong costs a replay.
func (u *unit) sync(ctx context.Context) {
	for i, p := range u.rt.cfg.Peers {
		r, err := u.importFrom(ctx, p, ImportOptions{Limits: u.rt.cfg.PeerLimits})
		for _, why := range r.Skipped {
			u.rt.cfg.Logger.Warn().Str("unit", u.name).Int("peer", i).Msg("projection: the peer's " + why)
		}
		switch {
		case err == nil:
			return
		case errors.Is(err, lease.ErrHeld):
			u.rt.cfg.Logger.Info().Err(err).Str("unit", u.name).Msg("projection: another process saves this unit: its snapshots serve")
			return
		}
		u.rt.cfg.Logger.Warn().Err(err).Str("unit", u.name).Int("peer", i).Msg("projection: nothing was imported")
		if ctx.Err() != nil {
			return
		}
	}
}

// SnapshotHandler gives the whole state of this runtime to everybody whom
// authorize lets pass; with nil that is everybody who reaches it. It serves the
// snapshots to peers (snapshot.HTTP) while the runtime runs: mount it with
// http.StripPrefix; see snapshot.Handler. With a store that isn't a *snapshot.Store, or without
// snapshots, there is nothing to be found.
func (rt *Runtime) SnapshotHandler(authorize func(*http.Request) error) http.Handler {
	s, ok := rt.cfg.Store.(interface {
		Handler(authorize func(*http.Request) error) http.Handler
	})
	if ok && !rt.cfg.NoSnapshots {
		return s.Handler(authorize)
	}
	return http.NotFoundHandler()
}
