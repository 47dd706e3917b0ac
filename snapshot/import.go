package snapshot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tidemark-es/tidemark/timeframe"
)

// ImportOptions of [Store.Import]. Check is required.
type ImportOptions struct {
	// Check says why a manifest doesn't belong to the log at hand, or to the
	// code: nil where it does. It is asked about the peer's manifests, newest
	// first, about earlier states within each, and about the store's own. An
	// ErrNoMatch is a refusal, after which the next one is tried; any other
	// error ends the import. The manifests that it gets hold Members only.
	Check func(ctx context.Context, m *Manifest) error
	// Members are those to take; empty: all. Others that the store has stay.
	Members []string
	// Epoch of the writer, as Cut.Epoch.
	Epoch uint64
	// CheckOnly finds out what would be done, and writes nothing.
	CheckOnly bool
	// Whole takes the peer's state as it is where its digests differ from the
	// store's wherever both have one; that is refused otherwise.
	Whole bool
	// Limits of what is taken from the peer.
	Limits Limits
}

// ImportReport is what an import did, or would do.
type ImportReport struct {
	Unit     string
	From     timeframe.Timeframe // what the store had before that passed the check
	To       timeframe.Timeframe // what it has after
	Source   ID                  // the peer's manifest; zero where none was taken
	Manifest ID                  // the new one; zero where nothing was written
	UpToDate bool                // the store had all that before
	Members  []string            // that were taken from the peer
	Applied  int                 // of the peer's segments: those on top of the store's own
	Base     int                 // segments of the store that stayed below them
	Chunks   int                 // that were fetched
	Bytes    uint64              // of these. With CheckOnly: of all that Applied needs
	Skipped  []string            // what is newer at the peer, and why it wasn't taken
	Took     time.Duration
}

// Import makes a peer's newest snapshot that passes Check the newest of the
// unit, so that the next start restores it.
//
// Of the peer's manifests, newest first, and of the earlier states that each
// one's segments tell, the first that passes is taken. Where a digest along its
// chain is that of the store's own newest state at the same timeframe, only the
// segments behind it are fetched and stand on the store's; else, all are.
// Chunks that the bucket holds aren't fetched again, so an import that was
// interrupted goes on where it ended. Every chunk is checked against its name
// before it is written; then the whole state is read back and its digest
// compared, whole; then the manifest is written, and last the head is moved, by
// compare-and-set and with the epoch. Before that, what the store had is as it
// was; after it, it remains as a fallback. Where the store's own state passes
// the check and covers the peer's, nothing is done (UpToDate): importing twice
// is harmless.
//
// Errors: ErrNotFound where the peer has nothing of the unit; ErrUnknownFormat
// where a newer release wrote its head; *NoMatchError where none of what it has
// fits, for each with the reason; *InvalidError; *ConflictError and
// *FencedError as of Save; *LimitError; or one of either connection, such as
// ErrStalled, after which the same call goes on. After any of them the unit's
// state is what it was.
func (s *Store) Import(ctx context.Context, unit string, from Peer, o ImportOptions) (ImportReport, error) {
	started := time.Now()
	o.Limits = o.Limits.withDefaults()
	im := &importing{s: s, o: o, report: ImportReport{Unit: unit}}
	im.asking = asking{peer: from, limits: o.Limits, sizes: make(map[ID]int)}
	within, cancel := o.Limits.bounded(ctx)
	defer cancel()
	err := im.run(within, unit)
	im.report.Took = time.Since(started)
	if err != nil && within.Err() != nil && ctx.Err() == nil {
		err = context.Cause(within) // whatever it was that ended with it
	}
	if err != nil {
		return im.report, wrap("import", unit, err)
	}
	r := &im.report
	s.opts.Logger.Info().Str("unit", unit).Stringer("from", r.From).Stringer("to", r.To).Bool("up to date", r.UpToDate).
		Bool("check only", o.CheckOnly).Int("chunks", r.Chunks).Dur("took", r.Took).Msg("snapshots imported")
	return *r, nil
}

// NoMatchError says that nothing of what a peer has fits: the log is another
// one, or was cut back, or trimmed further, or the code is another. The way on
// is a full replay of the log, which a start does by itself.
type NoMatchError struct {
	Unit    string
	Reasons []string // newest first
}

// Error lists the reasons.
func (e *NoMatchError) Error() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%v: unit %q", ErrNoMatch, e.Unit)
	for _, why := range e.Reasons {
		s.WriteString("\n\t" + why)
	}
	return s.String()
}

// Unwrap returns [ErrNoMatch].
func (e *NoMatchError) Unwrap() error { return ErrNoMatch }

// importing is one import.
type importing struct {
	s      *Store
	o      ImportOptions
	asking asking
	head   headState
	base   *Manifest // the store's newest that passes; nil where none does
	report ImportReport
	// differs: a state of the peer's was refused for its digest. That the store
	// is ahead of an older one is no good news then.
	differs  bool
	headless bool // the store's head is missing or broken
	looked   int  // states of the peer's, <= maxStates
}

