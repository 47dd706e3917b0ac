//go:build integration

package integration

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/natstest"
	"github.com/tidemark-es/tidemark/projection"
)

// Two of three servers come back from an older copy of their files, and the
// third one has the log's old end, as when two disks were restored from a
// backup. They elect a leader without the third, the lost sequence numbers are
// used again, and the third goes on with the old messages under those numbers
// for good (DESIGN L17). Whatever is read then, by an application that ran all
// the time and by one that starts, is the leader's log and nothing else, or
// ends with an error of ours: the runs count 0 mixed histories.
//
// One round is one cluster that is set back, with several feeds: each is a run
// of its own, with sizes, leader and placement by chance. Servers that were set
// back may leave streams that store nothing for good (natstest.Cluster.Stalled);
// those runs are counted, and there are more rounds where nothing else came of them.
func TestQuorumSetBack(t *testing.T) {
	const feeds = 10
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	total := make(map[string]int)
	for i, rounds := 0, fullOr(10, 2); i < rounds || total["history replaced"] == 0 && i < rounds+3; i++ {
		third := thirds[i%len(thirds)]
		t.Run(fmt.Sprintf("%d, the third %s", i, third), func(t *testing.T) {
			r := &setBackRound{t: t, rnd: rnd, cluster: natstest.StartCluster(t, 3), app: "back", third: third, found: total}
			r.run(feeds)
		})
		t.Logf("outcomes after round %d: %v", i, total)
	}
	for what, n := range total {
		if n > 0 && what[:5] == "mixed" {
			t.Errorf("%s: %d", what, n)
		}
	}
	if total["history replaced"] == 0 {
		t.Error("no run lost anything: the test isn't about what it says")
	}
}

// What the third server does while the others are set back. One that takes part
// in their election may win it, and nothing is lost.
var thirds = []string{"hangs", "is down", "hangs", "is down", "is up"}

// setBackRound is one set-back of a cluster's quorum.
type setBackRound struct {
	t       *testing.T
	rnd     *rand.Rand
	cluster *natstest.Cluster
	app     string
	third   string // what the third server does meanwhile
	found   map[string]int
	runs    []*setBackRun
	until   time.Time // how long the servers have to elect leaders
}

// setBackRun is one feed of it.
type setBackRun struct {
	*setBackRound
	name  string
	log   *eventlog.Log
	feed  *eventlog.Feed
	table *projection.Table[string, tally]
	rt    *projection.Runtime
	n     int
	stuck bool    // its stream has no leader any more
	lost  uint64  // the last sequence that was appended
	seen  *seenBy // by a follower

	mu      sync.Mutex
	applied map[uint64]int // by the running projection: its append of each sequence, the last time
	acked   []record       // since the set-back
}

func (r *setBackRound) run(feeds int) {
	t := r.t
	ctx := limited(t, 6*time.Minute)
	servers := r.cluster.Servers
	r.rnd.Shuffle(len(servers), func(i, j int) { servers[i], servers[j] = servers[j], servers[i] })
	back, third := servers[:2], servers[2]
	must(0, natstest.AwaitPlacement(ctx, r.cluster.URL(), 3))(t)
	// A client that is connected with the third server all the time is told of
	// nothing: neither its connection nor its consumer ends.
	urls := []string{third.URL(), r.cluster.URL(), back[0].URL() + "," + third.URL()}
	r.await()
	for i := range feeds {
		run := &setBackRun{setBackRound: r, name: fmt.Sprintf("f%d", i), applied: make(map[uint64]int)}
		if run.log = r.openLog(ctx, urls[r.rnd.IntN(len(urls))]); run.log == nil {
			t.Fatal("nothing was set back yet")
		}
		defer run.log.Close()
		run.start(ctx)
		defer run.rt.Close()
		run.append(ctx, run.feed, 5+r.rnd.IntN(100))
		r.runs = append(r.runs, run)
	}
	r.stop(back...)
	copies := make([]string, len(back))
	for i, s := range back {
		copies[i] = filepath.Join(t.TempDir(), "copy")
		must(0, os.CopyFS(copies[i], os.DirFS(s.StoreDir())))(t)
	}
	r.cluster.Restart(back...)
	r.await()
	for _, run := range r.runs {
		run.append(ctx, run.feed, 1+r.rnd.IntN(60))
		if run.stuck {
			t.Fatal("nothing was set back yet")
		}
		if err := run.rt.Wait(ctx, eventlog.Position{Feed: run.name, Seq: run.lost}); err != nil {
			t.Fatal(err)
		}
	}
	switch r.third {
	case "hangs": // the clients that are connected with it stay so
		third.Suspend()
	case "is down":
		r.stop(third)
	}
	r.stop(back...)
	for i, s := range back {
		must(0, os.RemoveAll(s.StoreDir()))(t)
		must(0, os.CopyFS(s.StoreDir(), os.DirFS(copies[i])))(t)
	}
	r.cluster.Launch(back...)
	late := r.rnd.IntN(2) == 0
	if !late && r.third == "hangs" {
		third.Resume()
	}
	r.again(ctx)
	switch {
	case r.third == "is down":
		r.cluster.Launch(third)
	case late && r.third == "hangs":
		third.Resume()
	}
	r.check(ctx, urls)
}

