package eventlog

// proof decides which of a consumer's messages have to be compared with those
// of the stream's leader before anybody is given them.
//
// The problem. A consumer of one replica lives on a server of the stream's
// cluster that the client can't choose, and delivers what that server has
// stored. A server may have another history than the leader: two of three were
// set back to an older copy of their files, elected a leader without the third,
// and used the numbers after their end again. The third keeps the old messages
// under those numbers for good, and has those of the leader again from where
// its own ended. So a sequence and a place in the cluster prove nothing, and
// neither does a message that is the leader's: what comes after it may not be.
//
// What proves. A server stores the leader's message s only directly after its
// own s-1. So if message s of the consumer's server is the leader's, and was
// appended under the present leadership, then the server has followed this
// leader since s, and all that it delivers from s on is the leader's, for as
// long as the quorum isn't set back again, which takes another leadership. A
// message of a lost tail can't be mistaken for it: its time differs. Appended
// under a leadership is what is beyond the leader's last sequence as it was when
// that leadership was first seen (ledSince); where servers don't say since when
// they lead, as it is after the consumer was made.
//
// The steps.
//
//  1. The consumer is made, then the leader is asked who it is and where it
//     ends, which says beyond which sequence a message proves (begin).
//  2. Each message is compared, up to and including the first one beyond that
//     (need, equal). That one proves the consumer.
//  3. A proved consumer is believed. audit looks at samples of what it has
//     delivered, and at who leads: another leader, or another term of the same
//     one, begins at 1.
//
// A message that isn't the leader's is never returned: the consumer is given
// up, the server is named, and reading goes on by the leader's own word.
//
// Rejected: comparing for as long as the server's last sequence is below the
// one it had when it was set back, which no client can ask a replica for; and
// consumers on all replicas, which keep what a quorum has but are a Raft group
// each, at 10 ms an election and an fsync a state.
type proof struct {
	floor  uint64 // what is beyond was appended under the present leadership
	proved bool   // a message beyond floor was the leader's
}

// begin says that there is a consumer, or a leader, that nothing is known of.
func (p *proof) begin(floor uint64) { p.floor, p.proved = floor, false }

// need is how many of the messages, from the first one on, have to be compared
// before any that follows on them is returned.
func (p *proof) need(msgs []message) int {
	if p.proved {
		return 0
	}
	for i := range msgs {
		if msgs[i].seq > p.floor {
			return i + 1
		}
	}
	return len(msgs)
}

// equal says that the leader has the message at a sequence.
func (p *proof) equal(seq uint64) { p.proved = p.proved || seq > p.floor }

const (
	auditSpread = 512 // messages that are compared after another leader was seen
	auditOlder  = 32  // marks that are kept of what was read before
)

// audit decides which messages that were handed out are compared with the
// leader's again, and what is known then. What a proved consumer has delivered
// was right when it came; a quorum that is set back later takes it away, and
// then what was derived from it must go (ErrLostTail).
//
// Invariants: sure was the leader's under term, and so was each of older at its
// time; sure.seq <= the last sequence that was handed out.
//
// Each look asks who leads, and compares
//   - sure, again: a tail that was lost since the last look begins at or before
//     it, unless it is all in the interval since;
//   - the last message that was handed out, and one inside of the interval, by
//     chance;
//   - where another leader was seen, or another term of it, of all that the hub
//     still has, also of what was sure before: those before the longest pauses,
//     since a quorum that was set back takes no messages for the time of an
//     election; auditSpread, evenly spread; and the older marks. The new leader
//     may be the server that kept a lost tail.
type audit struct {
	sure  mark
	older []mark // ascending; thinned out
	term  term
	begun bool // term is valid
}

// place is where a message was stored, and when.
type place struct {
	seq   uint64
	nanos int64
}

// changed says whether another leadership was seen.
func (a *audit) changed(now term) bool { return a.begun && now != a.term }

// plan picks from places, in ascending order, those to compare: indexes,
// ascending. They are what was handed out since the last look, and where another
// leader was seen all that there is. pick returns a number
// in [0, n).
func (a *audit) plan(now term, since []place, pick func(n int) int) []int {
	n := len(since)
	if n == 0 {
		return nil
	}
	chosen := make(map[int]bool, 2)
	chosen[n-1], chosen[pick(n)] = true, true
	if a.changed(now) {
		for i := range min(n, auditSpread) {
			chosen[i*n/min(n, auditSpread)] = true
		}
		for _, i := range pauses(since) {
			chosen[i] = true
		}
	}
	return sortedKeys(chosen)
}

// confirmed says that the leader has sure, all that was planned, and, where
// another leader was seen, the older marks; last is the last one handed out.
func (a *audit) confirmed(now term, last mark) {
	a.term, a.begun = now, true
	if last.seq <= a.sure.seq {
		return
	}
	if a.sure.seq > 0 {
		if a.older = append(a.older, a.sure); len(a.older) > auditOlder {
			// Every other one of the older half goes, so they thin out with age.
			half := auditOlder / 2
			kept := a.older[:0]
			for i, m := range a.older {
				if i >= half || i%2 == 0 {
					kept = append(kept, m)
				}
			}
			a.older = kept
		}
	}
	a.sure = last
}
