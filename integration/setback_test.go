//go:build integration

package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
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
// of its own, with sizes, leader and placement by chance.
func TestQuorumSetBack(t *testing.T) {
	const feeds = 10
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	total := make(map[string]int)
	cluster := natstest.StartCluster(t, 3)
	for i := range fullOr(10, 2) {
		r := &setBackRound{t: t, rnd: rnd, cluster: cluster, app: fmt.Sprintf("back%d", i), third: thirds[i%len(thirds)], found: total}
		r.run(feeds)
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
}

func (r *setBackRound) run(feeds int) {
	t := r.t
	ctx := limited(t, 3*time.Minute)
	servers := r.cluster.Servers
	r.rnd.Shuffle(len(servers), func(i, j int) { servers[i], servers[j] = servers[j], servers[i] })
	back, third := servers[:2], servers[2]
	must(0, natstest.AwaitPlacement(ctx, r.cluster.URL(), 3))(t)
	// A client that is connected with the third server all the time is told of
	// nothing: neither its connection nor its consumer ends.
	urls := []string{third.URL(), r.cluster.URL(), back[0].URL() + "," + third.URL()}
	for i := range feeds {
		run := &setBackRun{setBackRound: r, name: fmt.Sprintf("f%d", i)}
		run.log = must(eventlog.Open(ctx, eventlog.Options{App: r.app, URL: urls[r.rnd.IntN(len(urls))], Replicas: 3}))(t)
		defer run.log.Close()
		run.open(ctx)
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
	r.again(ctx, urls)
	switch {
	case r.third == "is down":
		r.cluster.Launch(third)
	case late && r.third == "hangs":
		third.Resume()
	}
	r.check(ctx, urls)
	for _, run := range r.runs {
		_ = run.log.DeleteStream(ctx, run.name)
	}
}

func (r *setBackRound) stop(servers ...*natstest.Server) {
	for _, s := range servers {
		if r.rnd.IntN(2) == 0 {
			s.Kill()
		} else {
			s.Stop()
		}
	}
}

func (r *setBackRun) open(ctx context.Context) {
	r.feed = must(openPatiently(ctx, r.log, r.name))(r.t)
}

func (r *setBackRun) start(ctx context.Context) {
	r.table = setBackTable(r.feed)
	cfg := everyFew(uint64(1 + r.rnd.IntN(40)))
	var err error
	if r.rt, err = cfg.Start(ctx, r.log, r.table); err != nil { // servers that are still electing leaders
		r.table = setBackTable(r.feed)
		r.rt = must(cfg.Start(ctx, r.log, r.table))(r.t)
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
	t := projection.NewTable[string, tally]("tally-" + feed.Name())
	projection.On(t, feed, func(tx *projection.Tx[string, tally], e eventlog.Event, a added) error {
		tx.Put(e.Key, tx.Value(e.Key).with(e.Seq, a))
		return nil
	})
	return t
}

// append appends to a feed, by whichever handle; a commit says in which order it
// was made, so no two are alike. Servers that were set back may leave a stream
// without a leader for good: that run is over then.
func (r *setBackRun) append(ctx context.Context, f *eventlog.Feed, n int) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for range n {
		if r.stuck {
			return
		}
		r.n++
		d := eventlog.Draft{Key: fmt.Sprint("k", r.rnd.IntN(3)), ID: fmt.Sprint(r.name, "-", r.n), Events: []any{added{Writer: r.name, N: r.n, Part: 1, Of: 1}}}
		at, err := f.AppendDraft(ctx, d)
		for err != nil && ctx.Err() == nil { // an election
			<-time.After(50 * time.Millisecond)
			at, err = f.AppendDraft(ctx, d)
		}
		if err != nil {
			r.stuck = true
			r.found["servers stuck"]++
			r.t.Logf("%s: %v", r.name, err)
			return
		}
		r.lost = at.Seq
	}
}

// again appends the new history, by another process.
func (r *setBackRound) again(ctx context.Context, urls []string) {
	log := must(r.openLog(ctx, r.cluster.Servers[0].URL()))(r.t)
	defer log.Close()
	for _, run := range r.runs {
		f := must(openPatiently(ctx, log, run.name))(r.t)
		lost := run.lost
		run.append(ctx, f, 1+r.rnd.IntN(5+95*r.rnd.IntN(2)))
		if run.stuck {
			continue
		}
		st := must(f.State(ctx))(r.t)
		if st.Last < lost+uint64(1) || run.lost <= lost {
			r.found["history short"]++
		}
	}
}

// check compares what everybody sees with the leader's log.
func (r *setBackRound) check(ctx context.Context, urls []string) {
	for _, run := range r.runs {
		if run.stuck {
			continue
		}
		log := must(r.openLog(ctx, urls[r.rnd.IntN(len(urls))]))(r.t)
		f := must(openPatiently(ctx, log, run.name))(r.t)
		table := setBackTable(f)
		cfg := readOnly()
		cfg.NoSnapshots = r.rnd.IntN(2) == 0
		rt, err := cfg.Start(ctx, log, table)
		for errors.Is(err, eventlog.ErrUnavailable) && ctx.Err() == nil {
			table = setBackTable(f)
			rt, err = cfg.Start(ctx, log, table)
		}
		run.append(ctx, f, 1+r.rnd.IntN(5+70*r.rnd.IntN(2)))
		if run.stuck {
			continue
		}
		records := run.truth(ctx)
		if replaced(records) {
			r.found["history replaced"]++
		} else {
			r.found["history kept"]++
		}
		run.judgeFollower(ctx, records)
		run.judge(ctx, "running", run.rt, run.table, nil, records)
		run.judge(ctx, "fresh", rt, table, err, records)
		run.judgeRead(ctx, f, records)
		for _, l := range []*eventlog.Log{run.log, log} {
			if isReplicaError(l.Healthy(ctx)) {
				r.found["replica named"]++
			}
		}
		if rt != nil {
			_ = rt.Close()
		}
		_ = log.Close()
	}
}

// openLog opens the log at servers that may not be up yet.
func (r *setBackRound) openLog(ctx context.Context, url string) (log *eventlog.Log, err error) {
	for {
		log, err = eventlog.Open(ctx, eventlog.Options{App: r.app, URL: url, Replicas: 3})
		if !errors.Is(err, eventlog.ErrUnavailable) || ctx.Err() != nil {
			return log, err
		}
		<-time.After(50 * time.Millisecond)
	}
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

// replaced says whether commits were lost, and others have their numbers.
func replaced(records []record) bool {
	return len(records) > 0 && records[len(records)-1].n() != len(records)
}

// truth is the log as its leader has it, asked message by message.
func (r *setBackRun) truth(ctx context.Context) (records []record) {
	for seq := uint64(1); ; seq++ {
		body := must(json.Marshal(map[string]uint64{"seq": seq}))(r.t)
		var resp struct {
			Error   *struct{ Code int } `json:"error"`
			Message *struct {
				Subject string `json:"subject"`
				Data    []byte `json:"data"`
			} `json:"message"`
		}
		var m *nats.Msg
		await(ctx, r.t, "the leader answers", func() (ok bool) {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			var err error
			m, err = r.log.Conn().RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+r.feed.Stream(), body)
			if err != nil {
				return false
			}
			resp.Error, resp.Message = nil, nil
			return json.Unmarshal(m.Data, &resp) == nil && (resp.Message != nil || resp.Error.Code == 404)
		})
		if resp.Message == nil {
			return records
		}
		c, ok, err := r.feed.Lookup(ctx, seq)
		if err != nil || !ok {
			r.t.Fatalf("%d: %v", seq, err)
		}
		records = append(records, must(recordOf(&c))(r.t))
	}
}

// judge waits until the table is where the log is, or its projection has
// ended, and counts what came of it.
func (r *setBackRun) judge(ctx context.Context, who string, rt *projection.Runtime, table *projection.Table[string, tally], err error, records []record) {
	limit, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	ours := func(err error) bool { return errors.Is(err, eventlog.ErrLostTail) || isReplicaError(err) }
	if err != nil {
		if !ours(err) {
			r.t.Errorf("%s of %s: %v", who, r.name, err)
		}
		r.found["error, "+who]++
		return
	}
	want := fold(records)
	for {
		got, stopped := maps.Collect(table.All()), rt.Metrics()[0].Err
		at, _ := table.At().Get(r.name)
		switch {
		case stopped != nil:
			if !ours(stopped) {
				r.t.Errorf("%s of %s: %v", who, r.name, stopped)
			}
			r.found["error, "+who]++
			return
		case at >= uint64(len(records)) && maps.Equal(got, want):
			r.found["equal, "+who]++
			return
		case limit.Err() != nil:
			r.found["mixed, "+who]++
			return
		}
		<-time.After(20 * time.Millisecond)
	}
}

// judgeFollower waits for the end of one that was given what is lost: it must be
// told, as those are that share its source. Another one is given the leader's
// log.
func (r *setBackRun) judgeFollower(ctx context.Context, records []record) {
	var want []string
	for _, rec := range records {
		want = append(want, rec.id)
	}
	limit, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		ids := r.seen.all()
		select {
		case <-r.seen.ended:
			if !errors.Is(r.seen.err, eventlog.ErrLostTail) && !errors.Is(r.seen.err, eventlog.ErrUnavailable) {
				r.t.Errorf("a follower of %s ended with %v", r.name, r.seen.err)
			}
			r.found["error, follower"]++
			return
		case <-limit.Done():
			r.found["mixed, follower"]++
			return
		case <-time.After(10 * time.Millisecond):
		}
		if slices.Equal(ids, want) {
			r.found["equal, follower"]++
			return
		}
	}
}

// judgeRead reads all, and each key.
func (r *setBackRun) judgeRead(ctx context.Context, f *eventlog.Feed, records []record) {
	for _, key := range []string{"", "k0", "k1", "k2"} {
		what, opts := "read of all", []eventlog.ReadOption(nil)
		if key != "" {
			what, opts = "read of a key", []eventlog.ReadOption{eventlog.OfKey(key)}
		}
		var got, want []string
		for _, rec := range records {
			if key == "" || rec.key == key {
				want = append(want, rec.id)
			}
		}
		outcome := "equal, " + what
		for c, err := range f.Commits(ctx, opts...) {
			if err != nil {
				outcome = "error, " + what
				break
			}
			got = append(got, c.ID)
		}
		if outcome[0] == 'e' && outcome[1] == 'q' && fmt.Sprint(got) != fmt.Sprint(want) {
			outcome = "mixed, " + what
		}
		r.found[outcome]++
	}
}
