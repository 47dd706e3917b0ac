package command_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/tidemark-es/tidemark/command"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/projection"
)

// Pay is a command, and Account what it is decided on.
type (
	Pay     struct{ Cents int64 }
	Account struct{ Cents int64 }
)

// decidePay is the rule, and nothing else: it is tested without a log.
func decidePay(a Account, c Pay) ([]any, error) {
	if a.Cents < c.Cents {
		return nil, fmt.Errorf("%w: %d of %d", errTooPoor, a.Cents, c.Cents)
	}
	return []any{Withdrawn(c)}, nil
}

// A command side: the state comes from a table, and no log is read.
func Example() {
	ctx := context.Background()
	events, err := eventlog.Open(ctx, eventlog.Options{App: "bank", Memory: true})
	if err != nil {
		log.Fatal(err)
	}
	defer events.Close()
	feed, err := events.Feed(ctx, "accounts", eventlog.Type[Deposited]("deposited"), eventlog.Type[Withdrawn]("withdrawn"))
	if err != nil {
		log.Fatal(err)
	}
	table := projection.NewTable[string, Account]("accounts")
	projection.On(table, feed, func(t *projection.Tx[string, Account], e eventlog.Event, d Deposited) error {
		t.Put(e.Key, Account{t.Value(e.Key).Cents + d.Cents})
		return nil
	})
	projection.On(table, feed, func(t *projection.Tx[string, Account], e eventlog.Event, w Withdrawn) error {
		t.Put(e.Key, Account{t.Value(e.Key).Cents - w.Cents})
		return nil
	})
	rt, err := projection.Start(ctx, events, table)
	if err != nil {
		log.Fatal(err)
	}
	defer rt.Close()

	accounts, err := command.New(feed, table)
	if err != nil {
		log.Fatal(err)
	}
	pay := command.Handle(accounts, decidePay)

	_, err = accounts.Do(ctx, "acct-42", func(Account) ([]any, error) { return []any{Deposited{1000}}, nil })
	fmt.Println(err)
	_, err = pay.Do(ctx, "acct-42", Pay{700}, command.Applied()) // read your own write
	left, _ := table.Get("acct-42")
	fmt.Println(left.Cents, err)
	_, err = pay.Do(ctx, "acct-42", Pay{700})
	fmt.Println(errors.Is(err, errTooPoor), err)
	// Output:
	// <nil>
	// 300 <nil>
	// true command: accounts/"acct-42": rejected: not enough money: 300 of 700
}
