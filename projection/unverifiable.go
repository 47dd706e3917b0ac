package projection

// Unverifiable is what a start does with a snapshot that can't be verified: the
// log has the right incarnation and reaches that far, and the message by which
// it would prove that it is the snapshot's is gone. (One that the log
// contradicts is never used, and neither is one behind which messages are
// missing.) Either way the reason is logged, and told in the Recovery: in its
// Notes where the snapshot is used, else in Skipped.
//
// Where a snapshot is refused, an older one serves, else a replay; Start fails
// with eventlog.ErrTrimmed where the log doesn't reach its beginning any more.
// Adopted feeds are apart: their owners may remove what they like, so a message
// that is gone doesn't speak against a snapshot there.
type Unverifiable int

// The policies.
const (
	// TrustTrimmed, the default, uses it where the log begins right behind it:
	// that is how a trim leaves a log that relies on the snapshot. It refuses
	// it where the message is missing inside the log, which nothing of ours does.
	TrustTrimmed Unverifiable = iota
	// TrustNone refuses it. Compact leaves the messages in the log that its
	// snapshots are verified by, so this costs only those who trim by other means.
	TrustNone
	// TrustUnverified uses it: for a log in which messages were erased on
	// purpose, or of which a repair has lost some.
	TrustUnverified
)

// refuses says why a finding that is unverifiable doesn't let a state be used
// that is at a place of a feed, in a snapshot that is tagged with one; "" where it
// may be used. ours: the stream is known to be the snapshot's.
func (p Unverifiable) refuses(f finding, at, tagged uint64, ours bool) string {
	switch {
	case p == TrustNone:
		return "and Config.Unverifiable is TrustNone"
	case !ours:
		return "and its stream isn't known to be this one"
	case p == TrustUnverified && at+1 >= f.first:
		return ""
	case p == TrustUnverified:
		return "and the log doesn't hold what follows it"
	case f.first != tagged+1:
		return "and the message is missing inside the log: where it was erased on purpose, Config.Unverifiable may be TrustUnverified"
	case at != tagged:
		return "and the projection is behind the place at which the log begins"
	}
	return ""
}

func (p Unverifiable) valid() bool { return p >= TrustTrimmed && p <= TrustUnverified }
