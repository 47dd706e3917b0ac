package eventlog_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidemark-es/tidemark/eventlog"
)

type Opened struct{ Owner string }

type Deposited struct{ Cents int64 }

// openBank opens a log in memory; a program gives Dir or URL instead.
func openBank(ctx context.Context) (*eventlog.Log, *eventlog.Feed, error) {
	log, err := eventlog.Open(ctx, eventlog.Options{App: "bank", Memory: true})
	if err != nil {
		return nil, nil, err
	}
	accounts, err := log.Feed(ctx, "accounts", eventlog.Type[Opened]("opened"), eventlog.Type[Deposited]("deposited"))
	if err != nil {
		return nil, nil, errors.Join(err, log.Close())
	}
	return log, accounts, nil
}

func Example() {
	ctx := context.Background()
	log, accounts, err := openBank(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer log.Close()

	at, err := accounts.Append(ctx, "acct-42", eventlog.ExpectNew, Opened{"Ada"}, Deposited{1000})
	fmt.Println(at, err)

	for e, err := range accounts.Read(ctx) {
		if err != nil {
			fmt.Println(err)
			return
		}
		v, err := e.Value()
		fmt.Printf("%v %s %s %+v %v\n", e.Position(), e.Key, e.Type, v, err)
	}
	// Output:
	// accounts@1 <nil>
	// accounts@1 acct-42 opened {Owner:Ada} <nil>
	// accounts@1.1 acct-42 deposited {Cents:1000} <nil>
}

// A conflict says where the key is: read it again and decide anew.
func ExampleFeed_Append_conflict() {
	ctx := context.Background()
	log, accounts, err := openBank(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer log.Close()

	at, _ := accounts.Append(ctx, "acct-42", eventlog.ExpectNew, Opened{"Ada"})
	_, err = accounts.Append(ctx, "acct-42", eventlog.ExpectNew, Opened{"Bob"})
	if conflict, ok := errors.AsType[*eventlog.ConflictError](err); ok {
		fmt.Println(errors.Is(err, eventlog.ErrConflict), conflict.Actual)
	}
	at, err = accounts.Append(ctx, "acct-42", eventlog.ExpectSeq(at.Seq), Deposited{5})
	fmt.Println(at, err)
	// Output:
	// true 1
	// accounts@2 <nil>
}

// An append with an identity can be sent again at any time.
func ExampleFeed_AppendDraft() {
	ctx := context.Background()
	log, accounts, err := openBank(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer log.Close()

	d := eventlog.Draft{Key: "acct-42", Events: []any{Deposited{5}}, ID: eventlog.ActorID("importer", 1)}
	for range 2 {
		fmt.Println(accounts.AppendDraft(ctx, d))
	}
	// Output:
	// accounts@1 <nil>
	// accounts@1 <nil>
}

// Following goes on with what is appended later, until the context ends.
func ExampleFollow() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	log, accounts, err := openBank(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer log.Close()

	for cents := range int64(2) {
		_, _ = accounts.Append(ctx, "acct-42", eventlog.ExpectAny, Deposited{cents})
	}
	for e, err := range accounts.Read(ctx, eventlog.After(1), eventlog.Follow()) {
		if err != nil {
			fmt.Println(err)
			break
		}
		fmt.Println(e.Position())
		if e.Seq == 2 {
			_, _ = accounts.Append(ctx, "acct-7", eventlog.ExpectAny, Deposited{3})
		} else {
			cancel()
		}
	}
	// Output:
	// accounts@2
	// accounts@3
	// context canceled
}
