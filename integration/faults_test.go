//go:build integration

package integration

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/natstest"
	"github.com/tidemark-es/tidemark/projection"
	"github.com/tidemark-es/tidemark/snapshot"
)

// faultsVariable names the environment variable with the number of faults.
const faultsVariable = "TIDEMARK_FAULTS"

type (
	paid    struct{ Cents int64 }
	settled struct{}
	purse   struct{ Cents, Times int64 }
)

// Random faults, one after another, in one life of an application: crashes at
// a random write of a snapshot, writes that come twice, late or in another
// order, damage to what is stored, and logs and buckets that lose their tail.
// After each, a start succeeds, and state and digest are those of a plain fold
// of the log (R0.16, T0.2, T0.9, T0.14, T3.9, T3.10, R3.13). TIDEMARK_FAULTS is
// how many (default 150; 1,000 take one to two minutes).
func TestFaults(t *testing.T) {
	n := 150
	if s := os.Getenv(faultsVariable); s != "" {
		n = must(strconv.Atoi(s))(t)
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	w := newFaultWorld(t, rand.New(rand.NewPCG(seed, 0)))
	for i := range n {
		w.step(i)
		if t.Failed() {
			t.Fatalf("fault %d of %d; what was done: %v", i, n, w.history[max(0, len(w.history)-6):])
		}
	}
	t.Logf("%d faults; done: %v; recovered: %v", n, w.done, w.sources)
	for _, kind := range w.kinds() {
		if n >= 500 && w.done[kind] == 0 {
			t.Errorf("%s never happened", kind)
		}
	}
	if w.sources[projection.FromSnapshot] < n/4 || n >= 500 && w.sources[projection.FromReplay] == 0 {
		t.Errorf("recovered %v: the test isn't about snapshots", w.sources)
	}
}

// faultWorld is a server, a log, the plain fold of it, and what has happened.
type faultWorld struct {
	t      *testing.T
	rnd    *rand.Rand
	server *natstest.Server
	log    *eventlog.Log
	feed   *eventlog.Feed
	conn   *nats.Conn
	kv     jetstream.KeyValue

	fold     map[string]purse
	heads    map[string][]byte // that were seen: a write that comes again after others
	history  []string
	recovery projection.Recovery // of the last life
	done     map[string]int
	sources  map[projection.Source]int
}

const faultApp = "faults"

var bucketStream = "KV_" + faultApp + "_snapshots"

var (
	wireFaults = []string{crashBefore, crashAfter, twice, reordered, delayed}
	restFaults = []string{"flipped bit", "cut", "removed", "emptied", "older value again", "head to nowhere", "newer format"}
	tailFaults = []string{"log lost its tail", "bucket lost its tail"}
)

func (w *faultWorld) kinds() []string { return slices.Concat(wireFaults, restFaults, tailFaults) }

func newFaultWorld(t *testing.T, rnd *rand.Rand) *faultWorld {
	w := &faultWorld{
		t: t, rnd: rnd, server: natstest.Start(t),
		fold: map[string]purse{}, done: map[string]int{}, sources: map[projection.Source]int{}, heads: map[string][]byte{},
	}
	w.open()
	t.Cleanup(w.close)
	return w
}

func (w *faultWorld) open() {
	ctx := limited(w.t, time.Minute)
	w.log = must(eventlog.Open(ctx, eventlog.Options{App: faultApp, URL: w.server.URL()}))(w.t)
	w.feed = must(w.log.Feed(ctx, "purses", eventlog.Type[paid]("paid"), eventlog.Type[settled]("settled")))(w.t)
	w.conn = must(nats.Connect(w.server.URL()))(w.t)
	w.store(&connFault{}) // makes the bucket
	w.kv = must(w.log.JetStream().KeyValue(ctx, faultApp+"_snapshots"))(w.t)
}

func (w *faultWorld) close() {
	w.conn.Close()
	_ = w.log.Close()
}

// store is a snapshot store over a connection of its own.
func (w *faultWorld) store(f *connFault) (*snapshot.Store, *nats.Conn) {
	f.prefix = "$KV." + faultApp + "_snapshots."
	conn := must(nats.Connect(w.server.URL(), nats.SetCustomDialer(f), nats.NoReconnect(),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})))(w.t)
	s := must(snapshot.Open(limited(w.t, time.Minute), snapshot.Options{
		App: faultApp, Conn: conn, Timeout: 30 * time.Second, ChunkSize: 1024, Grace: time.Minute,
	}))(w.t)
	return s, conn
}

