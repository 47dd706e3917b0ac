package projection_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
)

// R0.24: an append returns a position, and a reader can wait for it.
func TestReadYourWrite(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	balances := b.balances()
	rt := b.start(t, projection.Config{}, balances)
	for i := int64(1); i <= 50; i++ {
		if err := rt.Wait(ctx, b.append(t, "ada", deposited{1}, deposited{1})); err != nil {
			t.Fatal(err)
		}
		if v, ok := balances.Get("ada"); !ok || v != 2*i {
			t.Fatalf("after %d appends: %d %v", i, v, ok)
		}
	}
	if err := rt.Ready(ctx, 0); err != nil {
		t.Error(err)
	}
	if err := rt.Healthy(ctx); err != nil {
		t.Error(err)
	}
}

// R0.9, R0.10, T0.13: a second start, in the same process, restores and
// reads only what is new.
func TestRestartRestores(t *testing.T) {
	ctx := logtest.Context(t)
	o := logtest.Options(t)
	func() {
		log := must(eventlog.Open(ctx, o))(t)
		defer log.Close()
		b := bankOf(t, log)
		balances := b.balances()
		rt := must(projection.Start(ctx, log, balances))(t)
		if s := status(t, rt, "balances"); s.Recovery.Source != projection.FromNothing {
			t.Errorf("first start: %+v", s.Recovery)
		}
		for range 100 {
			b.append(t, "ada", deposited{1})
		}
		if err := rt.Wait(ctx, b.append(t, "bob", deposited{7})); err != nil {
			t.Fatal(err)
		}
		if err := rt.Close(); err != nil {
			t.Fatal(err)
		}
		b.append(t, "ada", deposited{1}) // while nothing runs
	}()
	b := openBank(t, o)
	balances := b.balances()
	rt := b.start(t, projection.Config{}, balances)
	s := status(t, rt, "balances")
	if r := s.Recovery; r.Source != projection.FromSnapshot || r.Replayed != 1 || r.From.String() != "accounts=101" || len(r.Skipped) > 0 {
		t.Errorf("recovery %+v", r)
	}
	if s.State != projection.Live || s.Lag["accounts"] != 0 || s.At.String() != "accounts=102" {
		t.Errorf("status %+v", s)
	}
	equal(t, "restored", balances, map[string]int64{"ada": 101, "bob": 7})
}

// A reducer's error or panic stops that projection at the last whole commit,
// and the others go on.
func TestStop(t *testing.T) {
	for name, bad := range map[string]func() error{
		"error": func() error { return errors.New("no") },
		"panic": func() error { panic("no") },
		"nil":   func() error { var p *deposited; p.Cents = 1; return nil },
	} {
		t.Run(name, func(t *testing.T) {
			ctx := logtest.Context(t)
			b := openBank(t, logtest.Options(t))
			balances := b.balances()
			broken := projection.NewTable[string, int]("broken")
			projection.On(broken, b.accounts, func(tx *projection.Tx[string, int], e eventlog.Event, d deposited) error {
				tx.Put(e.Key, tx.Value(e.Key)+1)
				tx.Delete("ada")
				if d.Cents == 13 {
					return bad()
				}
				return nil
			})
			var told []*projection.StoppedError
			rt := b.start(t, projection.Config{Stopped: func(s *projection.StoppedError) { told = append(told, s) }}, projection.NewUnit("both", balances, broken))
			b.append(t, "ada", deposited{1})
			b.append(t, "bob", deposited{2}, deposited{2}, deposited{13})
			last := b.append(t, "bob", deposited{3})
			err := rt.Wait(ctx, last)
			se, ok := errors.AsType[*projection.StoppedError](err)
			if !ok || !errors.Is(err, projection.ErrStopped) || se.Position != (eventlog.Position{Feed: "accounts", Seq: 2, Index: 2}) || se.Type != "deposited" {
				t.Fatalf("wait: %v", err)
			}
			if pe, ok := errors.AsType[*projection.PanicError](err); ok != (name != "error") || (ok && se.Stack == "") {
				t.Errorf("panic %v, stack %q", pe, se.Stack)
			}
			equal(t, "others", balances, map[string]int64{"ada": 1, "bob": 20})
			equal(t, "broken, at the last whole commit", broken, map[string]int{})
			if err := rt.Healthy(ctx); !errors.Is(err, projection.ErrStopped) {
				t.Errorf("healthy: %v", err)
			}
			if err := rt.Ready(ctx, 0); !errors.Is(err, projection.ErrNotReady) {
				t.Errorf("ready: %v", err)
			}
			if err := rt.Close(); err != nil {
				t.Fatal(err)
			}
			if len(told) != 1 || broken.Err() == nil || balances.Err() != nil {
				t.Errorf("told %v, errors %v and %v", told, broken.Err(), balances.Err())
			}
			// The next start stops at the same place, from the snapshot.
			b2 := bankOf(t, b.log)
			balances2 := b2.balances()
			broken2 := projection.NewTable[string, int]("broken")
			projection.On(broken2, b2.accounts, func(tx *projection.Tx[string, int], e eventlog.Event, d deposited) error {
				tx.Put(e.Key, int(d.Cents)) // mended
				return nil
			})
			rt2 := b2.start(t, projection.Config{}, projection.NewUnit("both", balances2, broken2))
			if err := rt2.Wait(ctx, last); err != nil {
				t.Fatal(err)
			}
			equal(t, "mended", broken2, map[string]int{"bob": 3})
			equal(t, "others restored", balances2, map[string]int64{"ada": 1, "bob": 20})
			if s := status(t, rt2, "balances"); s.Recovery.Replayed != 0 || s.Recovery.Source != projection.FromSnapshot {
				t.Errorf("recovery %+v", s.Recovery)
			}
		})
	}
}

