package projection

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/snapshot"
	"github.com/tidemark-es/tidemark/timeframe"
)

// Source says where a projection's state came from.
type Source string

// The sources of a state.
const (
	FromNothing  Source = "empty"    // there was neither a snapshot nor an event
	FromSnapshot Source = "snapshot" // restored, and the rest applied
	FromReplay   Source = "replay"   // all events applied, from the first
	FromRows     Source = "rows"     // built from the rows of the tables that it reads
)

// Recovery says how a projection got its state at the start.
type Recovery struct {
	Source   Source
	From     timeframe.Timeframe // what the snapshot included; empty without one
	Snapshot string              // its manifest's ID
	Migrated bool                // from an older version
	// Skipped says why newer snapshots were not used.
	Skipped []string
	// Notes are what an operator should know of the one that was.
	Notes    []string
	expected map[string]bool // of the notes: nothing to warn of
	Replayed uint64          // events applied until it had caught up
	Took     time.Duration   // until then
}

// restore brings every node to the newest state that can be trusted: of the
// candidates, newest first, the first one that belongs to this log and this
// code, else the empty state. Each refusal leaves its reason.
func (u *unit) restore(ctx context.Context) error {
	begun := time.Now()
	u.asked = 0
	if u.replays() {
		return u.replay(ctx, begun)
	}
	if len(u.rt.cfg.Peers) > 0 && !u.rt.cfg.NoSnapshots {
		u.sync(ctx)
	}
	cands, problems, newest, err := u.candidates(ctx)
	if err != nil {
		return err
	}
	// Changes are saved relative to the newest readable snapshot, whether or
	// not it could be used: it may hold projections of other programs.
	var base *snapshot.Manifest
	if len(cands) > 0 && !cands[0].other {
		base = cands[0].Manifest
	}
	u.saver.rebase(base, newest)
	used, err := u.restoreNodes(ctx, cands, problems)
	if err != nil {
		return err
	}
	return u.aim(ctx, used, begun)
}

// restoreNode restores one node and returns the candidate that served, nil
// for none.
func (u *unit) restoreNode(ctx context.Context, n *node, cands []candidate, problems []string) (*candidate, error) {
	rec := Recovery{Source: FromReplay, Skipped: slices.Clone(problems)}
	for i := range cands {
		if n.unsaved {
			break
		}
		c := &cands[i]
		if n.begins(c) {
			n.state.clear()
			rec.Source, rec.From, rec.Snapshot = FromSnapshot, n.of.recovery.From, c.ID.String()
			u.restored(n, maps.Clone(n.of.pos), rec, true)
			return c, nil
		}
		f, err := u.fits(ctx, c, n)
		if err != nil {
			return nil, err
		}
		if f.why == "" {
			if t, ok := n.state.(interface{ expect(snapshot.MemberState) }); ok {
				t.expect(f.member)
			}
			clean := i == 0 && f.migrate == nil && !c.other && f.member.Meaning == n.meaning()
			err := u.load(ctx, c.Manifest, n.name, func(rows iter.Seq2[snapshot.Change, error]) error {
				return n.state.load(withDigests(rows, f.member), f.migrate, clean)
			})
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			if err == nil {
				rec.Source, rec.From, rec.Snapshot = FromSnapshot, f.member.At, c.ID.String()
				rec.Notes, rec.Migrated = append(f.notes, u.orphans(n, c)...), f.migrate != nil
				rec.expect(f.expected...)
				u.restored(n, f.member.At.Map(), rec, !clean)
				if d, ok := snapshot.DigestFrom(f.member.Digest); ok && clean {
					u.remember(n, c.Tag, f.member.At, d)
				}
				return c, nil
			}
			f.why = err.Error()
		}
		rec.Skipped = append(rec.Skipped, fmt.Sprintf("snapshot %s at %s: %s", short(c.ID), c.Tag.At, f.why))
	}
	n.state.clear()
	u.restored(n, make(map[string]uint64), rec, true)
	return nil, nil
}

func (u *unit) restored(n *node, pos map[string]uint64, rec Recovery, reset bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	n.pos, n.recovery, n.stopped, n.applied, n.reset = pos, rec, nil, 0, reset
	n.seen, n.diverged, n.told = nil, nil, nil
}

// fit is whether and how a node can be restored from a candidate.
type fit struct {
	why     string // not; "" where it can
	member  snapshot.MemberState
	migrate migration
	notes   []string
	// expected are those of the notes that only say what the owner of an adopted
	// stream does.
	expected []string
}

