//go:build integration

package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/tidemark-es/tidemark/effect"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/projection"
)

const (
	// flipPatience is how long one call may take on a damaged store, and
	// flipGrace how long after its context's end it may take to return.
	flipPatience = 20 * time.Second
	flipGrace    = 5 * time.Second
	// flipClosing is how long closing may take: it has no context, and bounds of
	// its own, one after another, for the last snapshots and for the server.
	flipClosing = 90 * time.Second
	// flipMemory is the address space of a process that reads a damaged store.
	flipMemory = 6 << 30
)

// flipFinding is what one way of reading a damaged store has found. The child
// prints one a line.
type flipFinding struct {
	Step   string
	Kind   flipKind
	Detail string `json:",omitempty"`
}

// flipChecker goes through every way of reading, in a process of its own.
type flipChecker struct {
	ctx  context.Context
	at   string
	want flipWant
	// again: the store was right, and is opened once more. Then appends go on.
	again bool
	a     *flipped
	rt    *projection.Runtime
}

// runFlipCheck is a child that opens a store, reads it in every way, and
// prints what it found. Its arguments are where, the file for what should be in
// it, and whether it is opened again.
func runFlipCheck(args []string) error {
	limitMemory(flipMemory)
	b, err := os.ReadFile(args[1])
	if err != nil {
		return err
	}
	c := &flipChecker{ctx: context.Background(), at: args[0], again: args[2] == "again"}
	if err := json.Unmarshal(b, &c.want); err != nil {
		return err
	}
	if c.again {
		c.want.Pending = nil // the first one has carried them out
	}
	c.run()
	fmt.Println(`{"Step":"end","Kind":"right"}`)
	os.Exit(0)
	return nil
}

func (c *flipChecker) run() {
	opened := c.step("open", func(ctx context.Context) (err error) {
		c.a, err = openFlip(ctx, c.at)
		return err
	})
	if opened {
		c.checkFeeds()
		if c.step("start", func(ctx context.Context) (err error) {
			c.rt, err = c.a.start(ctx)
			return err
		}) {
			c.checkTables("tables", c.want.All)
			c.step("effects", c.checkEffects)
			if c.again {
				c.step("append", c.checkAppends)
			}
		}
		c.step("past", c.checkPast)
		c.step("dependants", c.checkDependants)
	}
	c.step("close", func(context.Context) error {
		var err error
		if c.rt != nil {
			err = c.rt.Close()
		}
		if c.a != nil && c.a.log != nil {
			err = errors.Join(err, c.a.log.Close())
		}
		return err
	})
}

// step runs one way of reading within its time, and prints what it found. A
// call that doesn't return ends the process, with all stacks.
func (c *flipChecker) step(name string, do func(context.Context) error) bool {
	patience := flipPatience
	if name == "close" {
		patience = flipClosing
	}
	ctx, cancel := context.WithTimeout(c.ctx, patience)
	defer cancel()
	stuck := time.AfterFunc(patience+flipGrace, func() {
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		c.print(flipFinding{name, flipWait, "it doesn't return after its context's end"})
		fmt.Fprintf(os.Stderr, "%s doesn't return:\n%s\n", name, stacks)
		os.Exit(3)
	})
	defer stuck.Stop()
	err := do(ctx)
	f := flipFinding{Step: name, Kind: kindOfError(err)}
	if err != nil {
		f.Detail = err.Error()
	}
	c.print(f)
	return err == nil
}

var printing sync.Mutex

func (c *flipChecker) print(f flipFinding) {
	printing.Lock()
	defer printing.Unlock()
	b, _ := json.Marshal(f) // strings
	fmt.Println(string(b))
}

// different is an error of the harness: what was read isn't what was stored,
// and nothing said so.
type different struct{ what string }

func (d *different) Error() string { return d.what }

func sameFlip(what string, got, want []flipCommit) error {
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			return &different{fmt.Sprintf("%s: %d of %d commits: %v is missing", what, len(got), len(want), want[i])}
		case i >= len(want):
			return &different{fmt.Sprintf("%s: %d commits, want %d: %v is too much", what, len(got), len(want), got[i])}
		case got[i].String() != want[i].String():
			return &different{fmt.Sprintf("%s: %v, want %v", what, got[i], want[i])}
		}
	}
	return nil
}

// checkFeeds reads each feed whole, by key, and by identity.
func (c *flipChecker) checkFeeds() {
	for _, f := range c.a.feeds() {
		want := c.want.Feeds[f.Name()]
		after := eventlog.After(c.want.First[f.Name()] - 1)
		// What the first process has appended comes later: its outcomes.
		until := eventlog.Until(want[len(want)-1].Seq)
		c.step("read "+f.Name(), func(ctx context.Context) error {
			got, err := readFlip(ctx, f, after, until)
			return errors.Join(err, orNil(err, func() error { return sameFlip("all", got, want) }))
		})
		c.step("keys of "+f.Name(), func(ctx context.Context) error {
			return eachKey(want, func(key string, of []flipCommit) error {
				got, err := readFlip(ctx, f, after, until, eventlog.OfKey(key))
				if err != nil {
					return err
				}
				return sameFlip("key "+key, got, of)
			})
		})
		c.step("heads of "+f.Name(), func(ctx context.Context) error {
			return eachKey(want, func(key string, of []flipCommit) error {
				head, ok, err := f.Head(ctx, key)
				if err != nil {
					return err
				}
				if last := of[len(of)-1].Seq; !ok || head.Seq < last || (head.Seq > last && !c.again) {
					return &different{fmt.Sprintf("head of %s: %d (%v), want %d", key, head.Seq, ok, last)}
				}
				return nil
			})
		})
	}
	c.step("identities", func(ctx context.Context) error {
		for _, w := range c.want.Feeds["accounts"] {
			at, ok, err := c.a.accounts.Find(ctx, w.Key, w.ID, c.want.First["accounts"]-1)
			if err != nil {
				return err
			}
			if !ok || at.Seq != w.Seq {
				return &different{fmt.Sprintf("%s of %s: found %v at %d, want %d", w.ID, w.Key, ok, at.Seq, w.Seq)}
			}
		}
		return nil
	})
}