func (im *importing) run(ctx context.Context, unit string) error {
	if err := validUnit(unit); err != nil {
		return err
	}
	if im.asking.peer == nil || im.o.Check == nil {
		return &InvalidError{What: "import", Problems: []error{errors.New("a peer and Check are required")}}
	}
	if err := im.local(ctx, unit); err != nil {
		return err
	}
	ids, err := im.remote(ctx, unit)
	if err != nil {
		return err
	}
	for _, id := range ids {
		m, err := im.manifest(ctx, unit, id)
		if err != nil {
			if err = im.skip(id, timeframe.Timeframe{}, err); err != nil {
				return err
			}
			continue
		}
		for earlier := range states(narrow(m, im.o.Members)) {
			if im.looked++; im.looked > maxStates {
				return &NoMatchError{Unit: unit, Reasons: append(im.report.Skipped, fmt.Sprintf("no more than %d states are looked at", maxStates))}
			}
			err := ctx.Err()
			if err == nil {
				err = im.o.Check(ctx, earlier)
			}
			if err == nil {
				err = im.take(ctx, earlier)
			}
			if err == nil {
				return nil
			}
			if err = im.skip(id, earlier.Tag.At, err); err != nil {
				return err
			}
		}
	}
	return &NoMatchError{Unit: unit, Reasons: im.report.Skipped}
}

// skip notes why something isn't taken, and returns errors that end the import.
func (im *importing) skip(id ID, at timeframe.Timeframe, err error) error {
	for _, class := range []error{ErrNoMatch, ErrCorrupt, ErrUnknownFormat} {
		if errors.Is(err, class) {
			im.report.Skipped = append(im.report.Skipped, fmt.Sprintf("snapshot %s at %s: %v", id.short(), at, err))
			return nil
		}
	}
	return err
}

// local reads the head and finds the base.
func (im *importing) local(ctx context.Context, unit string) (err error) {
	if im.head, err = im.s.readHead(ctx, unit); err != nil {
		return err
	}
	im.head.writer = max(im.s.opts.Epoch, im.o.Epoch)
	switch {
	case errors.Is(im.head.problem, ErrUnknownFormat):
		return im.head.problem
	case im.head.problem != nil || !im.head.present:
		im.headless = true
		if im.head, err = im.s.followBroken(ctx, im.head, nil); err != nil {
			return err
		}
	case im.head.epoch > im.head.writer && !im.o.CheckOnly:
		return &FencedError{Unit: unit, Epoch: im.head.writer, Head: im.head.epoch}
	}
	for _, id := range im.head.ids {
		c, err := im.s.candidate(ctx, unit, id)
		if err != nil {
			return err
		}
		if c.Manifest == nil {
			continue
		}
		mine := narrow(c.Manifest, im.o.Members)
		if mine == nil { // it has others only, which stay
			im.base = c.Manifest
			return nil
		}
		switch err := im.o.Check(ctx, mine); {
		case err == nil:
			im.base, im.report.From, im.report.To = c.Manifest, mine.Tag.At, mine.Tag.At
			return nil
		case !errors.Is(err, ErrNoMatch):
			return err
		}
	}
	return nil
}

// remote reads the peer's head.
func (im *importing) remote(ctx context.Context, unit string) ([]ID, error) {
	data, err := im.asking.get(ctx, nameOf(headKey(unit)), maxHead)
	if err != nil {
		return nil, fmt.Errorf("ask the peer for its head: %w", err)
	}
	h, err := decodeHead(data)
	if err == nil && h.unit != unit {
		err = corrupt("the head is of unit %q", h.unit)
	}
	if err != nil {
		return nil, fmt.Errorf("the peer's head: %w", err)
	}
	return h.ids, nil
}

// manifest reads one of the peer's.
func (im *importing) manifest(ctx context.Context, unit string, id ID) (*Manifest, error) {
	data, err := im.fetch(ctx, manifestKey(unit, id), id)
	if err != nil {
		return nil, err
	}
	m, err := decodeManifest(data)
	if err == nil && m.Unit != unit {
		err = corrupt("the manifest is of unit %q", m.Unit)
	}
	return m, err
}

// take makes m the newest, on top of what the store has where that goes, and
// else as it is.
func (im *importing) take(ctx context.Context, m *Manifest) error {
	j := im.join(m)
	if j.refused && !im.o.Whole {
		im.differs = true
		return fmt.Errorf("%w: the same events led to different states: %s", ErrNoMatch, strings.Join(j.conflicts, "; "))
	}
	if j.refused {
		whole := im.whole(m)
		whole.conflicts, j = j.conflicts, whole
	}
	im.report.Skipped = append(im.report.Skipped, j.conflicts...)
	// Without a head, as an import into nothing leaves it that dies before the
	// last write, what there is has to become one.
	if im.base != nil && !slices.Contains(j.taken, true) && !im.headless {
		if im.differs {
			return fmt.Errorf("%w: the store has a later state, which differs from the peer's", ErrNoMatch)
		}
		im.report.UpToDate = true
		return nil
	}
	err := im.store(ctx, m, j)
	if errors.Is(err, ErrCorrupt) && j.kept > 0 {
		// What is ours below may be what is damaged.
		im.report.Skipped = append(im.report.Skipped, fmt.Sprintf("not on top of the store's own state: %v", err))
		err = im.store(ctx, m, im.whole(m))
	}
	return err
}