// step is one fault, of those that happen while snapshots are written, or at
// rest, or to the files of the server.
func (w *faultWorld) step(i int) {
	f := &connFault{}
	switch kind := w.rnd.IntN(25); {
	case kind == 0:
		w.loseTail(tailFaults[w.rnd.IntN(len(tailFaults))])
	case kind < 12:
		f.kind = wireFaults[w.rnd.IntN(len(wireFaults))]
		f.at = 1 + w.rnd.IntN(8)
		f.delay = time.Duration(1+w.rnd.IntN(15)) * time.Millisecond
	default:
		for range 1 + w.rnd.IntN(4) {
			w.atRest(restFaults[w.rnd.IntN(len(restFaults))])
		}
	}
	w.live(f)
	if w.rnd.IntN(4) == 0 {
		w.healed()
	}
}

// healed says that what went wrong costs time and nothing else: a life without
// faults saves, and the next one begins with what it saved.
func (w *faultWorld) healed() {
	err := w.live(&connFault{})
	if err != nil {
		w.t.Errorf("close, without a fault: %v", err)
	}
	if r := w.recovery; r.Source == projection.FromReplay && len(w.fold) > 0 && len(r.Skipped) == 0 {
		w.t.Errorf("replayed without a reason: %+v", r)
	}
	if err := w.live(&connFault{}); err != nil {
		w.t.Errorf("close, without a fault: %v", err)
	}
	if r := w.recovery; r.Source == projection.FromReplay || r.Replayed > 0 {
		w.t.Errorf("not healed: %+v", r)
	}
}

// live is the life of one process, and what its last snapshot came to.
func (w *faultWorld) live(f *connFault) error {
	ctx := limited(w.t, time.Minute)
	store, conn := w.store(f)
	defer conn.Close()
	table := w.table()
	cfg := projection.Config{Store: store, Snapshots: projection.Policy{Events: uint64(1 + w.rnd.IntN(4)), MinInterval: 1}}
	rt, err := cfg.Start(ctx, w.log, table)
	if err != nil {
		w.t.Errorf("start: %v", err)
		return err
	}
	w.recovery = rt.Metrics()[0].Recovery
	w.sources[w.recovery.Source]++
	w.history = append(w.history, fmt.Sprintf("\n\t%s %s", w.recovery.Source, w.recovery.Skipped))
	w.check(ctx, rt, table)
	if at, any := w.write(ctx); any {
		if err := rt.Wait(ctx, at); err != nil {
			w.t.Error(err)
		}
	}
	w.check(ctx, rt, table)
	err = rt.Close()
	conn.Close()
	if f.triggered.Load() {
		w.did(f.kind)
	}
	if err != nil {
		w.history = append(w.history, err.Error())
	}
	return err
}

func (w *faultWorld) did(kind string) {
	w.done[kind]++
	w.history = append(w.history, kind)
}

func (w *faultWorld) table() *projection.Table[string, purse] {
	t := projection.NewTable[string, purse]("purses")
	projection.On(t, w.feed, func(tx *projection.Tx[string, purse], e eventlog.Event, p paid) error {
		v := tx.Value(e.Key)
		tx.Put(e.Key, purse{v.Cents + p.Cents, v.Times + 1})
		return nil
	})
	projection.On(t, w.feed, func(tx *projection.Tx[string, purse], e eventlog.Event, _ settled) error {
		tx.Delete(e.Key)
		return nil
	})
	return t
}

// write appends a few events, and folds them.
func (w *faultWorld) write(ctx context.Context) (at eventlog.Position, wrote bool) {
	for range w.rnd.IntN(8) {
		key := fmt.Sprintf("purse-%02d", w.rnd.IntN(40))
		var event any = settled{}
		if w.rnd.IntN(6) > 0 {
			p := paid{Cents: w.rnd.Int64N(1 << 40)}
			v := w.fold[key]
			w.fold[key] = purse{v.Cents + p.Cents, v.Times + 1}
			event = p
		} else {
			delete(w.fold, key)
		}
		at, wrote = must(w.feed.Append(ctx, key, eventlog.ExpectAny, event))(w.t), true
	}
	return at, wrote
}

