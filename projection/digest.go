package projection

import (
	"context"
	"fmt"

	"github.com/tidemark-es/tidemark/snapshot"
	"github.com/tidemark-es/tidemark/timeframe"
)

// Digest returns the digest of a projection's state and the timeframe that it
// is of; of a BlueGreen, those of the version that serves. Two processes whose projections have the same version, and that are
// at one timeframe of one log, have the same digest; where they don't, a
// handler depends on something beside the table and the event, or something is
// damaged: an ErrDiverged that you have found. (Where a projection reads
// several feeds, its handlers must not depend on how these are interleaved.)
//
// It takes as long as there are changes since the last snapshot, without
// snapshots (Config.NoSnapshots) since the start; events don't wait for it.
//
// Errors: ErrInvalid where nothing of that name was started; ErrClosed; one of
// the codec; and the context's.
func (rt *Runtime) Digest(ctx context.Context, projection string) (timeframe.Timeframe, snapshot.Digest, error) {
	fail := func(err error) (timeframe.Timeframe, snapshot.Digest, error) {
		return timeframe.Timeframe{}, snapshot.Digest{}, fmt.Errorf("projection: digest of %q: %w", projection, err)
	}
	for _, u := range rt.units {
		for _, n := range u.nodes {
			if n.name != projection || u.beside() {
				continue
			}
			if n.unsaved {
				return fail(fmt.Errorf("%w: it is Unsaved, or Lazy in a unit that runs, and nothing is kept to tell its digest by", ErrInvalid))
			}
			a, err := u.askDigest(ctx, n)
			if err != nil {
				return fail(err)
			}
			return a.at, a.digest, nil
		}
	}
	return fail(fmt.Errorf("%w: nothing of that name was started", ErrInvalid))
}

// digestAsk is a request to a unit's goroutine.
type digestAsk struct {
	n     *node
	reply chan digestAnswer // has room for the answer
}

type digestAnswer struct {
	at     timeframe.Timeframe
	digest snapshot.Digest
	err    error
}

func (u *unit) askDigest(ctx context.Context, n *node) (digestAnswer, error) {
	defer u.awaited("Runtime.Digest", n.name)()
	q := digestAsk{n: n, reply: make(chan digestAnswer, 1)}
	select {
	case u.asks <- q:
	case <-u.ended:
		return digestAnswer{}, ErrClosed
	case <-ctx.Done():
		return digestAnswer{}, context.Cause(ctx)
	}
	select {
	case a := <-q.reply:
		return a, a.err
	case <-ctx.Done():
		return digestAnswer{}, context.Cause(ctx)
	}
}

// answer captures what changed and computes beside.
func (u *unit) answer(q digestAsk) {
	part, at, tag, turn := q.n.state.peek(), q.n.at(), u.tag(), u.turn()
	u.rt.wg.Go(func() {
		<-turn.before
		d, err := part.digest()
		if err == nil {
			u.remember(q.n, tag, at, d)
		}
		close(turn.done)
		q.reply <- digestAnswer{at: at, digest: d, err: err}
	})
}

// turn is a place in the order in which captures of a unit are encoded, which
// is the order in which they were taken.
type turn struct {
	before <-chan struct{} // closed when it is this one's turn
	done   chan struct{}   // to be closed when it is over
}

func (u *unit) turn() turn {
	t := turn{before: u.encoded, done: make(chan struct{})}
	u.encoded = t.done
	return t
}

// tag is what the unit has read, and of which logs.
func (u *unit) tag() timeframe.Tag {
	lineages := make(map[string]timeframe.Lineage, len(u.feeds))
	at := make(map[string]uint64, len(u.feeds))
	for name := range u.feeds {
		at[name] = u.cursor[name]
		l := u.lineage[name]
		if p, ok := u.prints[name]; ok {
			l = l.Push(timeframe.Anchor{Seq: u.cursor[name], Print: p})
		}
		lineages[name] = l
	}
	tf, _ := timeframe.FromMap(at) // feeds were opened, so their names are valid
	return timeframe.Tag{At: tf, Lineages: lineages}
}