// A rolled-back commit leaves nothing: what it deleted is back, what it put
// is gone, and what it changed is as it was.
func TestRollback(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	table := projection.NewTable[string, int64]("t")
	projection.On(table, b.accounts, func(tx *projection.Tx[string, int64], e eventlog.Event, d deposited) error {
		tx.Put(e.Key, d.Cents)
		return nil
	})
	projection.On(table, b.accounts, func(tx *projection.Tx[string, int64], e eventlog.Event, d withdrawn) error {
		tx.Delete("a")
		tx.Put("b", 99)
		tx.Put("new", 1)
		tx.Delete("b")
		tx.Put("b", 100)
		tx.Delete("new")
		tx.Put("a", 5)
		tx.Delete("a")
		return errors.New("no")
	})
	rt := b.start(t, projection.Config{}, table)
	b.append(t, "a", deposited{1})
	b.append(t, "b", deposited{2})
	if err := rt.Wait(ctx, b.append(t, "b", withdrawn{1})); !errors.Is(err, projection.ErrStopped) {
		t.Fatal(err)
	}
	equal(t, "after the rollback", table, map[string]int64{"a": 1, "b": 2})
}

func TestStartReportsEverything(t *testing.T) {
	b := openBank(t, logtest.Options(t))
	type nobodyKnows struct{}
	type pointed struct{ P *int }
	bad := projection.NewTable[string, int]("Bad Name", projection.Codec(nil))
	projection.On(bad, b.accounts, func(*projection.Tx[string, int], eventlog.Event, nobodyKnows) error { return nil })
	projection.On(bad, b.accounts, func(*projection.Tx[string, int], eventlog.Event, *deposited) error { return nil })
	projection.On[string, int, deposited](bad, b.accounts, nil)
	projection.On(bad, nil, func(*projection.Tx[string, int], eventlog.Event, deposited) error { return nil })
	empty := projection.NewTable[pointed, chan int]("empty")
	twice := b.balances()
	projection.On(twice, b.accounts, func(*projection.Tx[string, int64], eventlog.Event, deposited) error { return nil })
	_, err := projection.Start(t.Context(), b.log, bad, empty, twice, b.balances(), nil)
	if !errors.Is(err, projection.ErrInvalid) {
		t.Fatal(err)
	}
	for _, want := range []string{"Bad Name", "nil codec", "nobodyKnows", "registered as a value", "nil function", "nil feed",
		`"empty" has no handler`, "can't be a key", "can't be stored", "two handlers of", `two projections are called "balances"`, "a nil projection"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in: %v", want, err)
		}
	}
	if _, err := projection.Start(t.Context(), b.log); !errors.Is(err, projection.ErrInvalid) {
		t.Errorf("nothing to start: %v", err)
	}
	// Pointers that are nil, and not the interface.
	var table *projection.Table[string, int]
	var rows *projection.Partitioned[int]
	var value *projection.Value[int]
	var unit *projection.Unit
	projection.On(table, b.accounts, func(*projection.Tx[string, int], eventlog.Event, deposited) error { return nil })
	projection.OnRow(rows, b.accounts, func(projection.Row[int], eventlog.Event, deposited) error { return nil })
	projection.OnValue(value, b.accounts, func(n int, _ eventlog.Event, _ deposited) (int, error) { return n, nil })
	for _, p := range []projection.Projection{table, rows, value, unit, projection.NewUnit("unit", table), projection.NewBlueGreen(table, table)} {
		if _, err := projection.Start(t.Context(), b.log, p, b.balances(nil)); !errors.Is(err, projection.ErrInvalid) {
			t.Errorf("a nil %T: %v", p, err)
		}
	}
}

