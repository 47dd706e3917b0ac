package projection_test

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
	"github.com/tidemark-es/tidemark/timeframe"
)

// inside is a unit of every kind of projection. At the event of one key, one
// place calls what a test says.
type inside struct {
	tab    *projection.Table[string, int]
	other  *projection.Table[string, int] // of the same unit
	total  *projection.Value[int]
	parted *projection.Partitioned[int]
	model  *projection.Model[*int]
	watch  *projection.Watcher[string, int]
	rt     atomic.Pointer[projection.Runtime]
	feed   *eventlog.Feed

	place string
	key   string
	call  func(*inside)
}

func (in *inside) at(place, key string) {
	if place == in.place && key == in.key {
		in.call(in)
	}
}

func (in *inside) unit() projection.Projection {
	handle := func(t *projection.Table[string, int], place string) {
		projection.On(t, in.feed, func(tx *projection.Tx[string, int], e eventlog.Event, d deposited) error {
			in.at(place, e.Key)
			tx.Put(e.Key, tx.Value(e.Key)+1)
			return nil
		})
	}
	in.tab = projection.NewTable[string, int]("tab", projection.OnFailure(projection.FailurePolicy{}))
	handle(in.tab, "On")
	in.other = projection.NewTable[string, int]("other", projection.History(8))
	handle(in.other, "other")
	in.total = projection.NewValue[int]("total")
	projection.OnValue(in.total, in.feed, func(n int, e eventlog.Event, _ deposited) (int, error) {
		in.at("OnValue", e.Key)
		return n + 1, nil
	})
	in.parted = projection.NewPartitioned[int]("parted", 4)
	projection.OnRow(in.parted, in.feed, func(r projection.Row[int], e eventlog.Event, _ deposited) error {
		in.at("OnRow", e.Key)
		r.Put(r.Value() + 1)
		return nil
	})
	in.model = projection.NewModel("model", func() *int { return new(int) })
	projection.OnModel(in.model, in.feed, func(n *int, e eventlog.Event, _ deposited) error {
		in.at("OnModel", e.Key)
		*n++
		return nil
	})
	changed := projection.NewTable[string, int]("changed")
	projection.OnChange(changed, in.tab, func(tx *projection.Tx[string, int], c projection.Change[string, int]) error {
		in.at("OnChange", c.Key)
		tx.Put(c.Key, c.New)
		return nil
	})
	mapped := projection.Map("mapped", in.tab, func(k string, v int) int { in.at("Map", k); return v })
	joined := projection.LeftJoin("joined", in.tab, mapped, func(k string, l, _ int, _ bool) int { in.at("LeftJoin", k); return l })
	summed := projection.Aggregate("summed", in.tab, func(k string, _ int) (int, bool) { in.at("Aggregate", k); return 0, true },
		func(a int, _ string, v int) int { return a + v }, func(a int, _ string, v int) int { return a - v })
	return projection.NewUnit("inside", in.tab, in.other, in.total, in.parted, in.model, changed, mapped, joined, summed)
}

