package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/projection"
)

func restartCases() []*benchCase {
	return append([]*benchCase{restartFull(), restartSnapshot()}, openCases()...)
}

type accounts = projection.Table[string, account]

func newAccounts(feed *eventlog.Feed) *accounts {
	t := projection.NewTable[string, account]("accounts", projection.Version(1))
	projection.On(t, feed, func(tx *projection.Tx[string, account], e eventlog.Event, p posted) error {
		a := tx.Value(e.Key)
		a.Count++
		a.Cents += p.Cents
		tx.Put(e.Key, a)
		return nil
	})
	return t
}

func restartFull() *benchCase {
	var how reader
	return &benchCase{
		name: "restart/full", about: "projection.Start without a snapshot, against an ordered consumer at its best that decodes by the same methods and folds into a map",
		unit: unitMillis,
		setup: func(ctx context.Context, e *env) (err error) {
			how, err = e.bestReader(ctx)
			return err
		},
		ours: func(ctx context.Context, e *env, c *clock) (s sample, err error) {
			dir, err := e.log(ctx)
			if err != nil {
				return s, err
			}
			return start(ctx, dir, c, projection.Config{NoSnapshots: true}, 0)
		},
		base: func(ctx context.Context, e *env, c *clock) (sample, error) { return rawFold(ctx, e, c, how) },
		note: func() string { return how.String() },
	}
}

// start times projection.Start on the log in dir. The events that it may
// replay are limited, where that is what the case is about.
func start(ctx context.Context, dir string, c *clock, cfg projection.Config, mostReplayed uint64) (s sample, err error) {
	s, st, err := started(ctx, dir, "accounts", c, cfg)
	if err == nil && mostReplayed > 0 && st.Recovery.Replayed > mostReplayed {
		err = fmt.Errorf("%d events were replayed, not at most %d: %v", st.Recovery.Replayed, mostReplayed, st.Recovery.Skipped)
	}
	s.values = []float64{c.millis()}
	return s, err
}

// started times projection.Start of a unit on the log in dir, and counts what
// it came to.
func started(ctx context.Context, dir, unit string, c *clock, cfg projection.Config) (s sample, st projection.Status, err error) {
	o, err := openOurs(ctx, dir)
	if err != nil {
		return s, st, err
	}
	defer o.close()
	t := newAccounts(o.feed)
	if err := c.start(); err != nil {
		return s, st, err
	}
	rt, err := cfg.Start(ctx, o.log, projection.NewUnit(unit, t))
	if err != nil {
		return s, st, err
	}
	if err := c.stop(); err != nil {
		return s, st, errors.Join(err, rt.Close())
	}
	st = rt.Metrics()[0]
	if err := rt.Close(); err != nil {
		return s, st, err
	}
	for _, a := range t.All() {
		s.count += a.Count
		s.bytes += a.Cents // a check of the sums, which must be equal too
	}
	return s, st, st.Err
}

// rawFold does what the projection does, by hand.
func rawFold(ctx context.Context, e *env, c *clock, how reader) (s sample, err error) {
	r, err := e.openRawLog(ctx, how.by)
	if err != nil {
		return s, err
	}
	defer r.close()
	state := make(map[string]account)
	if err := c.start(); err != nil {
		return s, err
	}
	if err := r.read(ctx, how, e.events, func(m jetstream.Msg) error {
		var p posted
		if _, err := p.UnmarshalMsg(m.Data()); err != nil {
			return err
		}
		key := strings.TrimPrefix(m.Subject(), r.prefix())
		a := state[key]
		a.Count++
		a.Cents += p.Cents
		state[key] = a
		return nil
	}); err != nil {
		return s, err
	}
	if err := c.stop(); err != nil {
		return s, err
	}
	s.values = []float64{c.millis()}
	for _, a := range state {
		s.count += a.Count
		s.bytes += a.Cents
	}
	return s, nil
}

// restartSnapshot starts on a copy of the log that has a snapshot of all
// events, and a tail behind it.
func restartSnapshot() *benchCase {
	var dir string
	return &benchCase{
		name: "restart/snapshot", about: "projection.Start with a snapshot and a tail of 1,000 events, against our own start on the same log without a snapshot",
		unit: unitMillis, ratio: baselineByOurs, floor: 20,
		setup: func(ctx context.Context, e *env) (err error) {
			dir, err = snapshotted(ctx, e)
			return err
		},
		ours: func(ctx context.Context, e *env, c *clock) (sample, error) {
			// What it finds must be there in the next round too: nothing is saved.
			return start(ctx, dir, c, projection.Config{Snapshots: quiet}, uint64(e.tail))
		},
		base: func(ctx context.Context, e *env, c *clock) (sample, error) {
			return start(ctx, dir, c, projection.Config{NoSnapshots: true}, 0)
		},
		note: func() string { return "Start without a snapshot" },
	}
}

func snapshotted(ctx context.Context, e *env) (dir string, err error) {
	from, err := e.log(ctx)
	if err != nil {
		return "", err
	}
	if dir, err = os.MkdirTemp(e.dir, "snapshot-"); err != nil {
		return "", err
	}
	if err := copyTree(dir, from); err != nil {
		return "", err
	}
	o, err := openOurs(ctx, dir)
	if err != nil {
		return "", err
	}
	defer o.close()
	rt, err := projection.Start(ctx, o.log, newAccounts(o.feed))
	if err != nil {
		return "", err
	}
	if err := rt.Close(); err != nil { // saves
		return "", err
	}
	return dir, fill(ctx, o.feed, e.events, e.tail, e.keys)
}
