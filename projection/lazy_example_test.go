package projection_test

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/projection"
)

// A report that is asked for now and then costs nothing in between.
func ExampleLazy() {
	dir, err := os.MkdirTemp("", "tidemark")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	if err := report(context.Background(), dir); err != nil {
		fmt.Println(err)
	}
	// Output:
	// before: dormant
	// Ada has 1200
}

func report(ctx context.Context, dir string) error {
	log, err := eventlog.Open(ctx, eventlog.Options{App: "bank", Dir: dir})
	if err != nil {
		return err
	}
	defer log.Close()
	accounts, err := log.Feed(ctx, "accounts", eventlog.Type[Deposited]("deposited"))
	if err != nil {
		return err
	}
	totals := projection.NewTable[string, int64]("totals", projection.Lazy(time.Minute))
	projection.On(totals, accounts, func(t *projection.Tx[string, int64], e eventlog.Event, d Deposited) error {
		t.Put(e.Key, t.Value(e.Key)+d.Cents)
		return nil
	})
	rt, err := projection.Start(ctx, log, totals)
	if err != nil {
		return err
	}
	defer rt.Close()
	if _, err := accounts.Append(ctx, "Ada", eventlog.ExpectAny, Deposited{1000}, Deposited{200}); err != nil {
		return err
	}
	fmt.Println("before:", rt.Metrics()[0].State)

	release, err := rt.Need(ctx, totals) // restores or replays it, and waits
	if err != nil {
		return err
	}
	defer release()
	cents, _ := totals.Get("Ada")
	fmt.Println("Ada has", cents)
	return nil
}

// A lazy table behind one that isn't: it is filled from that one's rows when
// somebody needs it.
func ExampleLazy_derived() {
	ctx := context.Background()
	log, err := eventlog.Open(ctx, eventlog.Options{App: "bank", Memory: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer log.Close()
	accounts, err := log.Feed(ctx, "accounts", eventlog.Type[Deposited]("deposited"))
	if err != nil {
		fmt.Println(err)
		return
	}
	totals := projection.NewTable[string, int64]("totals")
	projection.On(totals, accounts, func(t *projection.Tx[string, int64], e eventlog.Event, d Deposited) error {
		t.Put(e.Key, t.Value(e.Key)+d.Cents)
		return nil
	})
	best := projection.TopN("best", totals, 1, func(a, b int64) bool { return a > b }, projection.Lazy(time.Minute))
	rt, err := projection.Start(ctx, log, totals, best)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer rt.Close()
	at, err := accounts.Append(ctx, "Ada", eventlog.ExpectAny, Deposited{1000})
	if err == nil {
		err = rt.Wait(ctx, at)
	}
	fmt.Println("totals:", rt.Metrics()[0].State, "best:", rt.Metrics()[1].State, err)
	release, err := rt.Need(ctx, best) // or just read it, which doesn't wait
	if err != nil {
		fmt.Println(err)
		return
	}
	defer release()
	first, _ := best.Get(1)
	fmt.Println(first.Key, "has", first.Value)
	// Output:
	// totals: live best: dormant <nil>
	// Ada has 1000
}
