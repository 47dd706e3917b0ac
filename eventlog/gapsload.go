package eventlog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidemark-es/tidemark/internal/gaps"
	"github.com/tidemark-es/tidemark/internal/kv"
	"github.com/tidemark-es/tidemark/timeframe"
)

// feedGaps is a feed's register of gaps as this process knows it: which
// positions need hold no message, and which messages are passed over. The
// register is a record beside the feed's own in the bucket of feeds
// (docs/format-register.md). It is read when the feed is opened, and again
// before anything is reported that it may explain, so that what another process
// registers counts here from then on.
//
// A register that can't be read explains nothing: reading goes on, and stops at
// the first gap, as without one.
type feedGaps struct {
	f   *Feed
	now atomic.Pointer[knownGaps] // never nil

	mu    sync.Mutex    // held while the record is read
	asked time.Time     // when it was read last
	begin atomic.Uint64 // the stream's first message, when it was read for that

	smu    sync.Mutex
	strays map[uint64]*CorruptError // met by readers, and not passed over; at most strayMost
	others bool                     // there were more than that
}

// knownGaps is a register as it was read. It doesn't change.
type knownGaps struct {
	*gaps.Index
	reg      gaps.Register
	revision uint64
	broken   error // the record can't be read
}

// gapsFresh is how old what is known of the register may be before it is asked
// for again where it could explain something that is in every batch.
const gapsFresh = time.Second

func newFeedGaps(f *Feed) *feedGaps {
	g := &feedGaps{f: f}
	g.now.Store(&knownGaps{Index: gaps.Register{}.Index()})
	return g
}

// strayMost is how many messages that can't be decoded are kept for Check.
const strayMost = 16

func (f *Feed) gapsKey() string { return f.name + ".gaps" }

// covers says whether no message need be at a sequence.
func (g *feedGaps) covers(seq uint64) bool { return g.now.Load().Covers(seq) }

// coversAll says whether no message need be at any of these sequences.
func (g *feedGaps) coversAll(first, last uint64) bool { return g.now.Load().CoversAll(first, last) }

// count is how many sequences from first to last are covered. Of those, so many
// as pending says may still have their messages: they belong to erasures that
// are under way, or were interrupted.
func (g *feedGaps) count(first, last uint64) (covered, pending uint64) {
	now := g.now.Load()
	return now.Count(first, last), now.Pending(first, last)
}

// missing is how many messages that a stream in this state should have are
// neither there nor registered. It reads the register again before it says any.
func (g *feedGaps) missing(ctx context.Context, st State) (uint64, error) {
	n, _, err := g.unregistered(ctx, st)
	return n, err
}

// unregistered is missing, with where they are missed as far as the server can
// say.
func (g *feedGaps) unregistered(ctx context.Context, st State) (n uint64, where gaps.Ranges, err error) {
	if g.agrees(st) {
		return 0, nil, nil
	}
	// What is gone, before what is registered as such: an erasure in between is
	// in the register already.
	gone, first, unsure := g.f.gone(ctx)
	if err := g.refresh(ctx); err != nil {
		return 0, nil, err
	}
	switch {
	case g.agrees(st):
		return 0, nil, nil
	case unsure != nil:
		covered, _ := g.count(st.First, st.Last)
		should := st.Last - st.First + 1 - covered
		return should - min(should, st.Messages), nil, nil
	}
	if err := g.correct(ctx, gone, st.Last); err != nil {
		return 0, nil, err
	}
	if first = max(first, st.First); first <= st.Last {
		where = gone.Within(gaps.Ranges{{First: first, Last: st.Last}}).Without(g.now.Load().reg.Gone())
	}
	return where.Len(), where, nil
}

// agrees says whether the stream has as many messages as the register says.
func (g *feedGaps) agrees(st State) bool {
	if st.First > st.Last {
		return true
	}
	covered, pending := g.count(st.First, st.Last)
	return pending == 0 && st.Messages == st.Last-st.First+1-covered
}

// correct keeps from the count what is registered as gone, and is there: a log
// that lost its end uses numbers again. In the register that stays. A damaged
// message that the server only counts isn't there.
func (g *feedGaps) correct(ctx context.Context, gone gaps.Ranges, last uint64) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now.Load()
	there := now.reg.Gone().Without(gone).Without(now.reg.Pending()).Within(gaps.Ranges{{First: 1, Last: max(last, 1)}})
	for _, r := range there {
		damaged, err := g.f.damaged(ctx, r, nil)
		if err != nil {
			return err
		}
		there = there.Without(damaged)
	}
	if len(there) == 0 {
		return nil
	}
	g.f.log.opts.Logger.Warn().Str("feed", g.f.name).Uint64("first", there[0].First).Uint64("messages", there.Len()).Msg("eventlog: messages are there at positions that are registered as gaps")
	next := *now
	next.Index = now.reg.Less(there).Index()
	g.now.Store(&next)
	return nil
}

// counted is how many positions are registered as lost, of which the stream
// still counts the messages: it can't read them, and doesn't know it.
func (g *feedGaps) counted(st State) uint64 {
	if st.First > st.Last {
		return 0
	}
	covered, _ := g.count(st.First, st.Last)
	there := covered + st.Messages
	return there - min(there, st.Last-st.First+1)
}

// open reads the register for the first time. Who may not read it does without.
func (g *feedGaps) open(ctx context.Context) error {
	err := g.refresh(ctx)
	if errors.Is(err, ErrDenied) {
		g.f.log.opts.Logger.Warn().Err(err).Str("feed", g.f.name).Msg("eventlog: gaps that are registered aren't known")
		return nil
	}
	return err
}

