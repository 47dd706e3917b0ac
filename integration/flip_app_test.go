//go:build integration

package integration

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/tidemark-es/tidemark/dependants"
	"github.com/tidemark-es/tidemark/effect"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/lease"
	"github.com/tidemark-es/tidemark/projection"
	"github.com/tidemark-es/tidemark/timeframe"
)

// The application whose stores are damaged: two feeds, tables of three kinds,
// an outbox with effects in each state, a dependant outside.

const (
	flipApp  = "flip"
	flipKeys = 5
)

type (
	credited struct{ Cents int64 }
	ordered  struct{ Item string }
	notice   struct{ To, Item string }
	flipSum  struct{ Events, Cents int64 }
)

// flipped is the application, opened.
type flipped struct {
	log              *eventlog.Log
	accounts, orders *eventlog.Feed
	flipTables
	notices *effect.Outbox[notice]
	leases  *lease.Manager
}

// flipTables are the projections of accounts. They are made anew for a state
// of the past.
type flipTables struct {
	sums  *projection.Table[string, flipSum]
	rich  *projection.Table[string, flipSum] // derived of sums
	total *projection.Value[flipSum]
}

func flipOptions(at string) eventlog.Options {
	o := eventlog.Options{App: flipApp}
	if strings.HasPrefix(at, "nats://") {
		o.URL = at
	} else {
		o.Dir = at
	}
	return o
}

// openFlip opens the application as far as it can be: what is opened already
// is returned with the error, too.
func openFlip(ctx context.Context, at string) (a *flipped, err error) {
	a = new(flipped)
	if a.log, err = eventlog.Open(ctx, flipOptions(at)); err != nil {
		return a, err
	}
	if a.accounts, err = a.log.Feed(ctx, "accounts", eventlog.Type[credited]("credited")); err != nil {
		return a, err
	}
	if a.orders, err = a.log.Feed(ctx, "orders", eventlog.Type[ordered]("ordered")); err != nil {
		return a, err
	}
	if a.notices, err = effect.New[notice](ctx, a.log, "notices", 1); err != nil {
		return a, err
	}
	effect.On(a.notices, a.orders, func(tx *effect.Tx[notice], e eventlog.Event, d ordered) error {
		tx.Want("", notice{To: e.Key, Item: d.Item})
		return nil
	})
	// Short, so that a holder that was killed isn't waited for.
	a.leases, err = lease.New(lease.Options{
		App: flipApp, JetStream: a.log.JetStream(), APIPrefix: a.log.APIPrefix(), Session: a.log.Session(), TTL: time.Second,
	})
	a.flipTables = newFlipTables(a.accounts)
	return a, err
}

func newFlipTables(accounts *eventlog.Feed) (t flipTables) {
	t.sums = projection.NewTable[string, flipSum]("sums")
	projection.On(t.sums, accounts, func(tx *projection.Tx[string, flipSum], e eventlog.Event, d credited) error {
		tx.Put(e.Key, tx.Value(e.Key).with(d))
		return nil
	})
	t.rich = projection.Filter("rich", t.sums, func(_ string, s flipSum) bool { return s.rich() })
	t.total = projection.NewValue[flipSum]("total")
	projection.OnValue(t.total, accounts, func(s flipSum, _ eventlog.Event, d credited) (flipSum, error) { return s.with(d), nil })
	return t
}

func (s flipSum) with(d credited) flipSum { return flipSum{s.Events + 1, s.Cents + d.Cents} }

func (s flipSum) rich() bool { return s.Cents%2 == 0 }

// start runs the projections, which are saved often, so that there are
// several snapshots.
func (a *flipped) start(ctx context.Context) (*projection.Runtime, error) {
	c := projection.Config{Leases: a.leases, Snapshots: projection.Policy{Events: 20, MinInterval: 1}}
	return c.Start(ctx, a.log, projection.NewUnit("money", a.sums, a.rich), a.total, a.notices)
}

func (a *flipped) dependants() (*dependants.Registry, error) {
	return dependants.New(dependants.Options{App: flipApp, JetStream: a.log.JetStream(), APIPrefix: a.log.APIPrefix()})
}

// flipRows is what the tables of accounts hold.
type flipRows struct {
	Sums, Rich map[string]flipSum
	Total      flipSum
}

func (t flipTables) rows() flipRows {
	return flipRows{Sums: maps.Collect(t.sums.All()), Rich: maps.Collect(t.rich.All()), Total: t.total.Get()}
}

func (r flipRows) equal(o flipRows) bool {
	return maps.Equal(r.Sums, o.Sums) && maps.Equal(r.Rich, o.Rich) && r.Total == o.Total
}

// foldFlip is the oracle: what the commits up to a sequence make of the tables.
func foldFlip(commits []flipCommit, upto uint64) flipRows {
	r := flipRows{Sums: map[string]flipSum{}, Rich: map[string]flipSum{}}
	for _, c := range commits {
		if c.Seq > upto {
			continue
		}
		for _, cents := range c.Cents {
			d := credited{cents}
			r.Total, r.Sums[c.Key] = r.Total.with(d), r.Sums[c.Key].with(d)
		}
	}
	for k, s := range r.Sums {
		if s.rich() {
			r.Rich[k] = s
		}
	}
	return r
}

// flipCommit is a commit of one of the feeds, as it was appended and as it is
// read.
type flipCommit struct {
	Seq   uint64
	Key   string
	ID    string   `json:",omitempty"`
	Cents []int64  `json:",omitempty"` // of accounts
	Items []string `json:",omitempty"` // of orders; of outcomes the events' types
}

func (c flipCommit) String() string {
	return fmt.Sprintf("%d %s %s %v %v", c.Seq, c.Key, c.ID, c.Cents, c.Items)
}

// keepCommit copies what is compared of a commit.
func keepCommit(c *eventlog.Commit) (flipCommit, error) {
	k := flipCommit{Seq: c.Seq, Key: c.Key, ID: c.ID}
	for i := range c.Len() {
		v, err := c.Event(i).Value()
		if err != nil {
			return k, err
		}
		switch d := v.(type) {
		case credited:
			k.Cents = append(k.Cents, d.Cents)
		case ordered:
			k.Items = append(k.Items, d.Item)
		default:
			k.Items = append(k.Items, fmt.Sprintf("%T", d))
		}
	}
	return k, nil
}

// flipPast is a timeframe in the middle of the accounts.
func flipPast(seq uint64) (timeframe.Timeframe, error) {
	return timeframe.FromMap(map[string]uint64{"accounts": seq})
}
