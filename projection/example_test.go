package projection_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/projection"
	"github.com/tidemark-es/tidemark/timeframe"
)

// The events of a bank: plain structs.
type (
	Opened    struct{ Owner string }
	Deposited struct{ Cents int64 }
	Withdrawn struct{ Cents int64 }
)

// bankOnce is the README's program: it opens the log in dir, brings the
// balances up to date, makes a deposit, and reads its own write.
func bankOnce(ctx context.Context, dir string) error {
	log, err := eventlog.Open(ctx, eventlog.Options{App: "bank", Dir: dir}) // or URL: "nats://…"
	if err != nil {
		return err
	}
	defer log.Close()
	accounts, err := log.Feed(ctx, "accounts",
		eventlog.Type[Opened]("opened"), eventlog.Type[Deposited]("deposited"), eventlog.Type[Withdrawn]("withdrawn"))
	if err != nil {
		return err
	}
	balances := projection.NewTable[string, int64]("balances", projection.Version(1))
	projection.On(balances, accounts, func(t *projection.Tx[string, int64], e eventlog.Event, d Deposited) error {
		t.Put(e.Key, t.Value(e.Key)+d.Cents)
		return nil
	})
	rt, err := projection.Start(ctx, log, balances) // restores, catches up, follows, snapshots by itself
	if err != nil {
		return err
	}
	defer rt.Close()
	at, err := accounts.Append(ctx, "acct-42", eventlog.ExpectAny, Deposited{1000})
	if err != nil {
		return err
	}
	if err := rt.Wait(ctx, at); err != nil { // read your own write
		return err
	}
	cents, _ := balances.Get("acct-42")
	fmt.Println("balance:", cents, "started from:", rt.Metrics()[0].Recovery.Source)
	return nil
}

// Run twice, the second start restores and reads only what is new.
func Example() {
	dir, err := os.MkdirTemp("", "bank")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	for range 2 {
		if err := bankOnce(context.Background(), dir); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// balance: 1000 started from: empty
	// balance: 2000 started from: snapshot
}

// Several projections in one unit share a cut, and so a moment.
func ExampleNewUnit() {
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
	sums := projection.NewTable[string, int64]("sums")
	projection.On(sums, accounts, func(t *projection.Tx[string, int64], e eventlog.Event, d Deposited) error {
		t.Put(e.Key, t.Value(e.Key)+d.Cents)
		return nil
	})
	counts := projection.NewTable[string, int]("counts")
	projection.On(counts, accounts, func(t *projection.Tx[string, int], e eventlog.Event, _ Deposited) error {
		t.Put(e.Key, t.Value(e.Key)+1)
		return nil
	})
	rt, err := projection.Start(ctx, events, projection.NewUnit("totals", sums, counts))
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
	sum, _ := sums.Get("ada")
	n, _ := counts.Get("ada")
	fmt.Println(sum, n, rt.Timeframe())
	// Output: 12 2 accounts=1
}

// A new version of a projection can be restored from an older one's
// snapshots, where it says how.
func ExampleMigrate() {
	type account struct{ Cents, Deposits int64 }
	balances := projection.NewTable[string, account]("balances",
		projection.Version(2),
		projection.Migrate(1, func(key string, old int64) (account, bool) {
			return account{Cents: old, Deposits: -1}, true // -1: not counted then
		}))
	fmt.Println(balances.Name())
	// Output: balances
}

// The state of a projection as it was, beside the live one.
func ExampleAsOf() {
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
	balances := func() *projection.Table[string, int64] {
		t := projection.NewTable[string, int64]("balances")
		projection.On(t, accounts, func(t *projection.Tx[string, int64], e eventlog.Event, d Deposited) error {
			t.Put(e.Key, t.Value(e.Key)+d.Cents)
			return nil
		})
		return t
	}
	live := balances()
	rt, err := projection.Start(ctx, events, live)
	if err != nil {
		log.Fatal(err)
	}
	defer rt.Close()
	for _, cents := range []int64{5, 7} {
		at, err := accounts.Append(ctx, "ada", eventlog.ExpectAny, Deposited{cents})
		if err != nil {
			log.Fatal(err)
		}
		if err := rt.Wait(ctx, at); err != nil {
			log.Fatal(err)
		}
	}
	at, err := timeframe.Parse("accounts=1") // or a Runtime.Timeframe that was kept; AsOfTime takes a time
	if err != nil {
		log.Fatal(err)
	}
	then := balances()
	if _, err := projection.AsOf(ctx, events, at, then); err != nil {
		log.Fatal(err)
	}
	was, _ := then.Get("ada")
	is, _ := live.Get("ada")
	fmt.Println(was, is)
	// Output: 5 12
}

// Tables can read tables: a commit goes through all of them in one step.
func ExampleOnChange() {
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
	balances := projection.NewTable[string, int64]("balances")
	projection.On(balances, accounts, func(t *projection.Tx[string, int64], e eventlog.Event, d Deposited) error {
		t.Put(e.Key, t.Value(e.Key)+d.Cents)
		return nil
	})
	best := projection.TopN("best", balances, 1, func(a, b int64) bool { return a > b })
	moves := projection.NewTable[string, int]("moves")
	projection.OnChange(moves, balances, func(t *projection.Tx[string, int], c projection.Change[string, int64]) error {
		t.Put(c.Key, t.Value(c.Key)+1)
		return nil
	})
	rt, err := projection.Start(ctx, events, balances, best, moves)
	if err != nil {
		log.Fatal(err)
	}
	defer rt.Close()
	w := best.Watch()
	defer w.Close()
	for key, cents := range map[string]int64{"ada": 5, "bob": 7} {
		at, err := accounts.Append(ctx, key, eventlog.ExpectNew, Deposited{cents}, Deposited{cents})
		if err != nil {
			log.Fatal(err)
		}
		if err := rt.Wait(ctx, at); err != nil {
			log.Fatal(err)
		}
	}
	first, _ := best.Get(1)
	n, _ := moves.Get("ada")
	d, err := w.Next(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(first, n, d.Changes[0].Has, d.Cause.Position())
	// Output: {bob 14} 1 true accounts@1
}
