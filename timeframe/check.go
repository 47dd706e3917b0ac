package timeframe

import "fmt"

// Verdict is whether a state still belongs to the log that it is checked
// against. The zero value is [Unverifiable], so that a finding that nobody
// filled in vouches for nothing.
type Verdict int

// The three results of a check.
const (
	// Unverifiable: nothing contradicts the state, and the message that would
	// prove it is gone. A policy decides, loudly.
	Unverifiable Verdict = iota
	// Verified: the log holds at this sequence what it held when the state was
	// taken. (Design talk calls it "equal"; that name belongs to [Ordering].)
	Verified
	// Diverged: the log has another history than the state. It must not be used.
	Diverged
)

// String returns the name of the constant in lower case.
func (v Verdict) String() string {
	switch v {
	case Unverifiable:
		return "unverifiable"
	case Verified:
		return "verified"
	case Diverged:
		return "diverged"
	}
	return "unknown"
}

// Observed is what a log was seen to be. It should come from the stream's
// leader: a follower may lag, and look as if it had lost its tail.
type Observed struct {
	Exists      bool   // the stream is there; all else is ignored where it isn't
	Incarnation string // the id that the stream carries; empty where it has none
	// First and Last are as JetStream reports them. An empty stream has
	// First = Last+1, or both at 0 where nothing was ever written.
	First, Last uint64
	// Prints holds the fingerprints of the messages that were found, by
	// sequence. Of the lineage's anchors, the one at the checked sequence
	// decides; older ones tell how far back the histories still agree. A
	// sequence that is left out counts as a message that is gone.
	Prints map[uint64]Fingerprint
}

// Finding is the answer of [Lineage.Check].
type Finding struct {
	Verdict Verdict
	// Reason is a sentence for a log line, with the numbers in it.
	Reason string
	// CommonSeq is the newest anchor, at the checked sequence or before it, whose
	// message is in the log as it was; 0 where none is. States up to there
	// belong to this log.
	CommonSeq uint64
	// Gap: the log was trimmed beyond the state (First > seq+1), so that what
	// follows the state is gone too and catching up would skip it silently.
	Gap bool
}

// Check decides whether a state that includes one feed up to seq still belongs
// to the log as observed. l is the feed's lineage from the state's tag; it
// should have an anchor at seq (see [Tag.Validate]), and newer ones are ignored.
//
// Diverged is said where the stream is missing, has another incarnation, ends
// before seq, or holds another message at an anchor's sequence than the state
// was derived from. Verified is said where seq is 0, or the message at seq is
// the same. Unverifiable is said where the message at seq is gone. An anchor
// that agrees proves its own position; it can't prove the messages before it.
func (l Lineage) Check(seq uint64, o Observed) Finding {
	if !o.Exists {
		return Finding{Verdict: Diverged, Reason: "the stream doesn't exist"}
	}
	if l.Incarnation != "" && o.Incarnation != "" && l.Incarnation != o.Incarnation {
		return Finding{Verdict: Diverged, Reason: fmt.Sprintf(
			"the stream was created again: its incarnation is %q, and the state is from %q",
			o.Incarnation, l.Incarnation)}
	}
	f := l.checkPrints(seq, o)
	// Not First > seq+1, which overflows at the greatest sequence.
	if o.First > seq && o.First-seq > 1 {
		f.Gap = true
		f.Reason += fmt.Sprintf("; messages %d to %d, which follow the state, are gone too", seq+1, o.First-1)
	}
	return f
}

// checkPrints decides by the numbers and the messages of a stream that isn't
// known to be another one.
func (l Lineage) checkPrints(seq uint64, o Observed) Finding {
	common, broken := l.agreement(seq, o)
	at, anchored := l.anchorAt(seq)
	there, found := o.Prints[seq]
	f := Finding{Verdict: Diverged, CommonSeq: common}
	switch {
	case o.Last < seq:
		f.Reason = fmt.Sprintf("the stream ends at %d and has lost its tail: the state includes %d", o.Last, seq)
	case seq == 0:
		f.Verdict, f.Reason = Verified, "the state includes nothing of the stream, 0 messages"
	case anchored && found && at == there:
		f.Verdict, f.Reason = Verified, fmt.Sprintf("message %d is the one that the state includes", seq)
	case anchored && found:
		f.Reason = fmt.Sprintf("message %d is another one than the state includes: sequence numbers were used again", seq)
	case broken > 0:
		f.Reason = fmt.Sprintf("message %d is another one than the state includes, which goes up to %d", broken, seq)
	case !anchored:
		f.Verdict, f.Reason = Unverifiable, fmt.Sprintf("the state has no anchor at %d", seq)
	case o.First > seq:
		f.Verdict, f.Reason = Unverifiable, fmt.Sprintf("message %d was trimmed: the stream starts at %d", seq, o.First)
	default:
		f.Verdict, f.Reason = Unverifiable, fmt.Sprintf("message %d was deleted inside the stream", seq)
	}
	return f
}

// agreement looks at the anchors up to seq: the newest whose message is as it
// was, and the newest whose message is another one; 0 where there is none.
func (l Lineage) agreement(seq uint64, o Observed) (common, broken uint64) {
	for _, a := range l.Anchors {
		there, found := o.Prints[a.Seq]
		if a.Seq > seq || !found {
			continue
		}
		if there == a.Print {
			common = max(common, a.Seq)
		} else {
			broken = max(broken, a.Seq)
		}
	}
	return common, broken
}

func (l Lineage) anchorAt(seq uint64) (Fingerprint, bool) {
	for _, a := range l.Anchors {
		if a.Seq == seq {
			return a.Print, true
		}
	}
	return Fingerprint{}, false
}
