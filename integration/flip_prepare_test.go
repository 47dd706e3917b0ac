//go:build integration

package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/tidemark-es/tidemark/dependants"
	"github.com/tidemark-es/tidemark/effect"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/projection"
)

// flipWant is what every way of reading an undamaged store finds.
type flipWant struct {
	All        []flipCommit            // of accounts, as they were appended
	Feeds      map[string][]flipCommit // by feed, what reading finds
	First      map[string]uint64       // by feed; more than 1 where it was trimmed
	Past       uint64                  // a place in accounts whose state can be had
	Pending    []string                // effects that are due
	Parked     []string                // effects that were given up
	Dependants []string                // with what they need
}

// flipBadItem is an order whose notice fails for good.
const flipBadItem = "nothing"

// runFlipPrepare is a child that fills a store: its arguments are where, how
// (whole or trimmed), the file for what is in it then, and whether to wait
// for being killed with the log open.
func runFlipPrepare(args []string) error {
	at, how, file, end := args[0], args[1], args[2], args[3]
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	p := &flipPreparer{how: how, want: flipWant{Feeds: map[string][]flipCommit{}, First: map[string]uint64{}}}
	for round := range 3 {
		if err := p.round(ctx, at, round); err != nil {
			return fmt.Errorf("round %d: %w", round, err)
		}
	}
	a, rt, err := p.open(ctx, at)
	if err != nil {
		return err
	}
	if err := p.collect(ctx, a); err != nil {
		return err
	}
	b, err := json.Marshal(p.want)
	if err != nil {
		return err
	}
	if err := os.WriteFile(file, b, 0o600); err != nil {
		return err
	}
	if end == "killed" {
		fmt.Println("ready")
		select {}
	}
	if err := errors.Join(rt.Close(), a.log.Close()); err != nil {
		return err
	}
	fmt.Println("ready")
	os.Exit(0)
	return nil
}

type flipPreparer struct {
	how  string
	want flipWant
	n    int // of payments so far
}

func (p *flipPreparer) open(ctx context.Context, at string) (*flipped, *projection.Runtime, error) {
	a, err := openFlip(ctx, at)
	if err != nil {
		return nil, nil, err
	}
	rt, err := a.start(ctx)
	return a, rt, err
}

// round is the life of one process: it appends, carries effects out (except
// for those of the last round), and is closed.
func (p *flipPreparer) round(ctx context.Context, at string, round int) error {
	a, rt, err := p.open(ctx, at)
	if err != nil {
		return err
	}
	if err := p.pay(ctx, a, rt, 30); err != nil {
		return err
	}
	for n := range 4 {
		item := fmt.Sprint("item-", round)
		if n == 3 && round < 2 {
			item = flipBadItem
		}
		pos, err := a.orders.Append(ctx, fmt.Sprint("customer-", round, n), eventlog.ExpectNew, ordered{item})
		if err == nil {
			err = rt.Wait(ctx, pos)
		}
		if err != nil {
			return err
		}
	}
	if round < 2 {
		if err := a.carryOut(ctx, func(effect.Effect[notice]) {}); err != nil {
			return err
		}
	}
	if round == 1 {
		if err := p.register(ctx, a); err != nil {
			return err
		}
	}
	if round == 2 && p.how == "trimmed" {
		if _, err := rt.Compact(ctx, projection.CompactOptions{}); err != nil {
			return err
		}
		if err := p.pay(ctx, a, rt, 10); err != nil {
			return err
		}
	}
	return errors.Join(rt.Close(), a.log.Close())
}

// carryOut runs the effects until none is pending.
func (a *flipped) carryOut(ctx context.Context, did func(effect.Effect[notice])) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil && a.notices.Pending() > 0 {
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
		cancel()
	}()
	return a.notices.Run(ctx, func(_ context.Context, e effect.Effect[notice]) error {
		did(e)
		if e.Intent.Item == flipBadItem {
			return effect.Permanent(errors.New("nobody delivers this"))
		}
		return nil
	}, effect.Options{Leases: a.leases})
}