// explains says whether no message need be at any of these sequences, after
// another look at the register where that isn't known.
func (g *feedGaps) explains(ctx context.Context, first, last uint64) (bool, error) {
	if g.coversAll(first, last) {
		return true, nil
	}
	err := g.refresh(ctx)
	return err == nil && g.coversAll(first, last), err
}

// erased is the fingerprint of the message that was erased at a sequence.
func (g *feedGaps) erased(ctx context.Context, seq uint64) (p timeframe.Fingerprint, ok bool) {
	if p, ok = g.now.Load().Erased(seq); ok || g.refreshOld(ctx) != nil {
		return p, ok
	}
	return g.now.Load().Erased(seq)
}

// first is where the log begins whose stream has its first message at a
// sequence: what is registered right before that isn't lost. The register is
// read again when the stream's beginning has moved.
func (g *feedGaps) first(ctx context.Context, first uint64) uint64 {
	if first <= 1 || g.f.adopted != nil || g.f.incarnation == "" {
		return first
	}
	if g.begin.Load() != first && g.refresh(ctx) == nil {
		g.begin.Store(first)
	}
	return g.now.Load().Before(first)
}

// passes says whether a message is registered as passed over.
func (k *knownGaps) passes(m *message) bool {
	prints := k.Passed(m.seq)
	return len(prints) > 0 && slices.Contains(prints, m.fingerprint())
}

// met is called for a message that can't be decoded. It says whether that is
// passed over; else it is kept for Check.
func (g *feedGaps) met(ctx context.Context, e *CorruptError) (passed bool, err error) {
	if err := g.refreshOld(ctx); err != nil && !errors.Is(err, ErrDenied) {
		return false, err
	}
	if slices.Contains(g.now.Load().Passed(e.Seq), e.Print) {
		return true, nil
	}
	g.smu.Lock()
	defer g.smu.Unlock()
	switch {
	case g.strays[e.Seq] != nil:
	case len(g.strays) >= strayMost:
		g.others = true
	case g.strays == nil:
		g.strays = map[uint64]*CorruptError{e.Seq: e}
	default:
		g.strays[e.Seq] = e
	}
	return false, nil
}

// known are the messages that readers have met and can't be decoded, but for
// those that were registered since; others says that there were more.
func (g *feedGaps) known() (strays []*CorruptError, others bool) {
	now := g.now.Load()
	g.smu.Lock()
	defer g.smu.Unlock()
	for seq, e := range g.strays {
		if slices.Contains(now.Passed(seq), e.Print) || now.Covers(seq) {
			delete(g.strays, seq)
			continue
		}
		strays = append(strays, e)
	}
	slices.SortFunc(strays, func(a, b *CorruptError) int { return cmp.Compare(a.Seq, b.Seq) })
	if len(strays) == 0 {
		g.others = false // they are met again where they are read again
	}
	return strays, g.others
}

// refresh reads the register from its leader.
func (g *feedGaps) refresh(ctx context.Context) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.refreshLocked(ctx)
}

// refreshOld is refresh where that was done a while ago.
func (g *feedGaps) refreshOld(ctx context.Context) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if time.Since(g.asked) < gapsFresh {
		return nil
	}
	return g.refreshLocked(ctx)
}

func (g *feedGaps) refreshLocked(ctx context.Context) error {
	known, err := g.read(ctx)
	if err != nil {
		return g.f.serverError(ctx, "read the register of gaps", err)
	}
	g.asked = time.Now()
	if was := g.now.Load(); known.broken != nil && was.broken == nil {
		g.f.log.opts.Logger.Error().Err(known.broken).Str("feed", g.f.name).Msg("eventlog: the register of gaps can't be read")
	}
	g.now.Store(known)
	return nil
}

// read reads the register from its leader; one of another stream is empty.
func (g *feedGaps) read(ctx context.Context) (*knownGaps, error) {
	e, err := g.f.log.feedRegister.Get(ctx, g.f.gapsKey())
	damaged := errors.Is(err, kv.ErrDamaged)
	if err != nil && !damaged {
		return nil, err
	}
	known := &knownGaps{revision: e.Revision}
	if e.Data != nil || damaged {
		if !damaged {
			known.reg, err = gaps.Decode(e.Data)
		}
		if err != nil {
			known.broken = fmt.Errorf("eventlog: register of gaps of feed %q: %w: %w", g.f.name, ErrCorrupt, err)
		}
	}
	if known.reg.Incarnation != g.f.incarnation {
		known.reg = gaps.Register{Incarnation: g.f.incarnation}
	}
	known.Index = known.reg.Index()
	return known, nil
}

// change rewrites the register by compare-and-set until it is as change makes
// it of what is there. It may be repeated after any error.
func (g *feedGaps) change(ctx context.Context, change func(gaps.Register) (gaps.Register, error)) error {
	l := g.f.log
	st, err := g.f.State(ctx)
	if err != nil {
		return err
	}
	for {
		if err := g.refresh(ctx); err != nil {
			return err
		}
		was := g.now.Load()
		if was.broken != nil {
			return was.broken
		}
		reg, err := change(was.reg)
		if err == nil {
			reg, err = reg.Fit(st.First)
		}
		if errors.Is(err, gaps.ErrFull) {
			return fmt.Errorf("eventlog: feed %q: %w: %w: trim the log: what is registered below its beginning is forgotten then", g.f.name, ErrRefused, err)
		}
		if err != nil {
			return err
		}
		data := reg.Append(nil)
		if string(data) == string(was.reg.Append(nil)) {
			return nil
		}
		again, err := l.writeRegister(ctx, g.f.gapsKey(), func(ctx context.Context) error {
			_, err := l.feedRegister.Swap(ctx, g.f.gapsKey(), data, was.revision)
			return err
		})
		if err != nil {
			return g.f.serverError(ctx, "write the register of gaps", err)
		}
		if !again {
			return g.refresh(ctx)
		}
	}
}