// await begins to count the time that the servers have to elect leaders, which
// they do one stream after another.
func (r *setBackRound) await() { r.until = time.Now().Add(time.Minute) }

func (r *setBackRound) stop(servers ...*natstest.Server) {
	for _, s := range servers {
		if r.rnd.IntN(2) == 0 {
			s.Kill()
		} else {
			s.Stop()
		}
	}
}

// patiently does something that servers without leaders can't answer, again and
// again. Where it fails for good, groups of the servers must be stalled for good:
// that run is over then. Otherwise it is a failure of ours.
func (r *setBackRun) patiently(ctx context.Context, what string, do func(context.Context) error) bool {
	if r.stuck {
		return false
	}
	for range 3 {
		err := r.untilThen(ctx, do)
		if err == nil {
			return true
		}
		if stalled := r.cluster.Stalled(); len(stalled) > 0 {
			r.stuck = true
			r.found["servers stuck"]++
			r.t.Logf("%s: %s: %v; %d groups are stalled", r.name, what, err, len(stalled))
			return false
		}
		r.t.Logf("%s: %s: %v, and no group is stalled", r.name, what, err)
	}
	r.t.Fatalf("%s: %s: nothing comes of it", r.name, what)
	return false
}

// untilThen does something again until it succeeds, or what the servers have of
// time is over. There is some for each run.
func (r *setBackRun) untilThen(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, max(time.Until(r.until), 5*time.Second))
	defer cancel()
	var last error // before there was no time left to try again
	for {
		err := do(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return cmp.Or(last, err)
		}
		last = err
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return last
		}
	}
}

// openOn opens the run's feed on a log.
func (r *setBackRun) openOn(ctx context.Context, log *eventlog.Log) (f *eventlog.Feed) {
	r.patiently(ctx, "open", func(ctx context.Context) (err error) {
		f, err = log.Feed(ctx, r.name, eventlog.Type[added]("added"))
		r.known(err)
		return err
	})
	return f
}

// known fails where an error isn't one that passes.
func (r *setBackRun) known(err error) {
	r.t.Helper()
	if err != nil && !errors.Is(err, eventlog.ErrUnavailable) && !errors.Is(err, context.DeadlineExceeded) {
		r.t.Fatalf("%s: %v", r.name, err)
	}
}

// startOn starts the run's projection.
func (r *setBackRun) startOn(ctx context.Context, log *eventlog.Log, f *eventlog.Feed, cfg projection.Config, applied func(uint64, int)) (rt *projection.Runtime, table *projection.Table[string, tally], final error) {
	r.patiently(ctx, "start", func(ctx context.Context) (err error) {
		table = setBackTableOf(f, applied)
		if rt, err = cfg.Start(ctx, log, table); toldLoss(err) {
			final, err = err, nil
		}
		return err
	})
	return rt, table, final
}

func (r *setBackRun) note(seq uint64, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.applied[seq] = n
}

// foreign are the sequences at which the running projection applied another
// append, the last time that it applied one there, than the leader has.
func (r *setBackRun) foreign(records []record) (seqs []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, rec := range records {
		if n := r.applied[rec.seq]; n != 0 && n != rec.n() {
			seqs = append(seqs, fmt.Sprintf("%d: append %d for %d", rec.seq, n, rec.n()))
		}
	}
	return seqs
}

// toldLoss says whether an error is one that tells of what is lost.
func toldLoss(err error) bool {
	return errors.Is(err, eventlog.ErrLostTail) || isReplicaError(err)
}

func (r *setBackRun) start(ctx context.Context) {
	r.feed = r.openOn(ctx, r.log)
	var err error
	if r.rt, r.table, err = r.startOn(ctx, r.log, r.feed, everyFew(uint64(1+r.rnd.IntN(40))), r.note); err != nil || r.stuck {
		r.t.Fatalf("nothing was set back yet: %v", err)
	}
	r.seen = &seenBy{ended: make(chan struct{})}
	go func() {
		defer close(r.seen.ended)
		for c, err := range r.feed.Commits(ctx, eventlog.Follow()) {
			if err != nil {
				r.seen.err = err
				return
			}
			r.seen.add(c.ID)
		}
	}()
}

// seenBy is what a follower was given.
type seenBy struct {
	ended chan struct{}
	err   error // valid when ended is closed

	mu  sync.Mutex
	ids []string
}

func (s *seenBy) add(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ids = append(s.ids, id)
}

func (s *seenBy) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.ids)
}

