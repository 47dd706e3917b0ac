package eventlog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidemark-es/tidemark/internal/gaps"
	"github.com/tidemark-es/tidemark/internal/problem"
	"github.com/tidemark-es/tidemark/timeframe"
)

// GapKind is why positions of a feed hold nothing that is read.
type GapKind int

// The kinds of entries in a feed's register of gaps.
const (
	// GapAccepted: the messages are gone, and somebody accepts that.
	GapAccepted = GapKind(gaps.Accepted)
	// GapPassed: the messages are there, can't be decoded, and are passed over.
	GapPassed = GapKind(gaps.Passed)
	// GapErased: the messages were removed on purpose.
	GapErased = GapKind(gaps.Erased)
)

func (k GapKind) String() string {
	switch k {
	case GapAccepted:
		return "accepted gap"
	case GapPassed:
		return "passed over"
	case GapErased:
		return "erased"
	}
	return fmt.Sprintf("kind %d", int(k))
}

// SeqRange is the sequences from First to Last, both included.
type SeqRange struct{ First, Last uint64 }

// Gap is an entry of a feed's register of gaps: positions that every reader, in
// every process, goes past from then on.
type Gap struct {
	Kind   GapKind
	Ranges []SeqRange // ascending
	// Pending: the erasure was registered, and the messages may still be there:
	// it is under way, or was interrupted. Erasing again completes it.
	Pending    bool
	Reason, By string
	At         time.Time
	// Print is the fingerprint of the message at a single position; of an
	// erasure of several, one over all. Zero where it isn't known.
	Print timeframe.Fingerprint
}

// Note says why something is registered.
type Note struct {
	// Reason is required, at most 512 bytes.
	Reason string
	// By is who decided it, at most 128 bytes. Default: the host's and the
	// program's name.
	By string
	// Force lets Pass register a message that another release may be able to
	// read, since only its codec or the types of its events aren't known here.
	Force bool
}

// Gaps reads the feed's register of gaps from its leader, in the order in which
// it was made. Where entries were merged, the last time stays
// (docs/format-register.md).
//
// Errors: ErrCorrupt (the register is damaged, or of a newer release);
// ErrUnavailable, ErrDenied.
func (f *Feed) Gaps(ctx context.Context) ([]Gap, error) {
	if err := f.online(); err != nil {
		return nil, err
	}
	if err := f.gaps.refresh(ctx); err != nil {
		return nil, err
	}
	known := f.gaps.now.Load()
	if known.broken != nil {
		return nil, known.broken
	}
	out := make([]Gap, 0, len(known.reg.Entries))
	for _, e := range known.reg.Entries {
		g := Gap{Kind: GapKind(e.Kind), Ranges: publicRanges(e.Ranges), Pending: e.Pending, Reason: e.Reason, By: e.By, At: e.At}
		if len(e.Prints) > 0 {
			g.Print = gaps.Hash(e.Prints...)
		}
		out = append(out, g)
	}
	return out, nil
}

func publicRanges(rs gaps.Ranges) []SeqRange {
	out := make([]SeqRange, len(rs))
	for i, r := range rs {
		out[i] = SeqRange(r)
	}
	return out
}

// Pass registers messages as passed over, so that every reader, projections too,
// goes past them: it is the repair for a message that another tool has published
// to the feed's subjects. It looks at each first: a message that can be decoded
// isn't passed over, Erase is for that. What is registered is the message with
// its fingerprint: another one that comes to its position is read. Registering
// again changes nothing.
//
// A projection that stopped there goes on when it is started again; one that set
// the commit aside keeps its record of it.
//
// Errors: ErrInvalid (nothing is wrong with the message, or there is none; all
// messages are looked at before any is registered); ErrRefused (the register is
// full); ErrUnavailable, ErrDenied, ErrCorrupt. It may be repeated after any.
func (f *Feed) Pass(ctx context.Context, why Note, seqs ...uint64) error {
	e, err := f.entry("pass", gaps.Passed, why)
	if err != nil {
		return err
	}
	e.Ranges = gaps.RangesOf(seqs...)
	for _, r := range e.Ranges {
		for seq := r.First; ; seq++ {
			print, err := f.passable(ctx, seq, why.Force)
			if err != nil {
				return err
			}
			if e.Prints = append(e.Prints, print); seq == r.Last {
				break
			}
		}
	}
	return f.gaps.change(ctx, func(r gaps.Register) (gaps.Register, error) { return r.Add(e), nil })
}

// passable says why a message isn't one to be passed over.
func (f *Feed) passable(ctx context.Context, seq uint64, force bool) (p timeframe.Fingerprint, err error) {
	no := func(why string) (timeframe.Fingerprint, error) {
		return p, fmt.Errorf("eventlog: pass %s@%d: %w: %s", f.name, seq, ErrInvalid, why)
	}
	if seq == 0 {
		return no("sequences begin at 1")
	}
	m, ok, err := f.get(ctx, getRequest{Seq: seq})
	switch {
	case err != nil:
		return p, err
	case !ok:
		return no("there is no message: AcceptGap is for that")
	case f.isMarker(&m):
		return no("it isn't read anyway")
	}
	var c Commit
	problem := f.decode(&c, m)
	for i := 0; problem == nil && i < c.Len(); i++ {
		if problem = c.Event(i).Problem(); problem == nil {
			_, problem = c.Event(i).Value()
		}
	}
	switch {
	case problem == nil:
		return no("nothing is wrong with it: Erase removes what is healthy")
	case (errors.Is(problem, ErrUnknownType) || errors.Is(problem, errUnknownCodec)) && !force:
		return no(fmt.Sprintf("another release may be able to read it (%v): Note.Force registers it all the same", problem))
	}
	return m.fingerprint(), nil
}

