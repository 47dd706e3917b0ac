package eventlog_test

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/timeframe"
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

// What an old program stored is read as today's: under another name, in
// another shape, one event as several.
func ExampleUpcast() {
	type OpenedV1 struct{ Name string }
	type Transferred struct{ Cents, Fee int64 }
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "bank")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	log, err := eventlog.Open(ctx, eventlog.Options{App: "bank", Dir: dir})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer log.Close()
	old, err := log.Feed(ctx, "accounts",
		eventlog.Type[OpenedV1]("opened"), eventlog.Type[Deposited]("paid"), eventlog.Type[Transferred]("transferred"))
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = old.Append(ctx, "acct-42", eventlog.ExpectNew, OpenedV1{"Ada"}, Deposited{1000}, Transferred{Cents: 500, Fee: 1})
	fmt.Println(err)

	// The program of today, here in the same process.
	now, err := eventlog.Open(ctx, eventlog.Options{App: "bank", Conn: log.Conn()})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer now.Close()
	accounts, err := now.Feed(ctx, "accounts",
		eventlog.Type[Opened]("opened.v2"), eventlog.Type[Deposited]("deposited"),
		eventlog.Alias[Deposited]("paid"),
		eventlog.Upcast("opened", func(o OpenedV1) (Opened, error) { return Opened{Owner: o.Name}, nil }),
		eventlog.UpcastMany("transferred", func(t Transferred) ([]any, error) {
			return []any{Deposited{-t.Cents}, Deposited{-t.Fee}}, nil
		}, eventlog.Into[Deposited]()))
	if err != nil {
		fmt.Println(err)
		return
	}
	for e, err := range accounts.Read(ctx) {
		if err != nil {
			fmt.Println(err)
			return
		}
		v, err := e.Value()
		fmt.Printf("%v %s %+v %v\n", e.Position(), e.Type, v, err)
	}
	// Output:
	// <nil>
	// accounts@1 opened.v2 {Owner:Ada} <nil>
	// accounts@1.1 deposited {Cents:1000} <nil>
	// accounts@1.2 deposited {Cents:-500} <nil>
	// accounts@1.3 deposited {Cents:-1} <nil>
}

// A reader of several feeds gets an event behind all that its writer had seen.
func ExampleMerge() {
	ctx := context.Background()
	log, accounts, err := openBank(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer log.Close()
	type Sent struct{ To string }
	letters, err := log.Feed(ctx, "letters", eventlog.Type[Sent]("sent"))
	if err != nil {
		fmt.Println(err)
		return
	}
	// Who sends the letter has seen the account; who pays has seen the letter.
	at, _ := accounts.Append(ctx, "acct-42", eventlog.ExpectNew, Opened{"Ada"})
	seen, _ := timeframe.Timeframe{}.With("accounts", at.Seq)
	at, _ = letters.AppendDraft(ctx, eventlog.Draft{Key: "ada", Events: []any{Sent{"Ada"}}, Seen: seen})
	seen, _ = seen.With("letters", at.Seq)
	_, err = accounts.AppendDraft(ctx, eventlog.Draft{Key: "acct-42", Events: []any{Deposited{1000}}, Seen: seen})
	fmt.Println(err)

	for e, err := range eventlog.Merge(ctx, eventlog.MergeOptions{}, letters, accounts) {
		if err != nil {
			fmt.Println(err)
			return
		}
		seen, _ := e.Seen()
		fmt.Println(e.Position(), e.Type, "after", seen)
	}
	// Output:
	// <nil>
	// accounts@1 opened after empty
	// letters@1 sent after accounts=1
	// accounts@2 deposited after accounts=1,letters=1
}