func (u *unit) fits(ctx context.Context, c *candidate, n *node) (f fit, err error) {
	if f.why, f.migrate = n.understands(c); f.why != "" {
		return f, nil
	}
	if f.why = u.disagrees(n, c); f.why != "" {
		return f, nil
	}
	return f, u.belongs(ctx, c, n, &f)
}

// belongs says in f why a node's part of a candidate isn't of this log.
func (u *unit) belongs(ctx context.Context, c *candidate, n *node, f *fit) error {
	f.member, _ = c.Member(n.name)
	if u.upTo != nil {
		for feed, seq := range f.member.At.All() {
			if seq > u.upTo[feed] {
				f.why = fmt.Sprintf("feed %q: it is at %d, and %d is asked for", feed, seq, u.upTo[feed])
				return nil
			}
		}
	}
	for _, feed := range n.feedNames() {
		at, ok := f.member.At.Get(feed)
		if !ok {
			continue // absent: it is read from its beginning
		}
		tagged, _ := c.Tag.At.Get(feed)
		found, err := u.check(ctx, c, feed)
		switch {
		case err != nil:
			return err
		case u.feeds[feed].Adopted() && found.Verdict != timeframe.Diverged:
			f.expected = append(f.expected, adoptedNotes(feed, found)...)
			f.notes = append(f.notes, adoptedNotes(feed, found)...)
		case found.Gap:
			f.why = fmt.Sprintf("feed %q: %s", feed, found.Reason)
			return nil
		case found.Verdict == timeframe.Verified, found.CommonSeq >= at && at > 0:
		case found.Verdict == timeframe.Unverifiable:
			why := u.rt.cfg.Unverifiable.refuses(found, at, tagged, c.Tag.Lineages[feed].Incarnation == u.feeds[feed].Incarnation())
			if why != "" {
				f.why = fmt.Sprintf("feed %q: it can't be verified: %s; %s", feed, found.Reason, why)
				return nil
			}
			f.notes = append(f.notes, fmt.Sprintf("feed %q: %s: accepted unverified (Config.Unverifiable)", feed, found.Reason))
		default:
			f.why = fmt.Sprintf("feed %q: it doesn't belong to this log: %s", feed, found.Reason)
			return nil
		}
	}
	return nil
}

// understands says why a node can't read a candidate, "" where it can, and
// by which migration.
func (n *node) understands(c *candidate) (why string, m migration) {
	member, ok := c.Member(n.name)
	if !ok {
		return fmt.Sprintf("it doesn't hold projection %q", n.name), nil
	}
	if member.Codec != n.codec.Name() {
		return fmt.Sprintf("projection %q is stored by codec %q, this program has %q", n.name, member.Codec, n.codec.Name()), nil
	}
	if member.Version != n.version {
		if m = n.migrations[member.Version]; m == nil {
			return fmt.Sprintf("it holds version %d of projection %q, this program has %d and no migration", member.Version, n.name, n.version), nil
		}
		return "", m
	}
	if !n.understandsMeaning(member.Meaning, c) {
		return fmt.Sprintf("the state type, the handled event types, the upcasters that lead to them or the policy for unknown types have changed for projection %q, and its version %d has not", n.name, n.version), nil
	}
	return "", nil
}

