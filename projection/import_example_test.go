package projection_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/projection"
	"github.com/tidemark-es/tidemark/snapshot"
)

// A process starts from the snapshots of another one that runs, instead of
// replaying the log.
func ExampleConfig_peers() {
	if err := quickSync(); err != nil {
		fmt.Println(err)
	}
	// Output: ada has 100; from a snapshot, 0 events replayed
}

func quickSync() (err error) {
	ctx := context.Background()
	log, err := eventlog.Open(ctx, eventlog.Options{App: "bank", Memory: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	accounts, err := log.Feed(ctx, "accounts", eventlog.Type[deposited]("deposited"))
	if err != nil {
		return err
	}
	table := func() *projection.Table[string, int64] {
		t := projection.NewTable[string, int64]("balances")
		projection.On(t, accounts, func(t *projection.Tx[string, int64], e eventlog.Event, d deposited) error {
			t.Put(e.Key, t.Value(e.Key)+d.Cents)
			return nil
		})
		return t
	}
	if _, err := accounts.Append(ctx, "ada", eventlog.ExpectNew, deposited{60}, deposited{40}); err != nil {
		return err
	}
	first, err := projection.Start(ctx, log, table())
	if err != nil {
		return err
	}
	if err := first.Close(); err != nil { // which saves
		return err
	}
	// In a server: mux.Handle("/snapshots/", http.StripPrefix("/snapshots", first.SnapshotHandler(nil)))
	server := httptest.NewServer(first.SnapshotHandler(nil))
	defer server.Close()

	// The second process keeps its snapshots elsewhere, and has none yet.
	own, err := snapshot.Open(ctx, snapshot.Options{App: "replica", JetStream: log.JetStream(), Memory: true})
	if err != nil {
		return err
	}
	balances := table()
	cfg := projection.Config{Store: own, Peers: []snapshot.Peer{snapshot.HTTP(server.URL, nil)}}
	second, err := cfg.Start(ctx, log, balances)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, second.Close()) }()
	status, err := second.Status(ctx)
	if err != nil {
		return err
	}
	cents, _ := balances.Get("ada")
	r := status[0].Recovery
	fmt.Printf("ada has %d; from a %s, %d events replayed\n", cents, r.Source, r.Replayed)
	return nil
}
