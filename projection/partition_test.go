package projection_test

import (
	"errors"
	"fmt"
	"maps"
	"sync/atomic"
	"testing"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
)

// parted is bank.balances in partitions. A withdrawal that isn't covered
// fails.
func (b *bank) parted(partitions int) *projection.Partitioned[int64] {
	p := projection.NewPartitioned[int64]("balances", partitions)
	projection.OnRow(p, b.accounts, func(r projection.Row[int64], e eventlog.Event, d deposited) error {
		r.Put(r.Value() + d.Cents)
		return nil
	})
	projection.OnRow(p, b.accounts, func(r projection.Row[int64], e eventlog.Event, d withdrawn) error {
		v, _ := r.Get()
		r.Put(v - d.Cents)
		if v < d.Cents {
			return fmt.Errorf("account %s has %d, not %d", e.Key, v, d.Cents)
		}
		return nil
	})
	projection.OnRow(p, b.accounts, func(r projection.Row[int64], e eventlog.Event, _ closed) error {
		r.Delete()
		return nil
	})
	return p
}

// R2.7, R2.33: with any number of partitions the state and the digest are
// those of a plain table, and either is restored from the other's snapshot.
func TestPartitions(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	const commits = 600
	want := map[string]int64{}
	for i := range commits {
		key := fmt.Sprint("k", i*i%97)
		if i%11 == 10 {
			b.append(t, key, closed{})
			delete(want, key)
		} else {
			b.append(t, key, deposited{int64(i)}, deposited{1})
			want[key] += int64(i) + 1
		}
	}
	rt := b.start(t, often(100), b.balances())
	_, digest, err := rt.Digest(ctx, "balances")
	if err != nil {
		t.Fatal(err)
	}
	for i, partitions := range []int{2, 3, 1, 64, 0} {
		if err := rt.Close(); err != nil {
			t.Fatal(err)
		}
		p := b.parted(partitions)
		c := often(100)
		c.NoSnapshots = i == 0 // then all is handled in partitions
		rt = b.start(t, c, p)
		if got := maps.Collect(p.All()); !maps.Equal(got, want) || p.Len() != len(want) {
			t.Fatalf("%d partitions: %v, want %v", partitions, got, want)
		}
		if s := status(t, rt, "balances"); (s.Recovery.Source == projection.FromSnapshot) != (i > 0) || s.At.String() != fmt.Sprintf("accounts=%d", commits+max(0, i-1)) {
			t.Errorf("%d partitions: %+v", partitions, s)
		}
		if _, got, err := rt.Digest(ctx, "balances"); err != nil || got != digest {
			t.Errorf("%d partitions: digest %s, want %s, %v", partitions, got, digest, err)
		}
		if i == 0 {
			continue
		}
		if err := rt.Wait(ctx, b.append(t, "k1", deposited{0})); err != nil { // changes no value
			t.Fatal(err)
		}
		if v, ok := p.Get("k1"); !ok || v != want["k1"] {
			t.Errorf("k1: %d %v", v, ok)
		}
	}
	if err := rt.Close(); err != nil {
		t.Fatal(err)
	}
	plain := b.balances()
	rt = b.start(t, projection.Config{}, plain)
	equal(t, "restored", plain, want)
	if got := sources(t, rt, "balances"); got != "snapshot" {
		t.Errorf("from %s", got)
	}
}

// A failure in one partition leaves all of them at the commit before it,
// whatever the others had handled already.
func TestPartitionFails(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	want := map[string]int64{}
	const bad = 150
	for i := range 400 {
		key := fmt.Sprint("k", i%13)
		if i == bad || i == bad+1 || i == bad+50 {
			b.append(t, key, deposited{1}, withdrawn{1 << 40})
			continue
		}
		b.append(t, key, deposited{int64(i)})
		if i < bad {
			want[key] += int64(i)
		}
	}
	for _, partitions := range []int{1, 4} {
		p := b.parted(partitions)
		rt := b.start(t, projection.Config{NoSnapshots: true}, p)
		se, ok := errors.AsType[*projection.StoppedError](p.Err())
		if !ok || se.Position != (eventlog.Position{Feed: "accounts", Seq: bad + 1, Index: 1}) || se.Type != "withdrawn" {
			t.Fatalf("%d partitions: %v", partitions, p.Err())
		}
		if got := maps.Collect(p.All()); !maps.Equal(got, want) {
			t.Errorf("%d partitions: %v, want %v", partitions, got, want)
		}
		if s := status(t, rt, "balances"); s.At.String() != fmt.Sprintf("accounts=%d", bad) || s.Applied != bad {
			t.Errorf("%d partitions: %+v", partitions, s)
		}
	}
	panics := projection.NewPartitioned[int64]("panics", 2)
	var calls atomic.Int64
	projection.OnRow(panics, b.accounts, func(r projection.Row[int64], e eventlog.Event, d deposited) error {
		calls.Add(1)
		panic("no")
	})
	b.start(t, projection.Config{NoSnapshots: true}, panics)
	if se, ok := errors.AsType[*projection.StoppedError](panics.Err()); !ok || se.Position.Seq != 1 || se.Stack == "" || calls.Load() == 0 {
		t.Errorf("%v", panics.Err())
	}
	_, err := projection.Start(ctx, b.log, projection.NewPartitioned[int]("x", -1, projection.History(3)))
	if !errors.Is(err, projection.ErrInvalid) {
		t.Error(err)
	}
}