// AcceptGap registers the positions from first to last at which messages are
// missing, and returns how many that are: so many events are lost, and readers
// go past them. It is for what can't be restored, and for what somebody has
// purged by hand; between a first and a last that are given (4,096 positions at
// most) also for damaged messages that the server still counts and can't read.
// first 0 is where the log begins, last 0 where it ends;
// positions before the log's beginning were trimmed, and count only where first
// names them: then a projection that is built anew goes past them, too.
//
// Errors: ErrInvalid (nothing is missing there, or the feed is an adopted one,
// whose gaps are passed over anyway); those of Pass.
func (f *Feed) AcceptGap(ctx context.Context, why Note, first, last uint64) (accepted uint64, err error) {
	e, err := f.entry("accept a gap", gaps.Accepted, why)
	if err != nil {
		return 0, err
	}
	if f.adopted != nil {
		return 0, fmt.Errorf("eventlog: accept a gap of feed %q: %w: it is adopted: what is missing there is passed over", f.name, ErrInvalid)
	}
	st, err := f.State(ctx)
	if err != nil {
		return 0, err
	}
	gone, _, err := f.gone(ctx)
	if err != nil {
		return 0, err
	}
	if err := f.gaps.refresh(ctx); err != nil {
		return 0, err
	}
	within := gaps.Range{First: cmp.Or(first, st.First), Last: min(cmp.Or(last, math.MaxUint64), st.Last)}
	if within.First <= within.Last {
		if first > 0 && last > 0 {
			damaged, err := f.damaged(ctx, within, gone)
			if err != nil {
				return 0, err
			}
			gone = gone.Union(damaged)
		}
		e.Ranges = gaps.Ranges{within}.Within(gone).Without(f.gaps.now.Load().reg.Gone())
	}
	if accepted = e.Ranges.Len(); accepted == 0 {
		return 0, fmt.Errorf("eventlog: accept a gap of feed %q from %d to %d: %w: nothing is missing there that isn't registered", f.name, within.First, within.Last, ErrInvalid)
	}
	return accepted, f.gaps.change(ctx, func(r gaps.Register) (gaps.Register, error) { return r.Add(e), nil })
}

// probedAtMost bounds how many positions AcceptGap asks for one by one.
const probedAtMost = 4096

// damaged are the positions within a range at which the stream counts a message
// and can't read it. Each is asked for, so only a range that somebody has named
// is looked through.
func (f *Feed) damaged(ctx context.Context, within gaps.Range, gone gaps.Ranges) (gaps.Ranges, error) {
	var found []uint64
	for _, r := range (gaps.Ranges{within}).Without(gone) {
		for seq := r.First; seq <= r.Last && seq-within.First < probedAtMost; seq++ {
			_, ok, err := f.get(ctx, getRequest{Seq: seq})
			if err != nil && !errors.Is(err, ErrCorrupt) {
				return nil, err
			}
			if err == nil && !ok {
				found = append(found, seq)
			}
		}
	}
	return gaps.RangesOf(found...), nil
}

// gone asks the leader for all positions up to the last one that hold no
// message, and for the first one that holds one.
func (f *Feed) gone(ctx context.Context) (gone gaps.Ranges, first uint64, err error) {
	var resp struct {
		Error *jetstream.APIError `json:"error"`
		State struct {
			Messages uint64   `json:"messages"`
			FirstSeq uint64   `json:"first_seq"`
			LastSeq  uint64   `json:"last_seq"`
			Deleted  []uint64 `json:"deleted"`
		} `json:"state"`
	}
	if err := f.ask(ctx, "STREAM.INFO."+f.stream, map[string]bool{"deleted_details": true}, &resp); err != nil {
		return nil, 0, f.serverError(ctx, "state", err)
	}
	if resp.Error != nil {
		return nil, 0, f.serverError(ctx, "state", resp.Error)
	}
	st := resp.State
	if st.Messages == 0 {
		if st.LastSeq > 0 {
			gone = gaps.Ranges{{First: 1, Last: st.LastSeq}}
		}
		return gone, st.LastSeq + 1, nil
	}
	gone = gaps.RangesOf(st.Deleted...)
	if st.LastSeq-st.FirstSeq+1 != st.Messages+gone.Len() {
		return nil, 0, fmt.Errorf("eventlog: feed %q: %w: the server has %d messages from %d to %d, and names %d that aren't there", f.name, ErrUnavailable, st.Messages, st.FirstSeq, st.LastSeq, gone.Len())
	}
	if st.FirstSeq > 1 {
		gone = gone.Union(gaps.Ranges{{First: 1, Last: st.FirstSeq - 1}})
	}
	return gone, st.FirstSeq, nil
}

// entry begins an entry of the register.
func (f *Feed) entry(op string, kind gaps.Kind, why Note) (gaps.Entry, error) {
	if err := f.online(); err != nil {
		return gaps.Entry{}, err
	}
	var p problem.List
	if why.Reason == "" || len(why.Reason) > gaps.MaxReason || !utf8.ValidString(why.Reason) {
		p.Add("Note.Reason is required, of 1 to %d bytes of UTF-8", gaps.MaxReason)
	}
	if len(why.By) > gaps.MaxBy || !utf8.ValidString(why.By) {
		p.Add("Note.By has at most %d bytes of UTF-8", gaps.MaxBy)
	}
	by := why.By
	if by == "" {
		host, _ := os.Hostname()
		by = strings.ToValidUTF8(host+" "+filepath.Base(os.Args[0]), "?")
		by = by[:min(len(by), gaps.MaxBy)]
	}
	return gaps.Entry{Kind: kind, At: time.Now().UTC(), Reason: why.Reason, By: strings.ToValidUTF8(by, "")}, p.Err("eventlog: "+op, ErrInvalid)
}
