package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/projection"
)

func snapshotCases() []*benchCase {
	return []*benchCase{snapshotRestore(), snapshotPause(), snapshotOverhead(), snapshotDelta(), snapshotDigest()}
}

// snapshotRestore starts on a log whose snapshot holds all, so that nothing
// but the restore is left to do.
func snapshotRestore() *benchCase {
	var dir, flat string
	return &benchCase{
		name: "snapshot/restore", about: "projection.Start with a snapshot of 1,000,000 keys and nothing to replay, against reading a flat file of the same keys and values and decoding it into a map of that size by the same methods",
		unit: unitKeys, floor: 0.8,
		setup: func(ctx context.Context, e *env) (err error) {
			if dir, err = os.MkdirTemp(e.dir, "restore-"); err != nil {
				return err
			}
			flat = filepath.Join(dir, "flat")
			return restorable(ctx, filepath.Join(dir, "log"), flat, e.rows)
		},
		ours: func(ctx context.Context, e *env, c *clock) (s sample, err error) {
			return restored(ctx, filepath.Join(dir, "log"), e.rows, c)
		},
		base: func(_ context.Context, e *env, c *clock) (sample, error) { return fromFlat(flat, e.rows, c) },
		note: func() string { return "a flat file" },
	}
}

// restorable makes a log with a snapshot of so many rows, and a flat file of
// the same.
func restorable(ctx context.Context, dir, flat string, rows int) (err error) {
	w, err := openWide(ctx, dir, rows, projection.Config{Snapshots: projection.Policy{Events: 1 << 62, Bytes: 1 << 62}})
	if err != nil {
		return err
	}
	if err := w.fill(ctx); err != nil {
		return err
	}
	if err := writeFlat(flat, w.table); err != nil {
		return err
	}
	return w.close() // saves
}

// writeFlat writes keys and values with their lengths before them.
func writeFlat(name string, t *accounts) (err error) {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	b := bufio.NewWriter(f)
	var buf, value []byte
	for k, v := range t.All() {
		if value, err = eventlog.MsgPack.Append(value[:0], &v); err != nil {
			return err
		}
		buf = append(binary.AppendUvarint(buf[:0], uint64(len(k))), k...)
		buf = append(binary.AppendUvarint(buf, uint64(len(value))), value...)
		if _, err := b.Write(buf); err != nil {
			return err
		}
	}
	return b.Flush()
}

func restored(ctx context.Context, dir string, rows int, c *clock) (s sample, err error) {
	if err := c.start(); err != nil { // ends in what is timed: see below
		return s, err
	}
	w, err := openWide(ctx, dir, rows, projection.Config{Snapshots: quiet})
	if err != nil {
		return s, err
	}
	if err := c.stop(); err != nil {
		return s, err
	}
	st := w.rt.Metrics()[0]
	if err := w.close(); err != nil {
		return s, err
	}
	if st.Recovery.Source != projection.FromSnapshot || st.Recovery.Replayed > 0 || st.Rows != rows {
		return s, fmt.Errorf("%d rows, recovered by %+v", st.Rows, st.Recovery)
	}
	// Opening the log isn't what is measured here.
	return sample{values: []float64{float64(rows) / st.Recovery.Took.Seconds()}, count: uint64(st.Rows)}, nil
}

func fromFlat(name string, rows int, c *clock) (s sample, err error) {
	if err := c.start(); err != nil {
		return s, err
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return s, err
	}
	state := make(map[string]*account, rows)
	block := make([]account, rows)
	for len(data) > 0 {
		n, k := binary.Uvarint(data)
		key := string(data[k : k+int(n)])
		data = data[k+int(n):]
		n, k = binary.Uvarint(data)
		if err := eventlog.MsgPack.Decode(data[k:k+int(n)], &block[len(state)]); err != nil {
			return s, err
		}
		state[key] = &block[len(state)]
		data = data[k+int(n):]
	}
	if err := c.stop(); err != nil {
		return s, err
	}
	return sample{values: []float64{c.rate(len(state))}, count: uint64(len(state))}, nil
}

