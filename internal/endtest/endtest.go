// Package endtest calls everything that takes a context, with contexts that
// end, against a server that doesn't go on: each call has to return within a
// second of its context's end. Its table is kept complete by a test that reads
// the packages' source.
package endtest

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/command"
	"github.com/tidemark-es/tidemark/dependants"
	"github.com/tidemark-es/tidemark/effect"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/lease"
	"github.com/tidemark-es/tidemark/process"
	"github.com/tidemark-es/tidemark/projection"
	"github.com/tidemark-es/tidemark/snapshot"
	"github.com/tidemark-es/tidemark/timeframe"
)

// Happened is the event of the tests.
type Happened struct{ N int }

// Env is an application with one of everything, made while its server answers.
type Env struct {
	T       testing.TB
	Options eventlog.Options // of the log
	Log     *eventlog.Log
	Feed    *eventlog.Feed
	Ordered *eventlog.Ordered
	Reader  *eventlog.Reader // at the end, following
	At      eventlog.Position
	Dir     string // empty

	Table  *projection.Table[string, int]
	Parted *projection.Partitioned[int]
	Lazy   *projection.Table[string, int]
	Pair   *projection.BlueGreen[*projection.Table[string, int]]
	Watch  [2]*projection.Watcher[string, int]
	RT     *projection.Runtime

	Store    *snapshot.Store
	Manifest *snapshot.Manifest
	Leases   *lease.Manager
	Lease    [3]*lease.Lease
	Register *dependants.Registry
	Outbox   *effect.Outbox[string]
	Process  *process.Manager[bool]
	Decider  *command.Decider[int]
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// New makes an application over a log with these options. Nothing is closed:
// that is the test's, after its server goes on, or has ended.
func New(t testing.TB, o eventlog.Options) *Env {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	e := &Env{T: t, Options: o, Dir: t.TempDir()}
	e.Log = must(eventlog.Open(ctx, o))(t)
	e.Feed = must(e.Log.Feed(ctx, "things", eventlog.Type[Happened]("happened")))(t)
	e.Ordered = e.Feed.Ordered()
	for i := range 20 {
		e.At = must(e.Feed.Append(ctx, fmt.Sprint("k", i%4), eventlog.ExpectAny, Happened{i}))(t)
	}
	e.Reader = must(e.Feed.NewReader(ctx, eventlog.After(e.At.Seq), eventlog.Follow()))(t)
	e.project(ctx)
	e.keep(ctx)
	return e
}

func table(name string, feed *eventlog.Feed, opts ...projection.TableOption) *projection.Table[string, int] {
	t := projection.NewTable[string, int](name, opts...)
	projection.On(t, feed, func(tx *projection.Tx[string, int], ev eventlog.Event, _ Happened) error {
		tx.Put(ev.Key, tx.Value(ev.Key)+1)
		return nil
	})
	return t
}

// project starts projections of each kind.
func (e *Env) project(ctx context.Context) {
	e.Table = table("table", e.Feed, projection.OnFailure(projection.FailurePolicy{Then: projection.ParkCommit}))
	e.Parted = projection.NewPartitioned[int]("parted", 2)
	projection.OnRow(e.Parted, e.Feed, func(r projection.Row[int], _ eventlog.Event, _ Happened) error {
		r.Put(r.Value() + 1)
		return nil
	})
	e.Lazy = table("lazy", e.Feed, projection.Lazy(time.Hour))
	e.Pair = projection.NewBlueGreen(table("pair", e.Feed), table("pair", e.Feed, projection.Version(1)))
	e.Outbox = must(effect.New[string](ctx, e.Log, "mails", 1))(e.T)
	effect.On(e.Outbox, e.Feed, func(tx *effect.Tx[string], ev eventlog.Event, _ Happened) error {
		tx.Want("", ev.Key)
		return nil
	})
	e.Process = must(process.New[bool](ctx, e.Log, "shipping", 1))(e.T)
	process.On(e.Process, e.Feed, nil, func(do *process.Step[bool], _ eventlog.Event, _ Happened) error {
		do.Set(true)
		return nil
	})
	e.RT = must(projection.Start(ctx, e.Log, e.Table, e.Parted, e.Lazy, e.Pair, e.Outbox, e.Process))(e.T)
	e.Watch = [2]*projection.Watcher[string, int]{e.Table.Watch(), e.Table.Watch()}
	e.Decider = must(command.New[int](e.Feed, e.Table))(e.T)
}

// keep opens what keeps records, and puts one of each there.
func (e *Env) keep(ctx context.Context) {
	e.Store = must(snapshot.Open(ctx, snapshot.Options{App: e.Log.App(), Conn: e.Log.Conn(), Memory: e.Log.InMemory()}))(e.T)
	cut := snapshot.Cut{Tag: timeframe.Tag{}, Members: []snapshot.Member{{Name: "m", Codec: "msgpack", Changes: []snapshot.Change{{Key: []byte("k"), Value: []byte{1}}}}}}
	e.Manifest = must(e.Store.Save(ctx, "unit", nil, cut))(e.T)
	e.Leases = must(lease.New(lease.Options{App: e.Log.App(), JetStream: e.Log.JetStream(), TTL: time.Minute}))(e.T)
	for i := range e.Lease {
		e.Lease[i] = must(e.Leases.TryAcquire(ctx, fmt.Sprint("held", i)))(e.T)
	}
	e.Register = must(dependants.New(dependants.Options{App: e.Log.App(), JetStream: e.Log.JetStream()}))(e.T)
	if err := e.Register.Register(ctx, dependants.Dependant{Name: "reader", Needs: e.Table.At()}); err != nil {
		e.T.Fatal(err)
	}
}

// drain reads to the end, and returns the error there.
func drain[V any](seq iter.Seq2[V, error]) error {
	for _, err := range seq {
		if err != nil {
			return err
		}
	}
	return nil
}

const (
	patience = 300 * time.Millisecond // of the contexts
	allowed  = time.Second            // beyond that
)

// Check makes all calls at once, first with contexts that end in a moment, then
// with such as have ended, and reports those that go on. Calls that were left
// behind are given ten seconds more, so that it can be told by how much.
func Check(t *testing.T, e *Env) {
	t.Helper()
	calls := Calls()
	for _, wait := range []time.Duration{patience, 0} {
		var mu sync.Mutex
		late := make(map[string]time.Duration)
		var fine []string
		var wg sync.WaitGroup
		for name, call := range calls {
			mu.Lock()
			late[name] = -1
			mu.Unlock()
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(context.Background(), wait)
				defer cancel()
				begun := time.Now()
				err := call(ctx, e)
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					fine = append(fine, name)
				}
				if late[name] = time.Since(begun) - wait; late[name] <= allowed {
					delete(late, name)
				}
			})
		}
		done := make(chan struct{})
		go func() { wg.Wait(); close(done) }()
		select {
		case <-done:
		case <-time.After(wait + allowed + 10*time.Second):
		}
		mu.Lock()
		var names []string
		for name, by := range late {
			if by < 0 {
				names = append(names, name+" hasn't returned")
			} else {
				names = append(names, fmt.Sprintf("%s returned %s late", name, by.Round(time.Millisecond)))
			}
		}
		mu.Unlock()
		slices.Sort(fine)
		t.Logf("contexts of %s: %d calls succeed all the same: %v", wait, len(fine), fine)
		slices.Sort(names)
		if len(names) > 0 {
			t.Errorf("contexts of %s: %d of %d calls:\n%s", wait, len(names), len(calls), strings.Join(names, "\n"))
		}
	}
}
