package projection_test

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
	"pgregory.net/rapid"
)

// What parks by key, and is restarted, retried and healed in between, comes to
// the state of a plain fold over all events; tables behind it, to what follows
// from that; and what is parked and what is applied are all there is, always.
func TestParkedKeysAgainstAPlainFold(t *testing.T) {
	if testing.Short() {
		t.Skip("opens a log for each of many runs; the other tests of parking run")
	}
	rapid.Check(t, func(rt *rapid.T) {
		log := must(eventlog.Open(t.Context(), eventlog.Options{App: logtest.App(t), Memory: true}))(t)
		defer log.Close()
		b := bankOf(t, log)
		p := &parkingWorld{t: t, b: b, want: make(map[string]int64), heal: make(map[string]bool)}
		p.start()
		steps := rapid.SliceOfN(rapid.IntRange(0, 11), 1, 12).Draw(rt, "steps")
		for i, step := range steps {
			key := rapid.SampledFrom(keys).Draw(rt, "key")
			switch {
			case step < 8: // one in four of the first events is poison, for two tries or until it is healed
				cents := rapid.Int64Range(1, 8).Draw(rt, "cents")
				p.append(key, cents)
			case step == 8:
				p.heal[key] = true
				p.retry()
			case step == 9:
				p.retry()
			default:
				p.stop()
				p.start()
			}
			p.check(rt, fmt.Sprint("step ", i))
		}
		for _, key := range keys {
			p.heal[key] = true
		}
		p.retry()
		p.check(rt, "in the end")
		if n := len(p.rt.Parked()); n != 0 || !maps.Equal(contents(p.table), p.want) {
			rt.Fatalf("%d parked, and %v, where a plain fold has %v", n, contents(p.table), p.want)
		}
		p.stop()
	})
}

// parkingWorld is a table that fails where it is told to.
type parkingWorld struct {
	t     testing.TB
	b     *bank
	want  map[string]int64 // a plain fold
	total int              // commits
	last  eventlog.Position
	heal  map[string]bool
	tries int

	rt     *projection.Runtime
	table  *projection.Table[string, int64]
	counts *projection.Table[string, int]
	sum    *projection.Table[bool, projection.Group[int64]]
}

const (
	poisonCents = 7 // fails until the key is healed
	flakyCents  = 8 // fails at each second try
)

func (p *parkingWorld) start() {
	p.table = projection.NewTable[string, int64]("parking", projection.OnFailure(
		projection.FailurePolicy{Retries: 1, Backoff: time.Nanosecond, Then: projection.ParkKey}))
	projection.On(p.table, p.b.accounts, func(t *projection.Tx[string, int64], e eventlog.Event, d deposited) error {
		t.Put(e.Key, t.Value(e.Key)*3+d.Cents)
		if p.tries++; d.Cents == flakyCents && p.tries%2 == 0 {
			return fmt.Errorf("at %s, this time", e.Position())
		}
		if d.Cents == poisonCents && !p.heal[e.Key] {
			panic(e.Position())
		}
		return nil
	})
	p.counts = p.b.counts()
	p.sum = projection.Aggregate("sum", p.table, func(_ string, v int64) (bool, bool) { return v%2 == 0, true },
		func(s int64, _ string, v int64) int64 { return s + v }, func(s int64, _ string, v int64) int64 { return s - v })
	killed := p.total%2 == 1
	p.rt = p.b.start(p.t, projection.Config{Snapshots: projection.Policy{MinInterval: time.Nanosecond, Events: 2, NotOnClose: killed}}, p.table, p.counts, p.sum)
}

// counts counts the commits of each key, with a failure at every third event
// that is gone at the second try.
func (b *bank) counts() *projection.Table[string, int] {
	t := projection.NewTable[string, int]("counts", projection.OnFailure(projection.FailurePolicy{Retries: 2, Backoff: time.Nanosecond}))
	tried := make(map[uint64]bool)
	projection.On(t, b.accounts, func(t *projection.Tx[string, int], e eventlog.Event, _ deposited) error {
		t.Put(e.Key, t.Value(e.Key)+1)
		if e.Seq%3 == 0 && !tried[e.Seq] {
			tried[e.Seq] = true
			return fmt.Errorf("%s for the first time", e.Position())
		}
		return nil
	})
	return t
}

func (p *parkingWorld) stop() {
	if err := p.rt.Close(); err != nil {
		p.t.Fatal(err)
	}
}

func (p *parkingWorld) append(key string, cents int64) {
	p.last = p.b.append(p.t, key, deposited{cents})
	p.want[key] = p.want[key]*3 + cents
	p.total++
}

// retry errors where something fails still.
func (p *parkingWorld) retry() {
	for _, key := range keys {
		for range 4 { // what fails at each second try
			if _, err := p.rt.RetryParked(p.t.Context(), of(p.rt.Parked(), key)...); err == nil || !p.heal[key] {
				break
			}
		}
	}
}

func of(all []projection.Parked, key string) (out []projection.Parked) {
	for _, p := range all {
		if p.Key == key {
			out = append(out, p)
		}
	}
	return out
}

// check compares what can be said at any moment.
func (p *parkingWorld) check(rt *rapid.T, when string) {
	if p.total == 0 {
		return
	}
	if err := p.rt.Wait(logtest.Context(p.t), p.last); err != nil {
		rt.Fatal(when, err)
	}
	parked := p.rt.Parked()
	rows := contents(p.table)
	var sum int64
	for key, v := range rows {
		sum += v
		if len(of(parked, key)) == 0 && v != p.want[key] {
			rt.Fatalf("%s: %s is %d, and nothing of it is parked; want %d", when, key, v, p.want[key])
		}
	}
	for _, g := range contents(p.sum) {
		sum -= g.Value
	}
	n := 0
	for _, c := range contents(p.counts) {
		n += c
	}
	if sum != 0 || n != p.total {
		rt.Fatalf("%s: the groups differ by %d from the rows; %d of %d commits are counted", when, sum, n, p.total)
	}
}
