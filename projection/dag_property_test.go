package projection_test

import (
	"context"
	"errors"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
	"pgregory.net/rapid"
)

// dagRun is a random graph that lives several times.
type dagRun struct {
	b       *bank
	plan    plan
	commits []folded
	nodes   []number
	want    []rows // behind the commits
	mirrors []*mirror
	at      map[string]eventlog.Position

	trap    *trap
	stopped map[int]bool // nodes that ran into it, and those that read them
}

// mirror is a watcher's own copy of a table.
type mirror struct {
	w      *projection.Watcher[string, int64]
	rows   rows
	seen   map[string]uint64 // the last commit of each feed that it was told of
	exact  []map[string]projection.Change[string, int64]
	resets int

	told []projection.Delta[string, int64]
	end  error
	done chan struct{} // closed when told is complete; nil: it is slow, and begins to listen at the end
}

// listen takes down all deltas until the table or the runtime ends.
func (m *mirror) listen(ctx context.Context) {
	defer close(m.done)
	for m.end == nil {
		var d projection.Delta[string, int64]
		if d, m.end = m.w.Next(ctx); m.end == nil {
			m.told = append(m.told, d)
		}
	}
}

func (d *dagRun) from(p plan) {
	d.want = make([]rows, len(p))
	for i := range d.want {
		d.want[i] = rows{}
	}
	for _, c := range d.commits {
		d.want = p.after(d.want, c)
	}
}

// change makes another program of it: a version raised with another meaning,
// tables added, left out, saved or not.
func (d *dagRun) change(t *rapid.T) {
	p := slices.Clone(d.plan)
	switch rapid.IntRange(0, 4).Draw(t, "changed") {
	case 0:
		p[rapid.IntRange(0, len(p)-1).Draw(t, "raised")].redraw(t)
	case 1:
		p = p.grow(t).grow(t)
	case 2:
		p = p[:rapid.IntRange(fedNodes, len(p)).Draw(t, "left")]
	case 3:
		if v := &p[rapid.IntRange(0, len(p)-1).Draw(t, "toggled")]; v.derived() {
			v.unsaved = !v.unsaved
		}
	}
	d.plan = p
}

func (d *dagRun) compare(t *rapid.T, when string) {
	for i, n := range d.nodes {
		if got := contents(n); !maps.Equal(got, d.want[i]) {
			t.Fatalf("%s: %s: %v, want %v; it reads %v and %v", when, n.Name(), got, d.want[i], d.want[d.plan[i].a], d.want[d.plan[i].b])
		}
	}
}

func (d *dagRun) watch(ctx context.Context, t *rapid.T) {
	d.mirrors = nil
	for i, n := range d.nodes {
		m := &mirror{rows: rows{}, seen: make(map[string]uint64)}
		if rapid.Bool().Draw(t, "with rows") {
			m.w = n.Watch(projection.WithRows())
		} else {
			m.w, m.rows = n.Watch(), maps.Clone(d.want[i])
		}
		if rapid.Bool().Draw(t, "quick") {
			m.done = make(chan struct{})
			go m.listen(ctx)
		}
		d.mirrors = append(d.mirrors, m)
	}
}

// commit appends something, and computes what each node makes of it.
func (d *dagRun) commit(t *testing.T, rt *rapid.T) eventlog.Position {
	c := folded{key: rapid.SampledFrom(keys).Draw(rt, "key")}
	var p eventlog.Position
	if rapid.IntRange(0, 2).Draw(rt, "audit") == 0 {
		note := strings.Repeat("x", rapid.IntRange(0, 3).Draw(rt, "note"))
		c.events, p = []any{audited{note}}, d.b.audit(t, c.key, note)
	} else {
		for range rapid.IntRange(1, 3).Draw(rt, "events") {
			if rapid.IntRange(0, 3).Draw(rt, "close") == 0 {
				c.events = append(c.events, closed{})
			} else {
				c.events = append(c.events, deposited{rapid.Int64Range(-9, 9).Draw(rt, "cents")})
			}
		}
		p = d.b.append(t, c.key, c.events...)
	}
	d.commits, d.at[p.Feed] = append(d.commits, c), p
	before := d.want
	d.want = d.plan.after(before, c)
	d.spring(before)
	for i, m := range d.mirrors {
		if diff := differences(before[i], d.want[i]); len(diff) > 0 {
			m.exact = append(m.exact, diff)
		}
	}
	return p
}

// spring finds who runs into the trap: it stops before the commit, as does
// what reads it, and all else goes on.
func (d *dagRun) spring(before []rows) {
	for i, v := range d.plan {
		if i < fedNodes {
			continue
		}
		if d.stopped[v.a] || v.two() && d.stopped[v.b] || d.trap.springs(i, v.kind, differences(before[v.a], d.want[v.a])) {
			d.stopped[i] = true
		}
		if d.stopped[i] {
			d.want[i] = before[i]
		}
	}
}

// take checks a delta: it leads on from the copy, and tells of one commit,
// later ones of a feed after earlier ones.
func (m *mirror) take(t *rapid.T, name string, d projection.Delta[string, int64]) {
	if d.Reset {
		m.resets++
		clear(m.rows)
	} else if d.Cause.Seq <= m.seen[d.Cause.Feed] || d.Cause.Rebuild() || len(d.Changes) == 0 {
		t.Fatalf("%s: %+v after %v", name, d, m.seen)
	}
	for _, c := range d.Changes {
		if old, had := m.rows[c.Key]; !d.Reset && (old != c.Old || had != c.Had) {
			t.Fatalf("%s: %+v, but the copy has %d, %v", name, c, old, had)
		}
		if c.Has {
			m.rows[c.Key] = c.New
		} else {
			delete(m.rows, c.Key)
		}
	}
	for f, seq := range d.At.Map() {
		if seq < m.seen[f] {
			t.Fatalf("%s: back from %v to %v", name, m.seen, d.At)
		}
		m.seen[f] = seq
	}
}

