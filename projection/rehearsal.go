package projection

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/rs/zerolog"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/snapshot"
	"github.com/tidemark-es/tidemark/timeframe"
)

// Rehearsal steps commits through projections without a log, snapshots or a
// goroutine: each at once, by the same code as a Runtime. It is what package
// projectiontest stands on. It isn't safe for concurrent use; the projections
// can be read as always, and can't be started any more.
type Rehearsal struct {
	rt      *Runtime
	stopped []error
	batch   [1]eventlog.Commit // that is being stepped
	given   []byte             // its events' bytes, before
	watched []*node            // whose states are verified
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
	for _, u := range r.rt.units {
		for _, n := range u.nodes {
			if v, ok := n.state.(verifier); ok && v.watchRows() {
				r.watched = append(r.watched, n)
			}
		}
	}
	r.Reset()
	return r, nil
}

// Reset makes all projections empty, and lets those that had stopped go on.
func (r *Rehearsal) Reset() {
	r.stopped, r.given = nil, r.given[:0]
	r.batch[0] = eventlog.Commit{}
	for _, n := range r.watched {
		n.state.(verifier).unwatch()
	}
	for _, u := range r.rt.units {
		u.target, u.done = nil, nil
		if u.cursor == nil {
			u.cursor, u.prints = make(map[string]uint64), make(map[string]timeframe.Fingerprint)
		}
		clear(u.cursor)
		clear(u.prints)
		u.isCaught, u.isWhole = true, true
		u.awake()
		for _, n := range u.nodes {
			if s, ok := n.state.(interface{ empty() }); ok {
				s.empty()
			} else {
				n.state.clear()
			}
			u.unplaced(n)
		}
	}
}

// unplaced is restored from nothing, in the memory that the node has.
func (u *unit) unplaced(n *node) {
	u.mu.Lock()
	clear(n.pos)
	u.mu.Unlock()
	u.restored(n, n.pos, Recovery{Source: FromNothing}, true)
}

// fewRows is beyond how many rows a map is made anew and not emptied, which
// takes the longer the larger it is.
const fewRows = 64

// empty is clear for a table that is filled again in a moment.
func (t *Table[K, V]) empty() {
	if len(t.rows) > fewRows {
		t.clear()
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.rows)
	clear(t.dirty)
	t.dirty, t.whole, t.undo, t.digest = t.dirty[:0], false, nil, snapshot.Digest{}
	t.gathered, t.joined = nil, nil
	t.uncompare()
	t.swapped(0)
	t.replaced()
}

// Apply steps a commit, as Feed.Rehearse makes one, through all projections
// that read its feed. Its sequence must be above those before it in the feed.
//
// Errors: *StoppedError, joined, of the projections that stopped at it: they
// don't take part any more until Reset; ErrNotRead; ErrInvalid for a sequence
// that isn't above the last.
func (r *Rehearsal) Apply(c eventlog.Commit) (*Outcome, error) {
	o := &Outcome{}
	read, err := r.step(&c, o)
	if !read {
		return nil, err
	}
	return o, err
}

// Step is Apply for who doesn't ask what the commit changed. Nobody keeps a
// record of that then.
func (r *Rehearsal) Step(c eventlog.Commit) error {
	_, err := r.step(&c, nil)
	return err
}

func (r *Rehearsal) step(c *eventlog.Commit, tap *Outcome) (read bool, err error) {
	r.batch[0] = *c
	r.given = appendData(r.given[:0], c)
	for _, u := range r.rt.units {
		if u.feeds[c.Feed] == nil {
			continue
		}
		read = true
		if last := u.cursor[c.Feed]; c.Seq <= last {
			return false, fmt.Errorf("projection: rehearsal: %w: sequence %d of feed %q isn't above %d", ErrInvalid, c.Seq, c.Feed, last)
		}
		for _, g := range u.groups {
			g.tap = tap
		}
		u.apply(context.Background(), arrival{feed: c.Feed, batch: r.batch[:], at: c.Seq})
	}
	if !read {
		return false, fmt.Errorf("projection: rehearsal: %w: %q", ErrNotRead, c.Feed)
	}
	if len(r.stopped) > 0 {
		err, r.stopped = errors.Join(r.stopped...), nil
	}
	return true, err
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

// Changes is what a commit did to each projection, as text, in the form of
// Dump's rows; a row that went is "gone". The projections are in the order of
// their names.
func (r *Rehearsal) Changes(o *Outcome) ([]Dump, error) {
	var out []Dump
	for _, c := range o.changes {
		d := Dump{Projection: c.n.name, Version: c.n.version, Rows: make(map[string]string)}
		if s, ok := c.n.state.(interface {
			dumpChanges(any, map[string]string) error
		}); ok && c.n.of == nil {
			if err := s.dumpChanges(c.changes, d.Rows); err != nil {
				return nil, fmt.Errorf("projection: %q: %w", c.n.name, err)
			}
			out = append(out, d)
		}
	}
	slices.SortFunc(out, func(a, b Dump) int { return strings.Compare(a.Projection, b.Projection) })
	return out, nil
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
		text, err := t.dumpValue(&buf, &r.value)
		if err != nil {
			return err
		}
		rows[keyText(k)] = text
	}
	return nil
}

func (t *Table[K, V]) dumpValue(buf *[]byte, v *V) (_ string, err error) {
	if *buf, err = t.values.append((*buf)[:0], v); err != nil {
		return "", err
	}
	sum := sha256.Sum256(*buf)
	text, err := json.Marshal(*v)
	if err != nil {
		text = fmt.Appendf(nil, "%+v", *v)
	}
	return fmt.Sprintf("%s #%x", text, sum[:8]), nil
}

func (t *Table[K, V]) dumpChanges(changes any, rows map[string]string) error {
	var buf []byte
	for _, c := range changes.([]Change[K, V]) {
		text := "gone"
		if c.Has {
			var err error
			if text, err = t.dumpValue(&buf, &c.New); err != nil {
				return err
			}
		}
		rows[keyText(c.Key)] = text
	}
	return nil
}

// keyText tells keys apart: what fmt makes of structs, and of what has a String
// method, need not.
func keyText[K comparable](k K) string {
	switch v := reflect.ValueOf(k); {
	case v.Kind() == reflect.String:
		return v.String()
	case v.CanInt():
		return strconv.FormatInt(v.Int(), 10)
	case v.CanUint():
		return strconv.FormatUint(v.Uint(), 10)
	}
	return fmt.Sprintf("%#v", k)
}

func (p *Partitioned[V]) dumpChanges(changes any, rows map[string]string) error {
	return p.parts[0].dumpChanges(changes, rows)
}

func (p *Partitioned[V]) dump(rows map[string]string) error {
	for _, t := range p.parts {
		if err := t.dump(rows); err != nil {
			return err
		}
	}
	return nil
}
