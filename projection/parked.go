package projection

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
)

// Parked is a commit that a table's FailurePolicy has set aside, or skipped.
type Parked struct {
	Projection string
	// Version is the projection's: the two versions of a BlueGreen set aside
	// each for itself, and both are listed.
	Version  uint64
	Position eventlog.Position // of the event that failed; of the commit where Waiting
	Key      string
	Type     string // of the event that failed; "" where Waiting, or a change of Upstream was handled
	Upstream string // the table whose change was handled; "" for an event
	ID       string // of the commit
	Time     time.Time
	// Err is the last failure's text and Stack a panic's, both cut to 4 KiB;
	// Attempts how often it was tried.
	Err, Stack string
	Attempts   int
	Since      time.Time // when it was set aside, by this machine's clock
	Waiting    bool      // it wasn't tried: an earlier commit of its key is parked
	Skipped    bool      // it is a record, and can't be retried
}

// parkedRow is how a Parked is stored; docs/failures.md.
type parkedRow struct {
	Feed, Key, Type, Upstream, ID string
	Seq                           uint64
	Index                         int
	Time, Since                   time.Time
	Err, Stack                    string
	Attempts                      int
	Waiting, Skipped, Ordered     bool
	Commit                        []byte // as eventlog's Commit.AppendStored has it; nil for a record
}

// maxDetail bounds the text of an error and of a stack.
const maxDetail = 4 << 10

// parking is what a table has set aside. It is a table of its own, beside it
// in its group: what is parked and what is applied are changed in one step and
// saved at one cut, so neither a crash nor a fallback to an older snapshot can
// lose a commit between them, or apply it and keep it.
type parking struct {
	t *Table[string, parkedRow] // by parkedKey
	// ordered counts the commits of each key that later ones have to wait for;
	// nil: to be counted. It belongs to the unit's goroutine.
	ordered map[entity]int
	told    []Parked // in this batch, for the hook; the first kept of them by settled commits
	kept    int
}

type entity struct{ feed, key string }

// parkedKey sorts by feed and sequence.
func parkedKey(feed string, seq uint64) string { return fmt.Sprintf("%s/%020d", feed, seq) }

func newParking(n *node) *parking {
	p := &parking{t: NewTable[string, parkedRow](parkedName(n.name))}
	p.t.onReset = func() { p.ordered = nil }
	p.t.n.of = n
	p.t.n.ups = append(p.t.n.ups, &edge{from: n, kind: readsState})
	return p
}

// withParking is a node with the table of what it has set aside.
func (n *node) withParking() []*node {
	if n.park == nil {
		return []*node{n}
	}
	return []*node{n, n.park.t.n}
}

// holds says whether a commit has to wait for earlier ones of its key.
func (p *parking) holds(c *eventlog.Commit) bool { return p.waits(entity{c.Feed, c.Key}) }

func (p *parking) waits(e entity) bool {
	if p.ordered == nil {
		p.ordered = make(map[entity]int)
		for _, r := range p.t.rows {
			if r.value.Ordered {
				p.ordered[r.value.entity()]++
			}
		}
	}
	return p.ordered[e] > 0
}

// add sets a commit aside; the row has what is known of its failure.
func (p *parking) add(c *eventlog.Commit, r parkedRow) error {
	if len(p.t.rows) >= p.t.n.of.failures.most() {
		return fmt.Errorf("%w: %d", ErrParkedFull, len(p.t.rows))
	}
	r.Feed, r.Key, r.Seq, r.ID, r.Time = c.Feed, c.Key, c.Seq, c.ID, c.Time
	r.Since = time.Now()
	if !r.Skipped {
		r.Commit = bytes.Clone(c.AppendStored(nil))
	}
	p.put(r)
	p.told = append(p.told, r.public(p.t.n.of))
	return nil
}

func (p *parking) put(r parkedRow) {
	r.Err, r.Stack = cut(r.Err), cut(r.Stack)
	key := parkedKey(r.Feed, r.Seq)
	p.uncount(key)
	p.t.tx.Put(key, r)
	if r.Ordered && p.ordered != nil {
		p.ordered[r.entity()]++
	}
}

func (p *parking) remove(key string) {
	p.uncount(key)
	p.t.tx.Delete(key)
}

// uncount takes a row that goes out of the count.
func (p *parking) uncount(key string) {
	if old := p.t.rows[key]; old != nil && old.value.Ordered && p.ordered != nil {
		e := old.value.entity()
		if p.ordered[e]--; p.ordered[e] == 0 {
			delete(p.ordered, e)
		}
	}
}

func (r *parkedRow) entity() entity { return entity{r.Feed, r.Key} }

func cut(s string) string {
	if len(s) > maxDetail {
		return s[:maxDetail]
	}
	return s
}

func (r *parkedRow) public(of *node) Parked {
	return Parked{
		Projection: of.name, Version: of.version, Position: eventlog.Position{Feed: r.Feed, Seq: r.Seq, Index: r.Index},
		Key: r.Key, Type: r.Type, Upstream: r.Upstream, ID: r.ID, Time: r.Time, Err: r.Err, Stack: r.Stack,
		Attempts: r.Attempts, Since: r.Since, Waiting: r.Waiting, Skipped: r.Skipped,
	}
}

// Parked lists what the FailurePolicies of the projections have set aside, by
// projection, feed and position. It is safe for concurrent use.
func (rt *Runtime) Parked() []Parked {
	var out []Parked
	for _, u := range rt.units {
		for _, n := range u.nodes {
			if n.park == nil {
				continue
			}
			for _, r := range n.park.t.All() {
				out = append(out, r.public(n))
			}
		}
	}
	slices.SortFunc(out, func(a, b Parked) int {
		return cmp.Or(cmp.Compare(a.Projection, b.Projection), cmp.Compare(a.Version, b.Version), cmp.Compare(a.Position.Feed, b.Position.Feed), cmp.Compare(a.Position.Seq, b.Position.Seq))
	})
	return out
}