// snapshotPause takes many snapshots of 1,000 changes and measures for how
// long each kept events waiting.
func snapshotPause() *benchCase {
	return &benchCase{
		name: "snapshot/pause", about: "p99 of the time for which a snapshot of 1,000 changed keys of 1,000,000 keeps events waiting, against the same of 10,000 keys",
		unit: unitMillis, ceiling: 2, limit: 1,
		ours: func(ctx context.Context, e *env, c *clock) (sample, error) { return pauses(ctx, e, c, e.rows) },
		base: func(ctx context.Context, e *env, c *clock) (sample, error) { return pauses(ctx, e, c, e.rows/100) },
		note: func() string { return "a hundredth of the keys" },
	}
}

func pauses(ctx context.Context, e *env, c *clock, rows int) (s sample, err error) {
	err = savedWide(ctx, e, rows, func(w *wide) error {
		if err := c.start(); err != nil {
			return err
		}
		took := make([]float64, 0, e.cuts)
		for range e.cuts {
			st, err := w.changeAndSave(ctx, e.changed)
			if err != nil {
				return err
			}
			took = append(took, millis(st.Pause))
			s.count++
		}
		s.values = []float64{quantile(took, 0.99)}
		return c.stop()
	})
	return s, err
}

// snapshotOverhead replays the log with and without snapshots.
func snapshotOverhead() *benchCase {
	var dir string
	var saves uint64
	round := 0
	return &benchCase{
		name: "snapshot/overhead", about: "events/s of projection.Start that replays the log with a snapshot every 10,000 events, against one without snapshots",
		unit: unitEvents, floor: 0.9,
		setup: func(ctx context.Context, e *env) error {
			from, err := e.log(ctx)
			if err != nil {
				return err
			}
			if dir, err = os.MkdirTemp(e.dir, "overhead-"); err != nil {
				return err
			}
			return copyTree(dir, from)
		},
		ours: func(ctx context.Context, e *env, c *clock) (s sample, err error) {
			round++ // a unit of its own, that has no snapshot yet
			policy := projection.Policy{Events: uint64(e.events / 100), MinInterval: 1, NotOnClose: true}
			s, saves, err = replayed(ctx, dir, fmt.Sprintf("unit-%d", round), c, projection.Config{Snapshots: policy})
			if err == nil && saves < 10 && !e.quick {
				err = fmt.Errorf("%d snapshots alone", saves)
			}
			return s, err
		},
		base: func(ctx context.Context, e *env, c *clock) (sample, error) {
			s, _, err := replayed(ctx, dir, "none", c, projection.Config{NoSnapshots: true})
			return s, err
		},
		note: func() string { return fmt.Sprintf("no snapshots; ours made %d", saves) },
	}
}

func replayed(ctx context.Context, dir, unit string, c *clock, cfg projection.Config) (s sample, saves uint64, err error) {
	s, st, err := started(ctx, dir, unit, c, cfg)
	s.values = []float64{c.rate(int(s.count))}
	return s, st.Snapshots.Saves, err
}

// snapshotDelta compares what two kinds of snapshots write.
func snapshotDelta() *benchCase {
	return &benchCase{
		name: "snapshot/delta-bytes", about: "bytes that a snapshot of 1,000 changed keys of 1,000,000 writes, compaction included (mean of 50), against those of the first one, of all keys",
		unit: unitBytes, ceiling: 0.01,
		ours: func(ctx context.Context, e *env, c *clock) (sample, error) { return written(ctx, e, c, 50) },
		base: func(ctx context.Context, e *env, c *clock) (sample, error) { return written(ctx, e, c, 0) },
		note: func() string { return "a full snapshot" },
	}
}

func written(ctx context.Context, e *env, c *clock, deltas int) (s sample, err error) {
	err = savedWide(ctx, e, e.rows, func(w *wide) error {
		if err := c.start(); err != nil {
			return err
		}
		full, _ := w.rt.SnapshotStats()
		for range deltas {
			if _, err := w.changeAndSave(ctx, e.changed); err != nil {
				return err
			}
		}
		if err := c.stop(); err != nil {
			return err
		}
		all, _ := w.rt.SnapshotStats()
		s.values, s.count = []float64{float64(full.BytesWritten)}, uint64(e.rows)
		if deltas > 0 {
			s.values[0] = float64(all.BytesWritten-full.BytesWritten) / float64(deltas)
		}
		return nil
	})
	return s, err
}