func orNil(err error, next func() error) error {
	if err != nil {
		return nil
	}
	return next()
}

// eachKey calls fn for each key's commits; a loud key doesn't hide a silent
// one: an error that says nothing but that something differs comes first.
func eachKey(all []flipCommit, fn func(key string, of []flipCommit) error) (first error) {
	var keys []string
	for _, w := range all {
		if !slices.Contains(keys, w.Key) {
			keys = append(keys, w.Key)
		}
	}
	for _, key := range keys {
		var of []flipCommit
		for _, w := range all {
			if w.Key == key {
				of = append(of, w)
			}
		}
		err := fn(key, of)
		if _, silent := errors.AsType[*different](err); silent {
			return err
		}
		if first == nil {
			first = err
		}
	}
	return first
}

// checkTables compares the tables with the fold, unless they say themselves
// that they stopped.
func (c *flipChecker) checkTables(step string, all []flipCommit) {
	c.step(step, func(ctx context.Context) error {
		if err := errors.Join(c.a.sums.Err(), c.a.rich.Err(), c.a.total.Err(), c.a.notices.Err()); err != nil {
			return err
		}
		want := foldFlip(all, all[len(all)-1].Seq)
		if got := c.a.rows(); !got.equal(want) {
			// Whoever watches over the process is told by Healthy.
			if err := errors.Join(c.rt.Healthy(ctx), c.a.log.Healthy(ctx)); err != nil {
				return err
			}
			return &different{fmt.Sprintf("tables: %+v, want %+v", got, want)}
		}
		return nil
	})
}

// checkEffects carries out what is pending: just that.
func (c *flipChecker) checkEffects(ctx context.Context) error {
	var mu sync.Mutex
	var did []string
	var parked []string
	for _, e := range c.a.notices.Parked() {
		parked = append(parked, e.ID)
	}
	patience, cancel := context.WithTimeout(ctx, flipPatience/2) // what is left is for Healthy
	defer cancel()
	err := c.a.carryOut(patience, func(e effect.Effect[notice]) {
		mu.Lock()
		defer mu.Unlock()
		did = append(did, e.ID)
	})
	if err != nil {
		return err
	}
	if patience.Err() != nil {
		return errors.Join(context.Cause(patience), c.a.notices.Err(), c.rt.Healthy(ctx))
	}
	slices.Sort(did)
	slices.Sort(parked)
	if !slices.Equal(did, c.want.Pending) || !slices.Equal(parked, c.want.Parked) {
		if err := errors.Join(c.a.notices.Err(), c.rt.Healthy(ctx)); err != nil {
			return err
		}
		return &different{fmt.Sprintf("carried out %v, want %v; given up %v, want %v", did, c.want.Pending, parked, c.want.Parked)}
	}
	return nil
}

// checkAppends appends to each key after what is its last commit, and expects
// the tables to go on from there.
func (c *flipChecker) checkAppends(ctx context.Context) error {
	all := slices.Clone(c.want.All)
	last := all[len(all)-1].Seq
	patience, cancel := context.WithTimeout(ctx, flipPatience/2) // what is left is for Healthy
	defer cancel()
	err := eachKey(c.want.Feeds["accounts"], func(key string, of []flipCommit) error {
		pos, err := c.a.accounts.Append(patience, key, eventlog.ExpectSeq(of[len(of)-1].Seq), credited{7})
		if err != nil {
			return err
		}
		if pos.Seq <= last {
			return &different{fmt.Sprintf("appended at %d, which was used: the log had reached %d", pos.Seq, last)}
		}
		last = pos.Seq
		all = append(all, flipCommit{Seq: pos.Seq, Key: key, Cents: []int64{7}})
		return c.rt.Wait(patience, pos)
	})
	if err != nil && patience.Err() != nil {
		return errors.Join(err, c.rt.Healthy(ctx))
	}
	if err != nil {
		return err
	}
	c.checkTables("tables after appends", all)
	return nil
}

// checkPast asks for a state of the past.
func (c *flipChecker) checkPast(ctx context.Context) error {
	at, err := flipPast(c.want.Past)
	if err != nil {
		return err
	}
	t := newFlipTables(c.a.accounts)
	if _, err := projection.AsOf(ctx, c.a.log, at, projection.NewUnit("money", t.sums, t.rich), t.total); err != nil {
		return err
	}
	if got, want := t.rows(), foldFlip(c.want.All, c.want.Past); !got.equal(want) {
		return &different{fmt.Sprintf("past: %+v, want %+v", got, want)}
	}
	return nil
}

// checkDependants asks who holds the log: who is missing there may lose what
// it needs.
func (c *flipChecker) checkDependants(ctx context.Context) error {
	got, err := c.a.listDependants(ctx)
	if err != nil {
		return err
	}
	if !slices.Equal(got, c.want.Dependants) {
		return &different{fmt.Sprintf("dependants: %q, want %q", got, c.want.Dependants)}
	}
	return nil
}
