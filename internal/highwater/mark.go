// Package highwater is the record of how far a feed's log surely went, and the
// judgement whether a log still goes that far. It asks and stores nothing:
// package eventlog does, in a place apart from the log
// (docs/format-mark.md).
//
// A server that lost the end of a stream says nothing of it, and gives the
// sequence numbers out again. What tells is a mark elsewhere: a sequence that
// was on the disk, or committed by a quorum, with the fingerprint of the
// message there. The record holds a few older ones too (timeframe.Lineage), so
// that a log with another history can be followed back to where both agree.
package highwater

import (
	"fmt"

	"github.com/tidemark-es/tidemark/timeframe"
)

// Mark says how far one feed surely went. It is a value: nothing changes what a
// copy holds.
type Mark struct {
	Feed string
	// Lineage is the log that it is about: its incarnation, and anchors whose
	// newest is the mark itself.
	Lineage timeframe.Lineage
	// Acked is the last sequence that was known to be acknowledged when the
	// mark was written, at or beyond Seq: what lies between may not have been
	// on the disk yet.
	Acked uint64
}

// Seq is how far the log surely went; 0 where nothing is said.
func (m Mark) Seq() uint64 {
	if len(m.Lineage.Anchors) == 0 {
		return 0
	}
	return m.Lineage.Anchors[0].Seq
}

// Seqs are the sequences by which a log is compared with the mark, newest
// first.
func (m Mark) Seqs() []uint64 {
	seqs := make([]uint64, len(m.Lineage.Anchors))
	for i, a := range m.Lineage.Anchors {
		seqs[i] = a.Seq
	}
	return seqs
}

// Advance is the mark further on: the log goes surely to the anchor, and acked
// is known to be acknowledged. A mark of another incarnation begins anew; one
// that is as far already stays.
func (m Mark) Advance(feed, incarnation string, to timeframe.Anchor, acked uint64) Mark {
	if m.Lineage.Incarnation != incarnation {
		m = Mark{Lineage: timeframe.Lineage{Incarnation: incarnation}}
	}
	m.Feed = feed
	if to.Seq > m.Seq() {
		m.Lineage = m.Lineage.Push(to)
	}
	m.Acked = max(acked, m.Seq())
	return m
}

// Accept is the mark of a log whose loss was accepted: what agrees with the log
// up to common stays, and the log's last message is the mark.
func (m Mark) Accept(common uint64, last timeframe.Anchor) Mark {
	m.Lineage = m.Lineage.Push(timeframe.Anchor{Seq: common + 1}) // drops what lies beyond common
	m.Lineage.Anchors = m.Lineage.Anchors[1:]
	if last.Seq > 0 {
		m.Lineage = m.Lineage.Push(last)
	}
	m.Acked = m.Seq()
	return m
}

// Verdict is what a mark says about a log.
type Verdict int

const (
	// Foreign: the mark is of another incarnation, and says nothing.
	Foreign Verdict = iota
	// Holds: the log goes as far as the mark, with the same message there; or
	// it was trimmed beyond it, and has a later one.
	Holds
	// Unread: the log goes as far as the mark, and the message there isn't to
	// be had: it was erased, or is damaged.
	Unread
	// Lost: the log ends before the mark, has another message there, or holds
	// nothing at all.
	Lost
)

// Judgement is the verdict with what follows from it.
type Judgement struct {
	Verdict Verdict
	// From and To are the sequences that are lost, both inclusive; where
	// nothing is, 0. The messages at From and after it may be others by now.
	// Where the log is only shorter, and no anchor says otherwise, what is left
	// is taken for what it was.
	From, To uint64
	// Short is how many acknowledged messages after the mark are missing at the
	// log's end, as far as the mark knows of them.
	Short uint64
	// Reason is a sentence with the numbers in it.
	Reason string
}

// Judge compares the mark with the log as its leader shows it. o.Prints should
// have what is to be had of Seqs; the newest alone is enough while it agrees.
func (m Mark) Judge(o timeframe.Observed) Judgement {
	seq := m.Seq()
	if !o.Exists || o.Incarnation != m.Lineage.Incarnation {
		return Judgement{Verdict: Foreign, Reason: "the mark is of another stream"}
	}
	f := m.Lineage.Check(seq, o)
	j := Judgement{Reason: f.Reason}
	switch {
	case f.Verdict == timeframe.Diverged:
		j.Verdict, j.From, j.To = Lost, f.CommonSeq+1, seq
		switch shorter := o.Last < seq; {
		case shorter && agreesUpTo(m.Lineage, o):
			j.From, j.Reason = o.Last+1, fmt.Sprintf("it ends at %d now", o.Last)
		case shorter:
			j.Reason = fmt.Sprintf("it ends at %d now, and has other messages after %d", o.Last, f.CommonSeq)
		default:
			j.Reason = fmt.Sprintf("it goes to %d, and has other messages after %d", o.Last, f.CommonSeq)
		}
		return j
	case seq > 0 && o.First > o.Last:
		j.Verdict, j.From, j.To, j.Reason = Lost, seq, seq, "it holds nothing, and trimming leaves the last message"
		return j
	case f.Verdict == timeframe.Unverifiable && o.First <= seq:
		j.Verdict = Unread
	default:
		j.Verdict = Holds
	}
	if m.Acked > o.Last {
		j.Short = m.Acked - o.Last
		j.Reason = fmt.Sprintf("the log ends at %d, and %d was acknowledged, though not known to be on the disk", o.Last, m.Acked)
	}
	return j
}

// agreesUpTo says whether no message that is there contradicts the lineage: a
// log that is only shorter lost what lies after its last message, and nothing
// before.
func agreesUpTo(l timeframe.Lineage, o timeframe.Observed) bool {
	for _, a := range l.Anchors {
		if print, there := o.Prints[a.Seq]; there && print != a.Print {
			return false
		}
	}
	return true
}