// Who starts what runs already is refused, again and again, and what runs
// doesn't notice.
func TestStartedTwice(t *testing.T) {
	b := openBank(t, logtest.Options(t))
	table, reader := b.balances(), projection.NewTable[string, int]("reader")
	rt := b.start(t, projection.Config{}, table)
	at := b.append(t, "a", deposited{1})
	wait(t, rt, at)
	projection.OnChange(reader, table, func(*projection.Tx[string, int], projection.Change[string, int64]) error { return nil })
	for range 2 {
		for _, ps := range [][]projection.Projection{{table}, {table, reader}} {
			if _, err := projection.Start(t.Context(), b.log, ps...); !errors.Is(err, projection.ErrInvalid) {
				t.Fatalf("started twice: %v", err)
			}
		}
	}
	if got, _ := table.At().Get("accounts"); got != at.Seq {
		t.Errorf("it is at %d, not %d", got, at.Seq)
	}
	wait(t, rt, b.append(t, "a", deposited{2})) // it goes on
	equal(t, "what runs", table, map[string]int64{"a": 3})
	restarted := b.balances()
	b.restart(t, rt, restarted)
	equal(t, "restarted", restarted, map[string]int64{"a": 3})
}

func TestWaitErrors(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	rt := b.start(t, projection.Config{}, b.balances())
	if err := rt.Wait(ctx, b.audit(t, "k", "x")); !errors.Is(err, projection.ErrNotRead) {
		t.Errorf("a feed that nobody reads: %v", err)
	}
	wait := make(chan error, 1)
	go func() { wait <- rt.Wait(ctx, eventlog.Position{Feed: "accounts", Seq: 99}) }()
	if err := rt.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-wait; !errors.Is(err, projection.ErrClosed) {
		t.Errorf("closed meanwhile: %v", err)
	}
	if err := rt.Close(); err != nil {
		t.Errorf("closed twice: %v", err)
	}
}

// An event type that nobody registered stops the projection instead of being
// passed over: its meaning isn't known.
func TestUnknownTypeStops(t *testing.T) {
	ctx := logtest.Context(t)
	o := logtest.Options(t)
	func() {
		log := must(eventlog.Open(ctx, o))(t)
		defer log.Close()
		type renamed struct{}
		f := must(log.Feed(ctx, "accounts", eventlog.Type[renamed]("renamed")))(t)
		must(f.Append(ctx, "k", eventlog.ExpectAny, renamed{}))(t)
	}()
	b := openBank(t, o)
	rt := b.start(t, projection.Config{}, b.balances())
	if s := status(t, rt, "balances"); s.State != projection.Stopped || !errors.Is(s.Err, eventlog.ErrUnknownType) {
		t.Errorf("%+v", s)
	}
}

// Handlers must not keep their Tx.
func TestTxAfterHandler(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	table := projection.NewTable[string, int]("t")
	var kept *projection.Tx[string, int]
	projection.On(table, b.accounts, func(tx *projection.Tx[string, int], e eventlog.Event, _ deposited) error {
		kept = tx
		return nil
	})
	rt := b.start(t, projection.Config{}, table)
	if err := rt.Wait(ctx, b.append(t, "a", deposited{1})); err != nil {
		t.Fatal(err)
	}
	kept.Put("x", 1)
	if err := rt.Wait(ctx, b.append(t, "a", deposited{1})); !errors.Is(err, projection.ErrStopped) || !strings.Contains(err.Error(), "after the handler") {
		t.Errorf("%v", err)
	}
}
