package dependants_test

import (
	"context"
	"fmt"
	"time"

	"github.com/tidemark-es/tidemark/dependants"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/timeframe"
)

// A reader outside keeps the log from being trimmed beyond where it is, for as
// long as it shows up once a day.
func Example() {
	ctx := context.Background()
	log, err := eventlog.Open(ctx, eventlog.Options{App: "shop", Memory: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer log.Close()
	r, err := dependants.New(dependants.Options{App: log.App(), JetStream: log.JetStream(), Memory: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	at, _ := timeframe.Of(timeframe.Entry{Feed: "orders", Seq: 50})
	err = r.Register(ctx, dependants.Dependant{Name: "warehouse", Needs: at, Expiry: 24 * time.Hour})
	if err != nil {
		fmt.Println(err)
		return
	}
	ds, err := r.List(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(ds[0].Name, "needs what follows", ds[0].Needs)
	// Output: warehouse needs what follows orders=50
}