func setBackTable(feed *eventlog.Feed) *projection.Table[string, tally] {
	return setBackTableOf(feed, func(uint64, int) {})
}

// setBackTableOf tells which append came at which sequence, as it is applied.
func setBackTableOf(feed *eventlog.Feed, applied func(seq uint64, n int)) *projection.Table[string, tally] {
	t := projection.NewTable[string, tally]("tally-" + feed.Name())
	projection.On(t, feed, func(tx *projection.Tx[string, tally], e eventlog.Event, a added) error {
		applied(e.Seq, a.N)
		tx.Put(e.Key, tx.Value(e.Key).with(e.Seq, a))
		return nil
	})
	return t
}

// append appends to a feed, by whichever handle; a commit says in which order it
// was made, so no two are alike. What is known to be lost is given up.
func (r *setBackRun) append(ctx context.Context, f *eventlog.Feed, n int) {
	for range n {
		r.n++
		d := eventlog.Draft{Key: fmt.Sprint("k", r.rnd.IntN(3)), ID: fmt.Sprint(r.name, "-", r.n), Events: []any{added{Writer: r.name, N: r.n, Part: 1, Of: 1}}}
		if !r.patiently(ctx, "append", func(ctx context.Context) error {
			at, err := f.AppendDraft(ctx, d)
			if err == nil {
				r.lost = at.Seq
				r.acked = append(r.acked, record{seq: at.Seq, key: d.Key, id: d.ID, events: []added{d.Events[0].(added)}})
			}
			return r.giveUp(ctx, f, err)
		}) {
			return
		}
	}
}

// giveUp gives up what an error says is lost, and returns the error.
func (r *setBackRun) giveUp(ctx context.Context, f *eventlog.Feed, err error) error {
	if loss, ok := errors.AsType[*eventlog.LossError](err); ok {
		r.found["loss given up"]++
		return errors.Join(err, f.AcceptLoss(ctx, loss.From, loss.To))
	}
	return err
}

// again appends the new history, by another process.
func (r *setBackRound) again(ctx context.Context) {
	r.await()
	log := r.openLog(ctx, r.cluster.Servers[0].URL())
	if log == nil {
		return
	}
	defer log.Close()
	for _, run := range r.runs {
		f := run.openOn(ctx, log)
		lost := run.lost
		run.acked = nil
		run.append(ctx, f, 1+r.rnd.IntN(5+95*r.rnd.IntN(2)))
		if !run.stuck && run.lost <= lost {
			r.found["history short"]++
		}
	}
}

// check compares what everybody sees with the leader's log.
func (r *setBackRound) check(ctx context.Context, urls []string) {
	r.await()
	for _, run := range r.runs {
		if run.stuck {
			continue
		}
		log := r.openLog(ctx, urls[r.rnd.IntN(len(urls))])
		if log == nil {
			return
		}
		run.check(ctx, log)
		_ = log.Close()
	}
}

func (r *setBackRun) check(ctx context.Context, log *eventlog.Log) {
	cfg := readOnly()
	cfg.NoSnapshots = r.rnd.IntN(2) == 0
	f := r.openOn(ctx, log)
	rt, table, err := r.startOn(ctx, log, f, cfg, func(uint64, int) {})
	if rt != nil {
		defer rt.Close()
	}
	r.append(ctx, f, 1+r.rnd.IntN(5+70*r.rnd.IntN(2)))
	records := r.truth(ctx, f)
	if r.stuck {
		return
	}
	if r.acknowledged(records) != nil {
		r.found["the third elected later"]++
	}
	if replaced(records) {
		r.found["history replaced"]++
	} else {
		r.found["history kept"]++
	}
	r.judgeFollower(ctx, records)
	r.judge(ctx, "running", r.rt, r.table, nil, records)
	r.judge(ctx, "fresh", rt, table, err, records)
	r.judgeRead(ctx, f, records)
	for _, l := range []*eventlog.Log{r.log, log} {
		if isReplicaError(l.Healthy(ctx)) {
			r.found["replica named"]++
		}
	}
}

// openLog opens the log at servers that may not be up yet. Without a leader for
// what it needs, the round is over.
func (r *setBackRound) openLog(ctx context.Context, url string) (log *eventlog.Log) {
	all := &setBackRun{setBackRound: r, name: "all"}
	all.patiently(ctx, "open the log", func(ctx context.Context) (err error) {
		log, err = eventlog.Open(ctx, eventlog.Options{App: r.app, URL: url, Replicas: 3})
		all.known(err)
		return err
	})
	return log
}

// openPatiently opens a feed of servers that are still electing leaders.
func openPatiently(ctx context.Context, log *eventlog.Log, name string) (f *eventlog.Feed, err error) {
	for {
		f, err = log.Feed(ctx, name, eventlog.Type[added]("added"))
		if !errors.Is(err, eventlog.ErrUnavailable) || ctx.Err() != nil {
			return f, err
		}
	}
}