// aim sets where reading starts and when the unit has caught up, and makes
// sure that the log still holds what lies between.
func (u *unit) aim(ctx context.Context, used map[*candidate]bool, begun time.Time) error {
	u.cursor = make(map[string]uint64)
	u.prints = make(map[string]timeframe.Fingerprint)
	u.lineage = make(map[string]timeframe.Lineage)
	target := make(map[string]uint64)
	empty := true
	for name, f := range u.feeds {
		st, err := f.State(ctx)
		if err != nil {
			return fmt.Errorf("projection: unit %q: %w", u.name, err)
		}
		if target[name], err = f.Reach(ctx, st); err != nil {
			return fmt.Errorf("projection: unit %q: %w", u.name, err)
		}
		empty = empty && st.Last == 0
		u.cursor[name] = u.start(name)
		if u.cursor[name]+1 < st.First && f.Adopted() && !u.replays() {
			u.noteDropped(name, st.First)
		} else if u.cursor[name]+1 < st.First {
			return fmt.Errorf("projection: unit %q: feed %q: no snapshot fits, and the log begins at %d where %d is wanted: %w%s",
				u.name, name, st.First, u.cursor[name]+1, eventlog.ErrTrimmed, u.reasons())
		}
		if err := u.inherit(ctx, name, used); err != nil {
			return err
		}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.target, u.begun, u.isCaught = target, begun, false
	u.done = make(map[string]uint64)
	maps.Copy(u.done, u.cursor)
	for _, n := range u.nodes {
		if empty && n.recovery.Source == FromReplay {
			n.recovery.Source = FromNothing
		}
		if n.dormant {
			n.recovery = Recovery{}
			continue
		}
		u.logRecovery(n)
	}
	u.logSkipped()
	return nil
}

// inherit continues a feed's lineage from the snapshot that was restored, as
// far as reading starts behind it, so that there is an anchor at the cursor.
func (u *unit) inherit(ctx context.Context, feed string, used map[*candidate]bool) error {
	cursor := u.cursor[feed]
	l := timeframe.Lineage{Incarnation: u.feeds[feed].Incarnation()}
	for c := range used {
		f, ok := c.findings[feed]
		if !ok || f.Verdict == timeframe.Diverged {
			continue
		}
		var older []timeframe.Anchor
		for _, a := range c.Tag.Lineages[feed].Anchors {
			if a.Seq <= cursor {
				older = append(older, a)
			}
		}
		if len(older) > 0 && (len(l.Anchors) == 0 || older[0].Seq > l.Anchors[0].Seq) {
			l.Anchors = older
		}
	}
	if cursor > 0 && (len(l.Anchors) == 0 || l.Anchors[0].Seq < cursor) {
		obs, err := u.feeds[feed].Observe(ctx, cursor)
		if err != nil {
			return err
		}
		if p, ok := obs.Prints[cursor]; ok {
			l = l.Push(timeframe.Anchor{Seq: cursor, Print: p})
		}
	}
	u.lineage[feed] = l
	return nil
}

// start is where a feed must be read from: behind the least position of the
// nodes that read it.
func (u *unit) start(feed string) uint64 {
	first := true
	var least uint64
	for _, n := range u.nodes {
		if n.feeds[feed] == nil {
			continue
		}
		if p := n.pos[feed]; first || p < least {
			least, first = p, false
		}
	}
	return least
}

// reasons lists why no snapshot was good enough, for the error that stops
// the start.
func (u *unit) reasons() string {
	var s strings.Builder
	for _, n := range u.nodes {
		for _, why := range n.recovery.Skipped {
			s.WriteString("\n\t" + n.name + ": " + why)
		}
	}
	return s.String()
}

func (u *unit) logRecovery(n *node) {
	l := u.rt.cfg.Logger
	for _, note := range n.recovery.Notes {
		level := zerolog.WarnLevel
		if n.recovery.expected[note] {
			level = zerolog.DebugLevel
		}
		l.WithLevel(level).Str("unit", u.name).Str("projection", n.name).Msg("projection: " + note)
	}
	l.Info().Str("unit", u.name).Str("projection", n.name).Str("source", string(n.recovery.Source)).Stringer("from", n.recovery.From).Msg("projection: restored")
}

// maxReasons is how many of the reasons for which snapshots weren't used are
// logged; Recovery.Skipped has all.
const maxReasons = 4

// logSkipped warns, once for all that the unit has, of snapshots that weren't
// used: what keeps one from it mostly holds for all of them, and for what reads
// the projection too.
func (u *unit) logSkipped() {
	var names, reasons []string
	skipped := 0
	for _, n := range u.nodes {
		if n.dormant || len(n.recovery.Skipped) == 0 {
			continue
		}
		names = append(names, n.name)
		skipped = max(skipped, len(n.recovery.Skipped))
		for _, why := range n.recovery.Skipped {
			if rest, ok := strings.CutPrefix(why, "snapshot "); ok { // and which, and where it is
				_, why, _ = strings.Cut(rest, ": ")
			}
			if !slices.Contains(reasons, why) {
				reasons = append(reasons, why)
			}
		}
	}
	if len(names) == 0 {
		return
	}
	text := strings.Join(reasons[:min(len(reasons), maxReasons)], "; ")
	if more := len(reasons) - maxReasons; more > 0 {
		text += fmt.Sprintf("; and %d more reasons (Recovery.Skipped)", more)
	}
	u.rt.cfg.Logger.Warn().Str("unit", u.name).Strs("projections", names).Int("snapshots", skipped).Msg("projection: snapshots weren't used: " + text)
}

// expect says which notes are nothing to warn of.
func (r *Recovery) expect(notes ...string) {
	for _, note := range notes {
		if r.expected == nil {
			r.expected = make(map[string]bool)
		}
		r.expected[note] = true
	}
}

func short(id snapshot.ID) string {
	s := id.String()
	return s[:min(8, len(s))]
}
