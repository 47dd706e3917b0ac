package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/projection"
)

// opened is an event that makes N rows, from row From on: so a wide table
// doesn't take a long log.
type opened struct {
	From int `msgpack:"from"`
	N    int `msgpack:"n"`
}

const openedBy = 1000 // rows by one event

// wide is a runtime over a table of so many rows.
type wide struct {
	*ours
	table *accounts
	rt    *projection.Runtime
	rows  int
	last  eventlog.Position
	step  int // counts changed rows
}

// openWide opens the log in dir and starts a wide table on it.
func openWide(ctx context.Context, dir string, rows int, cfg projection.Config) (w *wide, err error) {
	o, err := openOurs(ctx, dir, eventlog.Type[posted](eventName), eventlog.Type[opened]("opened"))
	if err != nil {
		return nil, err
	}
	w = &wide{ours: o, rows: rows, table: newAccounts(o.feed)}
	projection.On(w.table, o.feed, func(tx *projection.Tx[string, account], _ eventlog.Event, d opened) error {
		for i := range d.N {
			tx.Put(keyOf(d.From+i, rows), account{Count: 1, Cents: centsAt(d.From + i)})
		}
		return nil
	})
	if w.rt, err = cfg.Start(ctx, o.log, w.table); err != nil {
		o.close()
		return nil, err
	}
	return w, nil
}

// savedWide runs work on a wide table of which all rows were saved, and which
// is saved again after e.changed events, and not else.
func savedWide(ctx context.Context, e *env, rows int, work func(*wide) error) error {
	dir, remove, err := e.fresh("wide")
	if err != nil {
		return err
	}
	defer remove()
	policy := projection.Policy{Events: uint64(e.changed), MinInterval: 1, NotOnClose: true}
	w, err := openWide(ctx, dir, rows, projection.Config{Snapshots: policy})
	if err != nil {
		return err
	}
	if err = w.fill(ctx); err == nil { // which may or may not save
		_, err = w.changeAndSave(ctx, e.changed)
	}
	if err == nil {
		err = work(w)
	}
	return errors.Join(err, w.close())
}

// changeAndSave changes n rows, and waits until that is saved.
func (w *wide) changeAndSave(ctx context.Context, n int) (st projection.SnapshotStatus, err error) {
	saves := w.rt.Metrics()[0].Snapshots.Saves
	if err := w.change(ctx, n); err != nil {
		return st, err
	}
	return w.saves(ctx, saves+1)
}

// fill makes the rows.
func (w *wide) fill(ctx context.Context) (err error) {
	for i := 0; i < w.rows; i += openedBy {
		d := opened{From: i, N: min(openedBy, w.rows-i)}
		if w.last, err = w.feed.Append(ctx, "all", eventlog.ExpectAny, d); err != nil {
			return err
		}
	}
	return w.rt.Wait(ctx, w.last)
}

// change changes n rows, spread over the table, by an event each.
func (w *wide) change(ctx context.Context, n int) error {
	const stride = 7919 // a prime: the rows that follow each other are far apart
	pending := make([]*eventlog.Pending, n)
	for i := range pending {
		w.step++
		row := w.step * stride % w.rows
		p, err := w.feed.AppendAsync(ctx, eventlog.Draft{Key: keyOf(row, w.rows), Events: []any{eventOf(row, w.rows)}})
		if err != nil {
			return err
		}
		pending[i] = p
	}
	for _, p := range pending {
		at, err := p.Wait(ctx)
		if err != nil {
			return err
		}
		w.last = at
	}
	return w.rt.Wait(ctx, w.last)
}

// saves waits until so many snapshots were saved.
func (w *wide) saves(ctx context.Context, n uint64) (projection.SnapshotStatus, error) {
	tick := time.NewTicker(200 * time.Microsecond)
	defer tick.Stop()
	for {
		s := w.rt.Metrics()[0]
		if s.Err != nil || s.Snapshots.LastError != "" {
			return s.Snapshots, errors.Join(s.Err, fmt.Errorf("saving: %q", s.Snapshots.LastError))
		}
		if s.Snapshots.Saves >= n {
			return s.Snapshots, nil
		}
		select {
		case <-ctx.Done():
			return s.Snapshots, context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// close ends the runtime, and saves where cfg says so.
func (w *wide) close() error {
	err := w.rt.Close()
	w.ours.close()
	return err
}

// quiet neither saves by itself nor at the end.
var quiet = projection.Policy{Events: 1 << 62, Bytes: 1 << 62, NotOnClose: true}