// drain reads what a watcher has to tell after the runtime was closed. Where
// the order of the commits is known and none was missed, that is what each of
// them changed, one delta a commit: no more, no less (T2.5-T2.7, R2.17).
func (m *mirror) drain(ctx context.Context, t *rapid.T, name string, want rows, ordered, trapped bool) {
	defer func() { _ = m.w.Close() }()
	if m.done == nil {
		m.done = make(chan struct{})
		m.listen(ctx)
	}
	<-m.done
	if stopped, ok := errors.AsType[*projection.StoppedError](m.end); !ok && !errors.Is(m.end, projection.ErrClosed) || ok != trapped {
		t.Fatalf("%s: a watcher ended by %v, %v", name, m.end, stopped)
	}
	got := m.told
	for _, delta := range got {
		m.take(t, name, delta)
	}
	if !maps.Equal(m.rows, want) {
		t.Fatalf("%s: a watcher came to %v, want %v", name, m.rows, want)
	}
	if m.resets > 0 || !ordered {
		return
	}
	if len(got) != len(m.exact) {
		t.Fatalf("%s: %d deltas, want %d: %+v", name, len(got), len(m.exact), got)
	}
	for i, d := range got {
		diff := make(map[string]projection.Change[string, int64])
		for _, c := range d.Changes {
			if c.Cause != d.Cause {
				t.Fatalf("%s: %+v in a delta of %+v", name, c, d.Cause)
			}
			c.Cause = projection.Cause{}
			diff[c.Key] = c
		}
		if !maps.Equal(diff, m.exact[i]) || len(d.Changes) != len(diff) {
			t.Fatalf("%s: delta %d: %v, want %v", name, i, diff, m.exact[i])
		}
	}
}

// T2.1, T2.2, T2.5-T2.7, R2.13, R2.17, R2.19: a random graph of all operators
// and of tables by hand, over two feeds. In each of its lives, among which
// tables are added, left out and changed, and which may end without a last
// snapshot, all tables are what plain loops make of all events, each watcher
// that kept up was told exactly what each commit changed, and one that was
// slow comes to the same rows. Where a node fails, it and what reads it stop
// before the commit, nothing else does, and the next life mends it.
func TestDAGProperty(t *testing.T) {
	if testing.Short() {
		t.Skip("opens a log for each of many runs; the other tests of the graph run")
	}
	rapid.Check(t, func(rt *rapid.T) {
		ctx := logtest.Context(t)
		log := must(eventlog.Open(ctx, eventlog.Options{App: logtest.App(t), Memory: true}))(t)
		defer log.Close()
		d := &dagRun{b: bankOf(t, log), at: make(map[string]eventlog.Position)}
		for range fedNodes {
			v := vertex{kind: "source"}
			v.redraw(rt)
			d.plan = append(d.plan, v)
		}
		for range rapid.IntRange(3, 9).Draw(rt, "nodes") {
			d.plan = d.plan.grow(rt)
		}
		for life := range rapid.IntRange(1, 4).Draw(rt, "lives") {
			if life > 0 {
				d.change(rt)
			}
			d.live(t, rt)
		}
	})
}

func (d *dagRun) live(t *testing.T, rt *rapid.T) {
	ctx := logtest.Context(t)
	d.from(d.plan)
	var all []projection.Projection
	d.stopped, d.trap = make(map[int]bool), &trap{}
	if rapid.IntRange(0, 2).Draw(rt, "trap") == 0 {
		d.trap.at = rapid.IntRange(fedNodes, len(d.plan)).Draw(rt, "trapped") // len: none, after all
	}
	d.nodes, all = d.plan.tables(d.b, d.trap)
	all = rapid.Permutation(all).Draw(rt, "order")
	c := often(uint64(rapid.IntRange(1, 6).Draw(rt, "events per snapshot")))
	c.Snapshots.NotOnClose = rapid.Bool().Draw(rt, "killed")
	run := must(c.Start(ctx, d.b.log, all...))(t)
	d.compare(rt, "started")
	d.watch(ctx, rt)
	d.trap.armed.Store(d.trap.at > 0)
	paced := d.trap.at > 0 || rapid.Bool().Draw(rt, "paced") // then the order between feeds is known
	for range rapid.IntRange(0, 10).Draw(rt, "commits") {
		if p := d.commit(t, rt); paced {
			d.wait(ctx, rt, run, p)
		}
	}
	for _, p := range d.at {
		d.wait(ctx, rt, run, p)
	}
	d.compare(rt, "followed")
	if err := run.Close(); err != nil {
		rt.Fatal(err)
	}
	for i, m := range d.mirrors {
		m.drain(ctx, rt, d.nodes[i].Name(), d.want[i], paced || d.plan.feeds(i) != 3, d.stopped[i])
	}
}

// wait waits for all that goes on.
func (d *dagRun) wait(ctx context.Context, rt *rapid.T, run *projection.Runtime, p eventlog.Position) {
	err := run.Wait(ctx, p)
	if err == nil {
		return
	}
	if _, ok := errors.AsType[*projection.StoppedError](err); !ok || len(d.stopped) == 0 {
		rt.Fatal(err)
	}
	// It doesn't wait for the others then. What a commit changed is seen in all
	// of a unit at once, and what changed nothing needn't be waited for.
	for i, n := range d.nodes[:fedNodes] {
		for !maps.Equal(contents(n), d.want[i]) {
			if ctx.Err() != nil {
				rt.Fatalf("%s: %v, want %v", n.Name(), contents(n), d.want[i])
			}
			runtime.Gosched()
		}
	}
}
