package projection_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/projection"
)

// Ranking is a model that can take back what its handlers have changed since
// the last whole commit: it keeps what was there.
type Ranking struct {
	Sums map[string]int64
	was  map[string]int64 // of keys that changed
}

func (r *Ranking) Add(key string, cents int64) {
	if _, ok := r.was[key]; !ok {
		r.was[key] = r.Sums[key]
	}
	r.Sums[key] += cents
}

func (r *Ranking) Snapshot(w io.Writer) error  { return json.NewEncoder(w).Encode(r.Sums) }
func (r *Ranking) Restore(src io.Reader) error { return json.NewDecoder(src).Decode(&r.Sums) }

func (r *Ranking) Commit() { clear(r.was) }

func (r *Ranking) Rollback() {
	maps.Copy(r.Sums, r.was)
	clear(r.was)
}

// A model that can take back may set aside what it can't handle, and go on.
func ExampleUndoer() {
	ctx := context.Background()
	events, err := eventlog.Open(ctx, eventlog.Options{App: "bank", Memory: true})
	if err != nil {
		log.Fatal(err)
	}
	defer events.Close()
	accounts, err := events.Feed(ctx, "accounts", eventlog.Type[Deposited]("deposited"))
	if err != nil {
		log.Fatal(err)
	}
	ranking := projection.NewModel("ranking", func() *Ranking { return &Ranking{make(map[string]int64), make(map[string]int64)} },
		projection.OnFailure(projection.FailurePolicy{Then: projection.ParkKey}))
	projection.OnModel(ranking, accounts, func(r *Ranking, e eventlog.Event, d Deposited) error {
		if r.Add(e.Key, d.Cents); d.Cents < 0 {
			return errors.New("a deposit below zero")
		}
		return nil
	})
	rt, err := projection.Start(ctx, events, ranking)
	if err != nil {
		log.Fatal(err)
	}
	defer rt.Close()
	var at eventlog.Position
	for key, cents := range map[string]int64{"ada": 5, "bob": -7} {
		if at, err = accounts.Append(ctx, key, eventlog.ExpectAny, Deposited{100}, Deposited{cents}); err != nil {
			log.Fatal(err)
		}
	}
	if err := rt.Wait(ctx, at); err != nil {
		log.Fatal(err)
	}
	err = ranking.View(func(r *Ranking) { fmt.Println(r.Sums["ada"], r.Sums["bob"], err) })
	fmt.Println(err, rt.Parked()[0].Key, rt.Parked()[0].Err)
	// Output:
	// 105 0 <nil>
	// <nil> bob a deposit below zero
}
