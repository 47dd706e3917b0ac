package endtest

import (
	"context"
	"maps"
	"time"

	"github.com/tidemark-es/tidemark/backup"
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

// Call makes one call.
type Call func(ctx context.Context, e *Env) error

// Calls are all calls that take a context, by the names of Exported.
func Calls() map[string]Call {
	all := make(map[string]Call)
	for _, part := range []map[string]Call{logCalls, projectionCalls, storeCalls, otherCalls} {
		maps.Copy(all, part)
	}
	return all
}

// result drops what a call returns beside its error.
func result[T any](_ T, err error) error { return err }

func third[T, U any](_ T, _ U, err error) error { return err }

func draft(key string) eventlog.Draft {
	return eventlog.Draft{Key: key, Events: []any{Happened{1}}}
}

var note = eventlog.Note{Reason: "a test"}

var logCalls = map[string]Call{
	"eventlog.Open": func(ctx context.Context, e *Env) error {
		o := e.Options
		if o.Dir != "" {
			o.Dir = e.T.TempDir()
		}
		return result(eventlog.Open(ctx, o))
	},
	"eventlog.Log.Feed": func(ctx context.Context, e *Env) error {
		return result(e.Log.Feed(ctx, "others", eventlog.Type[Happened]("happened")))
	},
	"eventlog.Log.Adopt": func(ctx context.Context, e *Env) error {
		return result(e.Log.Adopt(ctx, "theirs", eventlog.Adoption{Stream: "x", Layouts: []eventlog.Layout{{}}}))
	},
	"eventlog.Log.DeleteStream": func(ctx context.Context, e *Env) error { return e.Log.DeleteStream(ctx, "KV_none") },
	"eventlog.Log.Forget":       func(ctx context.Context, e *Env) error { return e.Log.Forget(ctx, "others") },
	"eventlog.Log.ForgetMarks":  func(ctx context.Context, e *Env) error { return e.Log.ForgetMarks(ctx) },
	"eventlog.Log.Heads":        func(ctx context.Context, e *Env) error { return result(e.Log.Heads(ctx)) },
	"eventlog.Log.Healthy":      func(ctx context.Context, e *Env) error { return e.Log.Healthy(ctx) },
	"eventlog.Merge": func(ctx context.Context, e *Env) error {
		return drain(eventlog.Merge(ctx, eventlog.MergeOptions{}, e.Feed))
	},
	"eventlog.MergeCommits": func(ctx context.Context, e *Env) error {
		return drain(eventlog.MergeCommits(ctx, eventlog.MergeOptions{}, e.Feed))
	},
	"eventlog.Feed.Append": func(ctx context.Context, e *Env) error {
		return result(e.Feed.Append(ctx, "a", eventlog.ExpectAny, Happened{1}))
	},
	"eventlog.Feed.AppendAsync": func(ctx context.Context, e *Env) error { return result(e.Feed.AppendAsync(ctx, draft("b"))) },
	"eventlog.Feed.AppendDraft": func(ctx context.Context, e *Env) error {
		d := draft("c")
		d.ID, d.Tags = "id", []string{"tag"}
		return result(e.Feed.AppendDraft(ctx, d))
	},
	"eventlog.Feed.AppendTransaction": func(ctx context.Context, e *Env) error {
		return result(e.Feed.AppendTransaction(ctx, eventlog.Transaction{Drafts: []eventlog.Draft{draft("d"), draft("e")}}))
	},
	"eventlog.Pending.Wait": func(ctx context.Context, e *Env) error {
		p, err := e.Feed.AppendAsync(ctx, draft("f"))
		if err != nil {
			return err
		}
		return result(p.Wait(ctx))
	},
	"eventlog.Ordered.Append": func(ctx context.Context, e *Env) error {
		return result(e.Ordered.Append(ctx, "g", eventlog.ExpectAny, Happened{1}))
	},
	"eventlog.Ordered.AppendAsync": func(ctx context.Context, e *Env) error { return result(e.Ordered.AppendAsync(ctx, draft("h"))) },
	"eventlog.Feed.Import": func(ctx context.Context, e *Env) error {
		drafts := func(yield func(eventlog.Draft, error) bool) {
			for i := range 100 {
				d := draft("i")
				if d.ID = eventlog.ActorID("i", uint64(i)); !yield(d, nil) {
					return
				}
			}
		}
		return result(e.Feed.Import(ctx, drafts, eventlog.ImportOptions{}))
	},
	"eventlog.Feed.AcceptGap":  func(ctx context.Context, e *Env) error { return result(e.Feed.AcceptGap(ctx, note, 1, 2)) },
	"eventlog.Feed.AcceptLoss": func(ctx context.Context, e *Env) error { return e.Feed.AcceptLoss(ctx, 30, 20) },
	"eventlog.Feed.Erase":      func(ctx context.Context, e *Env) error { return result(e.Feed.Erase(ctx, note, "k1", 1)) },
	"eventlog.Feed.EraseAt":    func(ctx context.Context, e *Env) error { return e.Feed.EraseAt(ctx, note, 1) },
	"eventlog.Feed.Pass":       func(ctx context.Context, e *Env) error { return e.Feed.Pass(ctx, note, 1) },
	"eventlog.Feed.Gaps":       func(ctx context.Context, e *Env) error { return result(e.Feed.Gaps(ctx)) },
	"eventlog.Feed.Stored":     func(ctx context.Context, e *Env) error { return third(e.Feed.Stored(ctx, 1)) },
	"eventlog.Feed.Check":      func(ctx context.Context, e *Env) error { return e.Feed.Check(ctx) },
	"eventlog.Feed.Confirm":    func(ctx context.Context, e *Env) error { return e.Feed.Confirm(ctx, timeframe.Anchor{Seq: 1}) },
	"eventlog.Feed.Commits":    func(ctx context.Context, e *Env) error { return drain(e.Feed.Commits(ctx, eventlog.OfKey("k1"))) },
	"eventlog.Feed.Read":       func(ctx context.Context, e *Env) error { return drain(e.Feed.Read(ctx, eventlog.Follow())) },
	"eventlog.Feed.NewReader":  func(ctx context.Context, e *Env) error { return result(e.Feed.NewReader(ctx)) },
	"eventlog.Reader.Next":     func(ctx context.Context, e *Env) error { return result(e.Reader.Next(ctx)) },
	"eventlog.Feed.Find":       func(ctx context.Context, e *Env) error { return third(e.Feed.Find(ctx, "k1", "none", 0)) },
	"eventlog.Feed.Head":       func(ctx context.Context, e *Env) error { return third(e.Feed.Head(ctx, "k1")) },
	"eventlog.Feed.LastTagged": func(ctx context.Context, e *Env) error { return result(e.Feed.LastTagged(ctx, "tag")) },
	"eventlog.Feed.Lookup":     func(ctx context.Context, e *Env) error { return third(e.Feed.Lookup(ctx, 1)) },
	"eventlog.Feed.Observe":    func(ctx context.Context, e *Env) error { return result(e.Feed.Observe(ctx, 1, 2)) },
	"eventlog.Feed.Reach": func(ctx context.Context, e *Env) error {
		return result(e.Feed.Reach(ctx, eventlog.State{First: 1, Last: 20}))
	},
	"eventlog.Feed.SeqAt":  func(ctx context.Context, e *Env) error { return result(e.Feed.SeqAt(ctx, time.Now())) },
	"eventlog.Feed.State":  func(ctx context.Context, e *Env) error { return result(e.Feed.State(ctx)) },
	"eventlog.Feed.Sync":   func(ctx context.Context, e *Env) error { return e.Feed.Sync(ctx, 0) },
	"eventlog.Feed.TimeAt": func(ctx context.Context, e *Env) error { return third(e.Feed.TimeAt(ctx, 1)) },
	"eventlog.Feed.Trim":   func(ctx context.Context, e *Env) error { return result(e.Feed.Trim(ctx, 2)) },
}

var far = eventlog.Position{Feed: "things", Seq: 1 << 40}

var projectionCalls = map[string]Call{
	"projection.Start": func(ctx context.Context, e *Env) error {
		return result(projection.Start(ctx, e.Log, table("started", e.Feed)))
	},
	"projection.Config.Start": func(ctx context.Context, e *Env) error {
		return result(projection.Config{NoSnapshots: true}.Start(ctx, e.Log, table("started", e.Feed)))
	},
	"projection.AsOf": func(ctx context.Context, e *Env) error {
		return result(projection.AsOf(ctx, e.Log, e.Table.At(), table("past", e.Feed)))
	},
	"projection.Config.AsOf": func(ctx context.Context, e *Env) error {
		return result(projection.Config{NoSnapshots: true}.AsOf(ctx, e.Log, e.Table.At(), table("past", e.Feed)))
	},
	"projection.AsOfTime": func(ctx context.Context, e *Env) error {
		return result(projection.AsOfTime(ctx, e.Log, time.Now(), table("past", e.Feed)))
	},
	"projection.Config.AsOfTime": func(ctx context.Context, e *Env) error {
		return result(projection.Config{NoSnapshots: true}.AsOfTime(ctx, e.Log, time.Now(), table("past", e.Feed)))
	},
	"projection.Import": func(ctx context.Context, e *Env) error {
		return result(projection.Import(ctx, e.Log, e.Store.Peer(), projection.ImportOptions{}, table("imported", e.Feed)))
	},
	"projection.Config.Import": func(ctx context.Context, e *Env) error {
		return result(projection.Config{}.Import(ctx, e.Log, e.Store.Peer(), projection.ImportOptions{}, table("imported", e.Feed)))
	},
	"projection.BlueGreen.Switch":         func(ctx context.Context, e *Env) error { return e.Pair.Switch(ctx) },
	"projection.BlueGreen.Back":           func(ctx context.Context, e *Env) error { return e.Pair.Back(ctx) },
	"projection.Table.WaitFor":            func(ctx context.Context, e *Env) error { return e.Table.WaitFor(ctx, far) },
	"projection.Partitioned.WaitFor":      func(ctx context.Context, e *Env) error { return e.Parted.WaitFor(ctx, far) },
	"projection.Watcher.Next":             func(ctx context.Context, e *Env) error { return result(e.Watch[0].Next(ctx)) },
	"projection.Watcher.Deltas":           func(ctx context.Context, e *Env) error { return drain(e.Watch[1].Deltas(ctx)) },
	"projection.Runtime.Compact":          func(ctx context.Context, e *Env) error { return result(e.RT.Compact(ctx, projection.CompactOptions{})) },
	"projection.Runtime.CompareSnapshots": func(ctx context.Context, e *Env) error { return e.RT.CompareSnapshots(ctx) },
	"projection.Runtime.Digest":           func(ctx context.Context, e *Env) error { return third(e.RT.Digest(ctx, "table")) },
	"projection.Runtime.DropParked": func(ctx context.Context, e *Env) error {
		return e.RT.DropParked(ctx, projection.Parked{Projection: "table", Position: e.At})
	},
	"projection.Runtime.RetryParked": func(ctx context.Context, e *Env) error {
		return result(e.RT.RetryParked(ctx, projection.Parked{Projection: "table", Position: e.At}))
	},
	"projection.Runtime.Healthy": func(ctx context.Context, e *Env) error { return e.RT.Healthy(ctx) },
	"projection.Runtime.Need":    func(ctx context.Context, e *Env) error { return result(e.RT.Need(ctx, e.Lazy)) },
	"projection.Runtime.Preview": func(ctx context.Context, e *Env) error {
		return result(e.RT.Preview(ctx, e.Feed, "k1", Happened{1}))
	},
	"projection.Runtime.Ready":  func(ctx context.Context, e *Env) error { return e.RT.Ready(ctx, 0) },
	"projection.Runtime.Status": func(ctx context.Context, e *Env) error { return result(e.RT.Status(ctx)) },
	"projection.Runtime.Wait":   func(ctx context.Context, e *Env) error { return e.RT.Wait(ctx, far) },
}

var storeCalls = map[string]Call{
	"snapshot.Open": func(ctx context.Context, e *Env) error {
		return result(snapshot.Open(ctx, snapshot.Options{App: "another", Conn: e.Log.Conn()}))
	},
	"snapshot.Store.Candidates": func(ctx context.Context, e *Env) error { return result(e.Store.Candidates(ctx, "unit")) },
	"snapshot.Store.Claim":      func(ctx context.Context, e *Env) error { return e.Store.Claim(ctx, "unit", 7) },
	"snapshot.Store.Delete":     func(ctx context.Context, e *Env) error { return e.Store.Delete(ctx, "other") },
	"snapshot.Store.Export": func(ctx context.Context, e *Env) error {
		return result(e.Store.Export(ctx, "unit", snapshot.Dir(e.Dir)))
	},
	"snapshot.Store.Import": func(ctx context.Context, e *Env) error {
		return result(e.Store.Import(ctx, "unit", e.Store.Peer(), snapshot.ImportOptions{}))
	},
	"snapshot.Store.Load": func(ctx context.Context, e *Env) error { return drain(e.Store.Load(ctx, e.Manifest, "m")) },
	"snapshot.Store.Save": func(ctx context.Context, e *Env) error {
		return result(e.Store.Save(ctx, "unit", e.Manifest, snapshot.Cut{Members: []snapshot.Member{{Name: "m", Codec: "msgpack", Changes: []snapshot.Change{{Key: []byte("k"), Value: []byte{2}}}}}}))
	},
	"snapshot.Store.Sweep": func(ctx context.Context, e *Env) error { return result(e.Store.Sweep(ctx, time.Hour)) },
	"snapshot.Store.Units": func(ctx context.Context, e *Env) error { return result(e.Store.Units(ctx)) },

	"lease.Manager.Acquire":    func(ctx context.Context, e *Env) error { return result(e.Leases.Acquire(ctx, "held0")) },
	"lease.Manager.TryAcquire": func(ctx context.Context, e *Env) error { return result(e.Leases.TryAcquire(ctx, "free")) },
	"lease.Manager.Holder": func(ctx context.Context, e *Env) error {
		_, _, _, err := e.Leases.Holder(ctx, "held0")
		return err
	},
	"lease.Manager.Hold": func(ctx context.Context, e *Env) error {
		return e.Leases.Hold(ctx, "free2", func(ctx context.Context, _ *lease.Lease) error { <-ctx.Done(); return nil })
	},
	"lease.Lease.Confirm": func(ctx context.Context, e *Env) error { return e.Lease[0].Confirm(ctx) },
	"lease.Lease.Raise":   func(ctx context.Context, e *Env) error { return e.Lease[1].Raise(ctx, 100) },
	"lease.Lease.Release": func(ctx context.Context, e *Env) error { return e.Lease[2].Release(ctx) },

	"dependants.Registry.Register": func(ctx context.Context, e *Env) error {
		return e.Register.Register(ctx, dependants.Dependant{Name: "two", Needs: e.Table.At()})
	},
	"dependants.Registry.Advance":    func(ctx context.Context, e *Env) error { return e.Register.Advance(ctx, "reader", e.Table.At()) },
	"dependants.Registry.Deregister": func(ctx context.Context, e *Env) error { return e.Register.Deregister(ctx, "reader") },
	"dependants.Registry.List":       func(ctx context.Context, e *Env) error { return result(e.Register.List(ctx)) },
	"dependants.Registry.Trimmed":    func(ctx context.Context, e *Env) error { return result(e.Register.Trimmed(ctx)) },
	"dependants.Registry.Trim": func(ctx context.Context, e *Env) error {
		return e.Register.Trim(ctx, func([]dependants.Dependant) (map[string]dependants.Mark, error) { return nil, nil })
	},
	"dependants.Registry.Current": func(ctx context.Context, e *Env) error {
		return e.Register.Current(ctx, map[string]string{"things": e.Feed.Incarnation()})
	},
}

var otherCalls = map[string]Call{
	"effect.New": func(ctx context.Context, e *Env) error { return result(effect.New[string](ctx, e.Log, "others", 1)) },
	"effect.Attempt": func(ctx context.Context, e *Env) error {
		return result(effect.Attempt(ctx, effect.Effect[string]{ID: "x"}, func(ctx context.Context, _ effect.Effect[string]) error { <-ctx.Done(); return ctx.Err() }, effect.Options{}))
	},
	"effect.Outbox.Run": func(ctx context.Context, e *Env) error {
		return e.Outbox.Run(ctx, func(ctx context.Context, _ effect.Effect[string]) error { <-ctx.Done(); return ctx.Err() }, effect.Options{})
	},
	"effect.Outbox.Retry":     func(ctx context.Context, e *Env) error { return e.Outbox.Retry(ctx, "none", "me") },
	"effect.Outbox.Drop":      func(ctx context.Context, e *Env) error { return e.Outbox.Drop(ctx, "none", "me") },
	"effect.Outbox.Orphans":   func(ctx context.Context, e *Env) error { return result(e.Outbox.Orphans(ctx)) },
	"process.New":             func(ctx context.Context, e *Env) error { return result(process.New[bool](ctx, e.Log, "others", 1)) },
	"process.Manager.Orphans": func(ctx context.Context, e *Env) error { return result(e.Process.Orphans(ctx)) },
	"process.Manager.Run":     func(ctx context.Context, e *Env) error { return e.Process.Run(ctx, effect.Options{}) },
	"process.Manager.Retry":   func(ctx context.Context, e *Env) error { return e.Process.Retry(ctx, "none", "me") },
	"process.Manager.Drop":    func(ctx context.Context, e *Env) error { return e.Process.Drop(ctx, "none", "me") },
	"command.Decider.Do": func(ctx context.Context, e *Env) error {
		return result(e.Decider.Do(ctx, "k1", func(int) ([]any, error) { return []any{Happened{1}}, nil }))
	},
	"command.Handler.Do": func(ctx context.Context, e *Env) error {
		h := command.Handle(e.Decider, func(int, int) ([]any, error) { return []any{Happened{1}}, nil })
		return result(h.Do(ctx, "k2", 1))
	},
	"backup.Save":    func(ctx context.Context, e *Env) error { return result(backup.Save(ctx, e.Log, e.Dir+"/backup")) },
	"backup.Restore": func(ctx context.Context, e *Env) error { return result(backup.Restore(ctx, e.Log, e.Dir+"/none")) },
	"backup.RestoreOptions.Restore": func(ctx context.Context, e *Env) error {
		return result(backup.RestoreOptions{Plain: true}.Restore(ctx, e.Log, e.Dir+"/none"))
	},
	"backup.Pending": func(ctx context.Context, e *Env) error { return result(backup.Pending(ctx, e.Log)) },
}
