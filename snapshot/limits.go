package snapshot

import (
	"cmp"
	"context"
	"fmt"
	"time"
)

// Limits bound what an import takes from a peer, which isn't trusted: not in
// what it sends, nor in what it says of it, nor that it sends it at all. The
// zero value is a good default.
//
// What else is bounded has no option. One answer may have as many bytes as a
// message to the importing server; one over [HTTP] ends where 64 KiB, or the
// rest, don't come in 10 seconds ([ErrStalled]). A member may have 256 segments,
// and of each the chunks must have the size that the manifest says. At most
// 1,000 states of a peer's are looked at.
type Limits struct {
	// MaxBytes is how large the state of a unit may be before compression, in
	// bytes. Default: 64 MiB, and 256 times what its chunks have, each counted
	// once. A larger state isn't taken (ErrNoMatch): to read it could cost this
	// process that memory.
	MaxBytes uint64
	// MaxChunks is how many chunks a state may have. Default: 100,000. One that
	// has more isn't taken (ErrNoMatch).
	MaxChunks int
	// MaxTransfer is how many bytes the peer's answers may have together; each
	// counts as 1 KiB at least. Default: 4 GiB. A state whose chunks have more,
	// as it says, isn't taken (ErrNoMatch); answers beyond end the import
	// (*LimitError).
	MaxTransfer uint64
	// MaxTime is how long an import may take, whatever it does (*LimitError
	// then). Default: 15 minutes; negative: no bound. What was fetched stays,
	// so that the next import goes on from there.
	MaxTime time.Duration
}

const (
	// plausible is how many bytes a compressed byte may stand for: rows of
	// real programs stay far below. Any state may have plausibleFloor, in all.
	plausible      = 256
	plausibleFloor = 64 << 20

	defaultMaxChunks   = 100_000
	defaultMaxTransfer = 4 << 30
	defaultMaxTime     = 15 * time.Minute

	maxSegments = 256  // of a member; compaction keeps some 8, and O(log n)
	maxStates   = 1000 // that are looked at: each costs questions to the log
	leastAnswer = 1 << 10
	maxHead     = 64 << 10 // of an answer: 1,024 manifests have half of that
)

func (l Limits) withDefaults() Limits {
	l.MaxChunks = cmp.Or(l.MaxChunks, defaultMaxChunks)
	l.MaxTransfer = cmp.Or(l.MaxTransfer, defaultMaxTransfer)
	l.MaxTime = cmp.Or(l.MaxTime, defaultMaxTime)
	return l
}

// bounded ends with MaxTime; the cause is a *LimitError then.
func (l Limits) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if l.MaxTime < 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, l.MaxTime, &LimitError{Limit: "MaxTime", Most: l.MaxTime.String()})
}

// LimitError says that an import was given up at one of its [Limits]. What the
// store had is as it was.
type LimitError struct {
	Limit string // the field's name
	Most  string // its value
}

// Error names the limit, and says what to do.
func (e *LimitError) Error() string {
	return fmt.Sprintf("%v: Limits.%s is %s; set it higher where the peer is to be trusted with more", ErrLimit, e.Limit, e.Most)
}

// Unwrap returns [ErrLimit].
func (e *LimitError) Unwrap() error { return ErrLimit }

// claims refuses a manifest by what it says of itself, before anything of it is
// fetched.
func (l Limits) claims(m *Manifest, transfer uint64) error {
	chunks := 0
	for _, member := range m.Members {
		if len(member.Segments) > maxSegments {
			return fmt.Errorf("%w: member %q has %d segments, and %d are taken", ErrNoMatch, member.Name, len(member.Segments), maxSegments)
		}
		for _, s := range member.Segments {
			chunks += len(s.Chunks)
			// A block that doesn't get smaller is stored as it is.
			if s.Bytes > 2*s.Raw+64*uint64(len(s.Chunks)) {
				return fmt.Errorf("%w: a segment of member %q has %d bytes that stand for %d", ErrNoMatch, member.Name, s.Bytes, s.Raw)
			}
		}
	}
	switch {
	case chunks > l.MaxChunks:
		return fmt.Errorf("%w: its state has %d chunks, and Limits.MaxChunks allows %d", ErrNoMatch, chunks, l.MaxChunks)
	case transfer > l.MaxTransfer:
		return fmt.Errorf("%w: %d bytes of its chunks are needed, and Limits.MaxTransfer allows %d", ErrNoMatch, transfer, l.MaxTransfer)
	case l.MaxBytes > 0 && m.raw() > l.MaxBytes:
		return fmt.Errorf("%w: its state has %d bytes, and Limits.MaxBytes allows %d", ErrNoMatch, m.raw(), l.MaxBytes)
	}
	return nil
}

// holds refuses a manifest whose chunks aren't what it says, or can't be
// expected to hold that, before any of them is decompressed. sizes has all of
// them.
func (l Limits) holds(m *Manifest, sizes map[ID]int) error {
	most := uint64(plausibleFloor)
	counted := make(map[ID]bool)
	for _, member := range m.Members {
		for _, s := range member.Segments {
			var sum uint64
			for _, id := range s.Chunks {
				size := uint64(sizes[id])
				if sum += size; !counted[id] {
					counted[id] = true
					most += plausible * size
				}
			}
			if sum != s.Bytes {
				return corrupt("the chunks of a segment of member %q have %d bytes, the manifest says %d", member.Name, sum, s.Bytes)
			}
		}
	}
	if l.MaxBytes == 0 && m.raw() > most {
		return fmt.Errorf("%w: its state has %d bytes, and what its chunks hold makes %d plausible: set Limits.MaxBytes where it is to be trusted", ErrNoMatch, m.raw(), most)
	}
	return nil
}

// raw is the size of a manifest's members before compression, as it says.
func (m *Manifest) raw() (sum uint64) {
	for _, s := range m.Members {
		sum += s.Raw()
	}
	return sum
}