// insideCalls are the calls that wait for the unit's handlers, by their names.
// It has all exported functions and methods of the package that read or wait
// (TestEveryCallIsListed), but those of noWait.
var insideCalls = map[string]func(*inside){
	"Table.Get":           func(in *inside) { in.tab.Get("x") },
	"Table.Get, other":    func(in *inside) { in.other.Get("x") },
	"Table.Len":           func(in *inside) { in.tab.Len() },
	"Table.All":           func(in *inside) { in.tab.All()(func(string, int) bool { return true }) },
	"Table.GetAt":         func(in *inside) { in.tab.GetAt("x", "things") },
	"Table.WaitFor":       func(in *inside) { in.tab.WaitFor(context.Background(), far) },
	"Table.Watch":         func(in *inside) { in.tab.Watch() },
	"Value.Get":           func(in *inside) { in.total.Get() },
	"Partitioned.Get":     func(in *inside) { in.parted.Get("x") },
	"Partitioned.Len":     func(in *inside) { in.parted.Len() },
	"Partitioned.All":     func(in *inside) { in.parted.All()(func(string, int) bool { return true }) },
	"Partitioned.GetAt":   func(in *inside) { in.parted.GetAt("x", "things") },
	"Partitioned.WaitFor": func(in *inside) { in.parted.WaitFor(context.Background(), far) },
	"Model.View":          func(in *inside) { in.model.View(func(*int) {}) },
	"View":                func(in *inside) { projection.View(func(*projection.Snapshot) error { return nil }, in.tab) },
	"Watcher.Next": func(in *inside) {
		for {
			if _, err := in.watch.Next(context.Background()); err != nil {
				return
			}
		}
	},
	"Watcher.Deltas": func(in *inside) {
		for _, err := range in.watch.Deltas(context.Background()) {
			if err != nil {
				return
			}
		}
	},
	"Watcher.Close":    func(in *inside) { in.watch.Close() },
	"Runtime.Wait":     func(in *inside) { in.rt.Load().Wait(context.Background(), far) },
	"Runtime.Digest":   func(in *inside) { in.rt.Load().Digest(context.Background(), "tab") },
	"Runtime.Preview":  func(in *inside) { in.rt.Load().Preview(context.Background(), in.feed, "x", deposited{1}) },
	"Runtime.Parked":   func(in *inside) { in.parkedIsListed() },
	"Runtime.Close":    func(in *inside) { in.rt.Load().Close() },
	"Runtime.Compact":  func(in *inside) { in.rt.Load().Compact(context.Background(), projection.CompactOptions{}) },
	"CompareSnapshots": func(in *inside) { in.rt.Load().CompareSnapshots(context.Background()) },
}

// parkedIsListed panics itself: nothing of this unit can be parked, so there
// is no lock to wait for.
func (in *inside) parkedIsListed() {
	in.rt.Load().Parked()
	panic(&projection.InHandlerError{})
}

// noWait is what doesn't wait for handlers, or has a context and nothing of
// the unit to wait for; and what isn't for handlers in the first place, since
// it makes a unit of its own.
var noWait = []string{
	"Table.At", "Table.Err", "Table.In", "Table.Name", "Table.ChangesIn", "Partitioned.ChangesIn", "Partitioned.Err", "Partitioned.Name",
	"Value.Err", "Value.Name", "Model.Err", "Model.Name",
	"Runtime.Healthy", "Runtime.Metrics", "Runtime.Ready", "Runtime.Status", "Runtime.Timeframe", "Runtime.SnapshotHandler", "Runtime.SnapshotStats",
	"Runtime.Need",        // of what is awake; waits by the same door as Wait
	"Runtime.RetryParked", // nothing is parked; by the same door as Preview
	"Runtime.DropParked",
	"BlueGreen.Back", "BlueGreen.Beside", "BlueGreen.Build", "BlueGreen.Live", "BlueGreen.Switch", // by the same door as Wait
}

var far = eventlog.Position{Feed: "things", Seq: 1 << 40}

// Every call that would wait for the handler that makes it ends the handler,
// and the error names the call and what to use.
func TestCallsInHandlers(t *testing.T) {
	for name, call := range insideCalls {
		t.Run(name, func(t *testing.T) { insideOnce(t, "On", name, call) })
	}
}

// So it is in every place where the user's code runs for a unit.
func TestPlacesInHandlers(t *testing.T) {
	for _, place := range []string{"other", "OnValue", "OnRow", "OnModel", "OnChange", "Map", "LeftJoin", "Aggregate"} {
		for _, name := range []string{"Table.Get", "Partitioned.Get", "View", "Runtime.Wait"} {
			t.Run(place+"/"+name, func(t *testing.T) { insideOnce(t, place, name, insideCalls[name]) })
		}
	}
}

