package projection_test

import (
	"fmt"
	"log"
	"strings"
	"testing"

	"context"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
)

type totals struct{ Deposits, Cents int64 }

func (b *bank) totals(opts ...projection.TableOption) *projection.Value[totals] {
	v := projection.NewValue[totals]("totals", opts...)
	projection.OnValue(v, b.accounts, func(s totals, e eventlog.Event, d deposited) (totals, error) {
		s.Deposits++
		s.Cents += d.Cents
		return s, nil
	})
	projection.OnValue(v, b.accounts, func(s totals, e eventlog.Event, d withdrawn) (totals, error) {
		if s.Cents < d.Cents {
			return totals{}, errPoison
		}
		s.Cents -= d.Cents
		return s, nil
	})
	return v
}

// R0.3: a single struct is a projection: saved, restored, undone where an
// event of a commit fails, migrated.
func TestValue(t *testing.T) {
	b := openBank(t, logtest.Options(t))
	ctx := logtest.Context(t)
	v := b.totals()
	rt := b.start(t, projection.Config{}, v)
	if got := v.Get(); got != (totals{}) {
		t.Errorf("at first %+v", got)
	}
	if err := rt.Wait(ctx, b.append(t, "a", deposited{3}, deposited{4}, withdrawn{2})); err != nil {
		t.Fatal(err)
	}
	if got := v.Get(); got != (totals{2, 5}) {
		t.Errorf("%+v", got)
	}
	if err := rt.Close(); err != nil {
		t.Fatal(err)
	}
	v = b.totals()
	rt = b.start(t, projection.Config{}, v)
	if s := status(t, rt, "totals"); s.Recovery.Source != projection.FromSnapshot || s.Recovery.Replayed != 0 || s.Rows != 1 {
		t.Errorf("%+v", s)
	}
	if got := v.Get(); got != (totals{2, 5}) {
		t.Errorf("restored %+v", got)
	}
	if err := rt.Wait(ctx, b.append(t, "a", deposited{1}, withdrawn{100})); err == nil || v.Err() == nil {
		t.Error("not stopped")
	}
	if got := v.Get(); got != (totals{2, 5}) {
		t.Errorf("after a failure %+v", got)
	}
	if err := rt.Close(); err != nil {
		t.Fatal(err)
	}
	type wide struct{ Deposits, Cents, Version int64 }
	next := projection.NewValue[wide]("totals", projection.Version(1),
		projection.MigrateValue(0, func(old totals) wide { return wide{old.Deposits, old.Cents, 1} }))
	projection.OnValue(next, b.accounts, func(s wide, e eventlog.Event, d deposited) (wide, error) { return s, nil })
	rt = b.start(t, projection.Config{}, next)
	if s := status(t, rt, "totals"); !s.Recovery.Migrated || next.Get() != (wide{2, 5, 1}) {
		t.Errorf("migrated %+v: %+v", s.Recovery, next.Get())
	}
}

// R0.15: migrations in hops: each older version is restored through the ones
// between; a chain that doesn't fit is reported by Start.
func TestMigrationHops(t *testing.T) {
	type v2 struct{ Cents int64 }
	type v3 struct {
		Cents int64
		Trail string
	}
	b := openBank(t, logtest.Options(t))
	ctx := logtest.Context(t)
	saved(t, b, 9) // version 1, int64
	oneToTwo := projection.MigrateTo(1, 2, func(_ string, old int64) (v2, bool) { return v2{old * 10}, true })
	twoToThree := projection.MigrateTo(2, 3, func(k string, old v2) (v3, bool) { return v3{old.Cents, "3"}, k != "k2" })
	toFour := projection.Migrate(3, func(_ string, old v3) (v3, bool) { return v3{old.Cents, old.Trail + "4"}, true })
	table := projection.NewTable[string, v3]("balances", projection.Version(4), toFour, twoToThree, oneToTwo)
	projection.On(table, b.accounts, func(tx *projection.Tx[string, v3], e eventlog.Event, d deposited) error { return nil })
	rt := b.start(t, projection.Config{}, table)
	if s := status(t, rt, "balances"); !s.Recovery.Migrated {
		t.Errorf("%+v", s.Recovery)
	}
	equal(t, "hopped", table, map[string]v3{"k0": {30, "34"}, "k1": {30, "34"}})
	for _, c := range []struct {
		want string
		opts []projection.TableOption
	}{
		{"ends at 2", []projection.TableOption{projection.Version(4), oneToTwo}},
		{"version 2 takes", []projection.TableOption{projection.Version(3), oneToTwo, projection.MigrateTo(2, 3, func(string, v3) (v3, bool) { return v3{}, true })}},
		{"it makes", []projection.TableOption{projection.Version(2), oneToTwo}},
		{"from version 1 to 2 of a projection of version 1", []projection.TableOption{projection.Version(1), oneToTwo}},
		{"two migrations", []projection.TableOption{projection.Version(4), toFour, toFour}},
		{"nil function", []projection.TableOption{projection.Version(4), projection.Migrate[string, v3, v3](3, nil)}},
		{"another type of table", []projection.TableOption{projection.Version(4), projection.Migrate(3, func(int, v3) (v3, bool) { return v3{}, true })}},
	} {
		bad := projection.NewTable[string, v3]("other", c.opts...)
		projection.On(bad, b.accounts, func(tx *projection.Tx[string, v3], e eventlog.Event, d deposited) error { return nil })
		if _, err := projection.Start(ctx, b.log, bad); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
}

// A projection can be one struct, and a model that is changed in place.
func Example_models() {
	ctx := context.Background()
	events, err := eventlog.Open(ctx, eventlog.Options{App: "shop", Memory: true})
	if err != nil {
		log.Fatal(err)
	}
	defer events.Close()
	accounts, err := events.Feed(ctx, "accounts", eventlog.Type[Deposited]("deposited"))
	if err != nil {
		log.Fatal(err)
	}
	type Totals struct{ Deposits, Cents int64 }
	sums := projection.NewValue[Totals]("totals")
	projection.OnValue(sums, accounts, func(t Totals, e eventlog.Event, d Deposited) (Totals, error) {
		return Totals{t.Deposits + 1, t.Cents + d.Cents}, nil
	})
	// A type of one's own, without methods: the events that it consumes are
	// saved for it. With Snapshot and Restore it saves itself.
	type Index struct{ keys map[string][]uint64 }
	index := projection.NewModel("index", func() *Index { return &Index{keys: make(map[string][]uint64)} })
	projection.OnModel(index, accounts, func(x *Index, e eventlog.Event, d Deposited) error {
		x.keys[e.Key] = append(x.keys[e.Key], e.Seq)
		return nil
	})
	rt, err := projection.Start(ctx, events, sums, index)
	if err != nil {
		log.Fatal(err)
	}
	defer rt.Close()
	at, err := accounts.Append(ctx, "ada", eventlog.ExpectNew, Deposited{5}, Deposited{7})
	if err != nil {
		log.Fatal(err)
	}
	if err := rt.Wait(ctx, at); err != nil {
		log.Fatal(err)
	}
	fmt.Println(sums.Get())
	_ = index.View(func(x *Index) { fmt.Println(x.keys["ada"]) })
	// Output:
	// {2 12}
	// [1 1]
}