// check compares state and digest with the fold's.
func (w *faultWorld) check(ctx context.Context, rt *projection.Runtime, table *projection.Table[string, purse]) {
	if got := maps.Collect(table.All()); !maps.Equal(got, w.fold) {
		w.t.Errorf("wrong state: %v, want %v", got, w.fold)
	}
	var want snapshot.Digest
	for k, v := range w.fold {
		want = want.Plus(snapshot.DigestOf([]byte(k), must(eventlog.MsgPack.Append(nil, &v))(w.t)))
	}
	if _, got, err := rt.Digest(ctx, "purses"); err != nil || got != want {
		w.t.Errorf("wrong digest %s, %v, want %s", got, err, want)
	}
	if d := rt.Metrics()[0].Diverged; d != nil {
		w.t.Errorf("a false alarm: %v", d)
	}
}

// keys are those of the bucket, in order, so that a seed says what happens.
func (w *faultWorld) keys(ctx context.Context) []string {
	keys, err := w.kv.Keys(ctx)
	if err != nil && !errors.Is(err, jetstream.ErrNoKeysFound) {
		w.t.Fatal(err)
	}
	slices.Sort(keys)
	return keys
}

// atRest damages something that is stored.
func (w *faultWorld) atRest(kind string) {
	ctx := limited(w.t, time.Minute)
	keys := w.keys(ctx)
	prefix := []string{"chunk.", "manifest.", "head."}[w.rnd.IntN(3)]
	if kind == "head to nowhere" || kind == "older value again" {
		prefix = "head."
	}
	keys = slices.DeleteFunc(keys, func(k string) bool { return k[:len(prefix)] != prefix })
	if len(keys) == 0 {
		return
	}
	key := keys[w.rnd.IntN(len(keys))]
	data := slices.Clone(must(w.kv.Get(ctx, key))(w.t).Value())
	if len(data) < 40 {
		return
	}
	switch kind {
	case "flipped bit":
		data[w.rnd.IntN(len(data))] ^= 1 << w.rnd.IntN(8)
	case "cut":
		data = data[:w.rnd.IntN(len(data))]
	case "emptied":
		data = nil
	case "newer format": // of a head it is without its checksum: damaged
		data[3]++
	case "head to nowhere", "older value again":
		data = w.olderHead(ctx, key, data, kind)
	}
	if kind == "removed" {
		must(0, w.kv.Delete(ctx, key))(w.t)
	} else {
		must(w.kv.Put(ctx, key, data))(w.t)
	}
	w.did(kind)
}

// olderHead is what the head was at an earlier time, where all that it names
// may be gone.
func (w *faultWorld) olderHead(ctx context.Context, key string, now []byte, kind string) []byte {
	old := w.heads[kind]
	if old == nil || w.rnd.IntN(4) == 0 {
		w.heads[kind] = now
	}
	if old == nil {
		old = now
	}
	if kind == "older value again" {
		return old
	}
	for _, k := range w.keys(ctx) {
		if k[0] == 'm' && w.rnd.IntN(2) == 0 {
			must(0, w.kv.Purge(ctx, k))(w.t)
		}
	}
	return now
}

// loseTail puts a stream's files back to what they were, under a server that
// is down meanwhile.
func (w *faultWorld) loseTail(kind string) {
	stream := w.feed.Stream()
	if kind == tailFaults[1] {
		stream = bucketStream
	}
	copied := filepath.Join(w.t.TempDir(), "copy")
	w.close()
	w.server.Stop()
	must(0, os.CopyFS(copied, os.DirFS(w.server.StreamDir(stream))))(w.t)
	w.server.Restart()
	w.open()
	before := maps.Clone(w.fold)
	w.live(&connFault{})
	w.close()
	w.server.Stop()
	must(0, os.RemoveAll(w.server.StreamDir(stream)))(w.t)
	must(0, os.CopyFS(w.server.StreamDir(stream), os.DirFS(copied)))(w.t)
	w.server.Restart()
	w.open()
	if stream != bucketStream {
		w.fold = before
		giveUp(w.t, w.feed)
	}
	w.did(kind)
}
