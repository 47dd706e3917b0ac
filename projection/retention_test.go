package projection_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
)

// Retention by count, age and bytes is the policy's; what is wrong with it is
// told before anything runs.
func TestRetentionOfThePolicy(t *testing.T) {
	b := openBank(t, logtest.Options(t))
	ctx := logtest.Context(t)
	store := newTrickyStore(t, b)
	// Each case goes on with what the one before has left: the next save
	// applies the policy. Ages are spaced by a hundredth, so of the older ones
	// just the oldest is retained by KeepFor.
	for i, c := range []struct {
		policy projection.Policy
		saves  int
		want   int
	}{
		{projection.Policy{Keep: 5}, 7, 5},
		{projection.Policy{}, 1, 3},
		{projection.Policy{Keep: 2, KeepFor: 1000 * time.Hour}, 3, 3},
		{projection.Policy{Keep: 2, KeepFor: 1000 * time.Hour, KeepBytes: 1}, 1, 2},
	} {
		for range c.saves {
			at := b.append(t, "ada", deposited{1})
			rt := b.start(t, projection.Config{Snapshots: c.policy}, b.balances())
			if err := errors.Join(rt.Wait(ctx, at), rt.Close()); err != nil {
				t.Fatal(err)
			}
		}
		if found := must(store.Candidates(ctx, "balances"))(t); len(found) != c.want {
			t.Errorf("case %d: %d snapshots, want %d", i, len(found), c.want)
		}
	}
	for i, c := range []projection.Config{
		{Snapshots: projection.Policy{Keep: 1}},
		{Snapshots: projection.Policy{KeepBytes: 1}}, // without KeepFor
		{Snapshots: projection.Policy{Keep: 5}, Store: store},
		{Unverifiable: 7},
	} {
		if _, err := c.Start(ctx, b.log, b.balances()); !errors.Is(err, projection.ErrInvalid) {
			t.Errorf("configuration %d: %v", i, err)
		}
	}
}

// A snapshot whose anchor is gone: the policy decides, and what it decided is
// told (R3.13, R3.16).
func TestUnverifiablePolicy(t *testing.T) {
	type (
		policy = projection.Unverifiable
		want   struct {
			source  projection.Source
			fails   error
			notes   int
			skipped int
		}
	)
	used, replayed := want{source: projection.FromSnapshot, notes: 1}, want{source: projection.FromReplay, skipped: 1}
	for name, c := range map[string]struct {
		remove func(t *testing.T, b *bank)
		want   map[policy]want
	}{
		"trimmed right up to it": {
			remove: func(t *testing.T, b *bank) { purge(t, b, 4) },
			want: map[policy]want{
				projection.TrustTrimmed:    used,
				projection.TrustUnverified: used,
				projection.TrustNone:       {fails: eventlog.ErrTrimmed},
			},
		},
		"erased inside": {
			remove: func(t *testing.T, b *bank) {
				s := must(b.log.JetStream().Stream(t.Context(), b.accounts.Stream()))(t)
				if err := s.Purge(t.Context(), jetstream.WithPurgeSubject(fmt.Sprintf("%s.accounts.k2", b.log.App()))); err != nil {
					t.Fatal(err)
				}
			},
			want: map[policy]want{
				projection.TrustTrimmed:    replayed,
				projection.TrustUnverified: used,
				projection.TrustNone:       replayed,
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := openBank(t, logtest.Options(t))
			saved(t, b, 3) // the last one of k2
			b.append(t, "k0", deposited{1})
			c.remove(t, b)
			for p, want := range c.want {
				cfg := projection.Config{Unverifiable: p, Snapshots: projection.Policy{NotOnClose: true}}
				balances := b.balances(projection.Version(1))
				rt, err := cfg.Start(logtest.Context(t), b.log, balances)
				if want.fails != nil {
					if !errors.Is(err, want.fails) {
						t.Errorf("policy %d: %v", p, err)
					}
					continue
				}
				if err != nil {
					t.Fatalf("policy %d: %v", p, err)
				}
				r := status(t, rt, "balances").Recovery
				if r.Source != want.source || len(r.Notes) != want.notes || len(r.Skipped) != want.skipped {
					t.Errorf("policy %d: %+v", p, r)
				}
				if err := rt.Close(); err != nil {
					t.Error(err)
				}
				if want.source == projection.FromSnapshot {
					equal(t, fmt.Sprint("policy ", p), balances, map[string]int64{"k0": 2, "k1": 1, "k2": 1})
				}
			}
		})
	}
}

// Two processes with the same state have the same digest, however they came to
// it: here, one that has followed the log, and one that has just replayed it.
func ExampleRuntime_Digest() {
	ctx := context.Background()
	log, err := eventlog.Open(ctx, eventlog.Options{App: "bank", Memory: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer log.Close()
	accounts, err := log.Feed(ctx, "accounts", eventlog.Type[deposited]("deposited"))
	if err != nil {
		fmt.Println(err)
		return
	}
	replica := func() (*projection.Runtime, error) { // each in a process of its own
		balances := projection.NewTable[string, int64]("balances")
		projection.On(balances, accounts, func(t *projection.Tx[string, int64], e eventlog.Event, d deposited) error {
			t.Put(e.Key, t.Value(e.Key)+d.Cents)
			return nil
		})
		return projection.Config{NoSnapshots: true}.Start(ctx, log, balances)
	}
	follows, err := replica()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer follows.Close()
	at, err := accounts.Append(ctx, "ada", eventlog.ExpectAny, deposited{5}, deposited{7})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := follows.Wait(ctx, at); err != nil {
		fmt.Println(err)
		return
	}
	replays, err := replica()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer replays.Close()
	at1, digest1, err1 := follows.Digest(ctx, "balances")
	at2, digest2, err2 := replays.Digest(ctx, "balances")
	if err := errors.Join(err1, err2); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(at1, at1.Equal(at2), digest1 == digest2)
	// Output: accounts=1 true true
}