func insideOnce(t *testing.T, place, name string, call func(*inside)) {
	t.Parallel()
	ctx := logtest.Context(t)
	o := logtest.Options(t)
	if !logtest.External() {
		o.Dir, o.Memory = "", true
	}
	log := logtest.Open(t, o)
	in := &inside{place: place, key: "k9", call: call}
	in.feed = must(log.Feed(ctx, "things", eventlog.Type[deposited]("deposited")))(t)
	for i := range 32 { // all partitions have something to do
		must(in.feed.Append(ctx, fmt.Sprint("k", i+100), eventlog.ExpectAny, deposited{1}))(t)
	}
	rt := must(projection.Start(ctx, log, in.unit()))(t)
	defer rt.Close()
	in.rt.Store(rt)
	in.watch = in.other.Watch()
	defer in.watch.Close()
	var last eventlog.Position
	var waiting []*eventlog.Pending
	for i := range 16 {
		waiting = append(waiting, must(in.feed.AppendAsync(ctx, eventlog.Draft{Key: fmt.Sprint("k", i), Events: []any{deposited{1}}}))(t))
	}
	for _, p := range waiting {
		last = must(p.Wait(ctx))(t)
	}
	err := rt.Wait(ctx, last)
	e, ok := errors.AsType[*projection.InHandlerError](err)
	if !ok || !errors.Is(err, projection.ErrInHandler) || !errors.Is(err, projection.ErrStopped) {
		t.Fatalf("wait: %v", err)
	}
	if name != "Runtime.Parked" && (e.Call == "" || e.Projection == "" || e.Use == "") {
		t.Errorf("%+v", e)
	}
}

// insideCalls and noWait together are all that is exported.
func TestEveryCallIsListed(t *testing.T) {
	listed := make(map[string]bool)
	for name := range insideCalls {
		name, _, _ = strings.Cut(name, ",")
		listed[name] = true
	}
	for _, name := range noWait {
		listed[name] = true
	}
	listed["Runtime.CompareSnapshots"] = true
	for _, name := range readers(t) {
		if !listed[name] {
			t.Errorf("%s isn't in insideCalls or noWait: does it wait for handlers?", name)
		}
	}
}

// readers are the exported methods of what a program holds of a unit.
func readers(t *testing.T) (names []string) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	held := []string{"Table", "Partitioned", "Value", "Model", "Runtime", "Watcher", "BlueGreen"}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Recv == nil || !fn.Name.IsExported() {
				continue
			}
			if recv := receiver(fn.Recv.List[0].Type); slices.Contains(held, recv) {
				names = append(names, recv+"."+fn.Name.Name)
			}
		}
	}
	if len(names) < 30 {
		t.Fatalf("found %v", names)
	}
	return names
}

func receiver(x ast.Expr) string {
	switch x := x.(type) {
	case *ast.StarExpr:
		return receiver(x.X)
	case *ast.IndexExpr:
		return receiver(x.X)
	case *ast.IndexListExpr:
		return receiver(x.X)
	case *ast.Ident:
		return x.Name
	}
	return ""
}

// A handler's failure policy decides what becomes of the commit: it is parked,
// and the unit goes on.
func TestInHandlerIsParked(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	tab := projection.NewTable[string, int]("tab", projection.OnFailure(projection.FailurePolicy{Then: projection.ParkCommit}))
	projection.On(tab, b.accounts, func(tx *projection.Tx[string, int], e eventlog.Event, d deposited) error {
		if e.Key == "bad" {
			tab.Get("x")
		}
		tx.Put(e.Key, tx.Value(e.Key)+1)
		return nil
	})
	rt := b.start(t, projection.Config{}, tab)
	b.append(t, "bad", deposited{1})
	if err := rt.Wait(ctx, b.append(t, "good", deposited{1})); err != nil {
		t.Fatal(err)
	}
	if p := rt.Parked(); len(p) != 1 || !strings.Contains(p[0].Err, "Tx.Get") {
		t.Errorf("parked %+v", p)
	}
}

