package projection

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"github.com/rs/zerolog"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/timeframe"
)

// Rehearsal steps commits through projections without a log, snapshots or a
// goroutine: each at once, by the same code as a Runtime. It is what package
// projectiontest stands on. It isn't safe for concurrent use; the projections
// can be read as always, and can't be started any more.
type Rehearsal struct {
	rt      *Runtime
	stopped []error
}

// Rehearse begins a rehearsal with empty projections, which may be over
// eventlog.Offline feeds. The error is an ErrInvalid, as of Start.
func Rehearse(projections ...Projection) (*Rehearsal, error) {
	r := &Rehearsal{}
	silent := zerolog.Nop()
	r.rt = &Runtime{done: make(chan struct{}), cfg: Config{
		NoSnapshots: true, Logger: &silent, Snapshots: Policy{Events: math.MaxUint32},
		Stopped: func(e *StoppedError) { r.stopped = append(r.stopped, e) },
	}}
	var err error
	if r.rt.units, err = makeUnits(r.rt, projections); err != nil {
		return nil, err
	}
	r.Reset()
	return r, nil
}

// Reset makes all projections empty, and lets those that had stopped go on.
func (r *Rehearsal) Reset() {
	r.stopped = nil
	for _, u := range r.rt.units {
		u.target, u.done = nil, nil
		u.cursor, u.prints = make(map[string]uint64), make(map[string]timeframe.Fingerprint)
		u.isCaught, u.isWhole = true, true
		u.awake()
		for _, n := range u.nodes {
			n.state.clear()
			u.restored(n, make(map[string]uint64), Recovery{Source: FromNothing}, true)
		}
	}
}

// Apply steps a commit, as Feed.Rehearse makes one, through all projections
// that read its feed. Its sequence must be above those before it in the feed.
//
// Errors: *StoppedError, joined, of the projections that stopped at it: they
// don't take part any more until Reset; ErrNotRead; ErrInvalid for a sequence
// that isn't above the last.
func (r *Rehearsal) Apply(c eventlog.Commit) (*Outcome, error) {
	o := newOutcome()
	read := false
	for _, u := range r.rt.units {
		if u.feeds[c.Feed] == nil {
			continue
		}
		read = true
		if last := u.cursor[c.Feed]; c.Seq <= last {
			return nil, fmt.Errorf("projection: rehearsal: %w: sequence %d of feed %q isn't above %d", ErrInvalid, c.Seq, c.Feed, last)
		}
		for _, g := range u.groups {
			g.tap = o.changes
		}
		u.apply(context.Background(), arrival{feed: c.Feed, batch: []eventlog.Commit{c}, at: c.Seq})
	}
	if !read {
		return nil, fmt.Errorf("projection: rehearsal: %w: %q", ErrNotRead, c.Feed)
	}
	err := errors.Join(r.stopped...)
	r.stopped = nil
	return o, err
}

// Parked is Runtime.Parked.
func (r *Rehearsal) Parked() []Parked { return r.rt.Parked() }

// Dump is a projection's state as text: equal states have equal dumps.
type Dump struct {
	Projection string
	Version    uint64
	// Rows are the values by key: as JSON, for people, with the first 64 bits
	// of the SHA-256 of what a snapshot has of it. A Model has one row, its
	// digest.
	Rows map[string]string
}

// Dump returns the state of all projections, in a stable order.
func (r *Rehearsal) Dump() ([]Dump, error) {
	var out []Dump
	for _, u := range r.rt.units {
		for _, n := range u.nodes {
			if n.of != nil {
				continue
			}
			d := Dump{Projection: n.name, Version: n.version, Rows: make(map[string]string)}
			if err := n.dump(d.Rows); err != nil {
				return nil, fmt.Errorf("projection: %q: %w", n.name, err)
			}
			out = append(out, d)
		}
	}
	return out, nil
}

func (n *node) dump(rows map[string]string) (err error) {
	defer contain(&err)
	if d, ok := n.state.(interface{ dump(map[string]string) error }); ok {
		return d.dump(rows)
	}
	digest, err := n.state.peek().digest()
	rows["digest"] = digest.String()
	return err
}

func (t *Table[K, V]) dump(rows map[string]string) error {
	var buf []byte
	for k, r := range t.rows {
		var err error
		if buf, err = t.values.append(buf[:0], &r.value); err != nil {
			return err
		}
		sum := sha256.Sum256(buf)
		text, err := json.Marshal(r.value)
		if err != nil {
			text = fmt.Appendf(nil, "%+v", r.value)
		}
		rows[fmt.Sprint(k)] = fmt.Sprintf("%s #%x", text, sum[:8])
	}
	return nil
}

func (p *Partitioned[V]) dump(rows map[string]string) error {
	for _, t := range p.parts {
		if err := t.dump(rows); err != nil {
			return err
		}
	}
	return nil
}
