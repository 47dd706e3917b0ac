package projection

import (
	"fmt"

	"github.com/tidemark-es/tidemark/timeframe"
)

// The owner of an adopted feed may drop and delete what he likes. So what is
// missing there doesn't speak against a snapshot, as it does in a feed of
// ours: only a message that is another one does, or an end before the
// snapshot's. But somebody should know.

// restoredElsewhere verifies a state of an adopted stream that was restored from
// a backup. Its incarnation is made of its creation time, which a restore
// changes; but the message at the state's place has the same sequence, server time
// and content, so it is of the same history.
func restoredElsewhere(l timeframe.Lineage, at uint64, o timeframe.Observed, found timeframe.Finding) timeframe.Finding {
	if found.Verdict != timeframe.Diverged || l.Incarnation == o.Incarnation || at == 0 {
		return found
	}
	l.Incarnation = ""
	if same := l.Check(at, o); same.Verdict == timeframe.Verified {
		return same
	}
	return found
}

// adoptedNotes says what can't be shown any more of a snapshot that is used.
func adoptedNotes(feed string, f finding) []string {
	if f.Verdict == timeframe.Verified && !f.Gap {
		return nil
	}
	return []string{fmt.Sprintf("adopted feed %q: %s: accepted, since its owner may remove messages", feed, f.Reason)}
}

// noteDropped notes that a feed's owner has dropped messages that the nodes
// have not read, and never will.
func (u *unit) noteDropped(feed string, first uint64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, n := range u.nodes {
		if n.feeds[feed] != nil && n.pos[feed]+1 < first {
			note := fmt.Sprintf("adopted feed %q: messages %d to %d were removed by its owner before they were read: the state is without them", feed, n.pos[feed]+1, first-1)
			n.recovery.Notes = append(n.recovery.Notes, note)
			if n.pos[feed] == 0 { // it begins where the stream does
				n.recovery.expect(note)
			}
		}
	}
}