// Two units whose handlers read each other's tables would wait for each other.
// The one that closes the circle fails.
func TestUnitsInACircle(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	var tabs [2]*projection.Table[string, int]
	var inside [2]chan struct{}
	for i := range tabs {
		inside[i] = make(chan struct{})
		tabs[i] = projection.NewTable[string, int](fmt.Sprint("tab", i))
		projection.On(tabs[i], b.accounts, func(tx *projection.Tx[string, int], e eventlog.Event, d deposited) error {
			close(inside[i])
			<-inside[1-i] // both hold their locks
			tabs[1-i].Get("x")
			return nil
		})
	}
	rt := b.start(t, projection.Config{}, tabs[0], tabs[1])
	at := b.append(t, "x", deposited{1})
	for tabs[0].Err() == nil && tabs[1].Err() == nil {
		select {
		case <-ctx.Done():
			t.Fatal("neither fails")
		case <-time.After(time.Millisecond):
		}
	}
	e, ok := errors.AsType[*projection.InHandlerError](errors.Join(tabs[0].Err(), tabs[1].Err()))
	if !ok || !e.Circle {
		t.Fatal(tabs[0].Err(), tabs[1].Err())
	}
	on := tabs[0] // the other one goes on
	if on.Err() != nil {
		on = tabs[1]
	}
	if err := on.WaitFor(ctx, at); err != nil {
		t.Error(err)
	}
	if err := rt.Close(); err != nil {
		t.Error(err)
	}
}

// A hook that waits for its own unit ends, too: hooks are called on the
// unit's goroutine.
func TestHookWaitsForItsUnit(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	tab := projection.NewTable[string, int]("tab")
	projection.On(tab, b.accounts, func(tx *projection.Tx[string, int], e eventlog.Event, d deposited) error {
		return errors.New("no")
	})
	var rt atomic.Pointer[projection.Runtime]
	told := make(chan any, 1)
	cfg := projection.Config{Stopped: func(*projection.StoppedError) {
		defer func() { told <- recover() }()
		rt.Load().Digest(context.Background(), "tab")
	}}
	rt.Store(b.start(t, cfg, tab))
	b.append(t, "x", deposited{1})
	select {
	case v := <-told:
		if e, ok := v.(*projection.InHandlerError); !ok || e.Call != "Runtime.Digest" {
			t.Error(v)
		}
	case <-ctx.Done():
		t.Fatal("the hook waits")
	}
}

// AsOf runs handlers on a goroutine of its own.
func TestInHandlerAsOf(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	at := b.append(t, "x", deposited{1})
	tab := projection.NewTable[string, int]("tab")
	projection.On(tab, b.accounts, func(tx *projection.Tx[string, int], e eventlog.Event, d deposited) error {
		tab.Get("x")
		return nil
	})
	tf, err := timeframe.FromMap(map[string]uint64{at.Feed: at.Seq})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := projection.AsOf(ctx, b.log, tf, tab); !errors.Is(err, projection.ErrInHandler) {
		t.Fatal(err)
	}
}

// The kit is certain of it, also in a partition's goroutine.
func TestInHandlerInTheKit(t *testing.T) {
	in := &inside{key: "k1"}
	in.feed = must(eventlog.Offline("things", eventlog.Type[deposited]("deposited")))(t)
	for _, place := range []string{"On", "OnRow", "OnModel", "Map"} {
		for _, name := range []string{"Table.Get", "Partitioned.All", "Value.Get", "View", "Table.GetAt"} {
			in.place, in.call = place, insideCalls[name]
			r := must(projection.Rehearse(in.unit()))(t)
			var c eventlog.Commit
			if err := in.feed.RehearseInto(&c, eventlog.Draft{Key: "k1", Events: []any{deposited{1}}}, 1, time.Unix(1, 0)); err != nil {
				t.Fatal(err)
			}
			if err := r.Step(c); !errors.Is(err, projection.ErrInHandler) {
				t.Errorf("%s in %s: %v", name, place, err)
			}
		}
	}
}