// pay appends payments of every form: one event, several, with an ID, with a
// tag, several keys at once.
func (p *flipPreparer) pay(ctx context.Context, a *flipped, rt *projection.Runtime, n int) error {
	for range n {
		p.n++
		c := flipCommit{Key: fmt.Sprint("k", p.n%flipKeys), Cents: []int64{int64(p.n)}}
		d := eventlog.Draft{Key: c.Key}
		switch p.n % 6 {
		case 1:
			c.Cents = append(c.Cents, int64(p.n+1), int64(p.n+2))
		case 2:
			d.ID = fmt.Sprint("payment-", p.n)
		case 3:
			d.Tags = []string{"audit"}
		}
		for _, cents := range c.Cents {
			d.Events = append(d.Events, credited{cents})
		}
		pos, err := a.accounts.AppendDraft(ctx, d)
		if err != nil {
			return err
		}
		c.Seq = pos.Seq
		p.want.All = append(p.want.All, c)
		if err := rt.Wait(ctx, pos); err != nil {
			return err
		}
	}
	return nil
}

// register adds a reader outside, which holds the log from being trimmed
// beyond what it needs.
func (p *flipPreparer) register(ctx context.Context, a *flipped) error {
	r, err := a.dependants()
	if err != nil {
		return err
	}
	needs, err := flipPast(p.want.All[len(p.want.All)-5].Seq)
	if err != nil {
		return err
	}
	return r.Register(ctx, dependants.Dependant{Name: "export", Needs: needs})
}

// collect writes down what reading finds, and fails where that isn't what was
// appended.
func (p *flipPreparer) collect(ctx context.Context, a *flipped) error {
	w := &p.want
	for _, f := range a.feeds() {
		st, err := f.State(ctx)
		if err != nil {
			return err
		}
		w.First[f.Name()] = st.First
		if w.Feeds[f.Name()], err = readFlip(ctx, f, eventlog.After(st.First-1)); err != nil {
			return err
		}
	}
	w.Past = w.All[len(w.All)-8].Seq
	due, err := a.notices.Due(time.Now().Add(time.Hour), effect.Options{})
	if err != nil {
		return err
	}
	for _, e := range due {
		w.Pending = append(w.Pending, e.ID)
	}
	for _, e := range a.notices.Parked() {
		w.Parked = append(w.Parked, e.ID)
	}
	slices.Sort(w.Pending)
	slices.Sort(w.Parked)
	if w.Dependants, err = a.listDependants(ctx); err != nil {
		return err
	}
	return w.check(a.rows())
}

// check fails where the preparation itself went wrong.
func (w flipWant) check(rows flipRows) error {
	last := w.All[len(w.All)-1].Seq
	if !rows.equal(foldFlip(w.All, last)) {
		return fmt.Errorf("the tables are %+v", rows)
	}
	read := w.Feeds["accounts"]
	for i := range read { // what is left of a trimmed log is its end
		got, want := read[len(read)-1-i], w.All[len(w.All)-1-i]
		if got.Seq != want.Seq || got.Key != want.Key || !slices.Equal(got.Cents, want.Cents) {
			return fmt.Errorf("read %v, appended %v", got, want)
		}
	}
	if len(w.Pending) != 4 || len(w.Parked) != 2 || len(w.Dependants) == 0 || len(w.Feeds["orders"]) == 0 || len(w.Feeds["notices-outcomes"]) == 0 {
		return fmt.Errorf("prepared: %+v", w)
	}
	return nil
}

func (a *flipped) feeds() []*eventlog.Feed {
	return []*eventlog.Feed{a.accounts, a.orders, a.notices.Outcomes()}
}

func (a *flipped) listDependants(ctx context.Context) (names []string, err error) {
	r, err := a.dependants()
	if err != nil {
		return nil, err
	}
	ds, err := r.List(ctx)
	for _, d := range ds {
		names = append(names, fmt.Sprint(d.Name, " ", d.Unit, " ", d.Needs))
	}
	return names, err
}

// readFlip reads a feed, and keeps what is compared.
func readFlip(ctx context.Context, f *eventlog.Feed, opts ...eventlog.ReadOption) (all []flipCommit, err error) {
	for c, err := range f.Commits(ctx, opts...) {
		if err != nil {
			return all, err
		}
		k, err := keepCommit(c)
		if err != nil {
			return all, err
		}
		all = append(all, k)
	}
	return all, nil
}
