package eventlog

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
	"github.com/tidemark-es/tidemark/internal/bubble"
)

// chunksOf are the chunks of a real backup, the server's last word included.
func chunksOf(t *testing.T, f *Feed, size int) []*nats.Msg {
	t.Helper()
	nc := f.log.nc
	inbox := nc.NewInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	req, _ := json.Marshal(map[string]any{"deliver_subject": inbox, "no_consumers": true, "chunk_size": size})
	if _, err := nc.Request("$JS.API.STREAM.SNAPSHOT."+f.stream, req, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	var chunks []*nats.Msg
	for {
		m, err := sub.NextMsg(5 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if m.Reply != "" {
			_ = nc.Publish(m.Reply, nil)
		}
		if chunks = append(chunks, m); len(m.Data) == 0 {
			return chunks
		}
	}
}

// fed is a bulk that gets these chunks, and no others.
func fed(f *Feed, chunks []*nats.Msg) *bulk {
	r := &bulkRun{
		f: f, credit: bulkCredit, made: f.log.nc.Stats().Reconnects,
		chunks: make(chan *nats.Msg, len(chunks)), pages: make(chan *page, bulkPages), free: make(chan *page, bulkPages+2),
		stop: make(chan struct{}), undeny: func() {},
	}
	for _, c := range chunks {
		m := *c
		m.Data = slices.Clone(c.Data)
		r.chunks <- &m
	}
	r.wg.Go(r.unpack)
	return &bulk{f: f, trimmed: true, run: r}
}

// Whatever happens to a backup on its way, every message is read once, in
// order, and as it is; it is said once that reading goes on by a consumer.
func TestBulkTrouble(t *testing.T) {
	const n = 1500
	for name, c := range map[string]struct {
		change func(c []*nats.Msg) []*nats.Msg
		whole  bool
	}{
		"none":        {func(c []*nats.Msg) []*nats.Msg { return c }, true},
		"missing":     {func(c []*nats.Msg) []*nats.Msg { return slices.Delete(c, len(c)/2, len(c)/2+1) }, false},
		"swapped":     {func(c []*nats.Msg) []*nats.Msg { i := len(c) / 2; c[i], c[i+1] = c[i+1], c[i]; return c }, false},
		"doubled":     {func(c []*nats.Msg) []*nats.Msg { return slices.Insert(c, 3, c[3]) }, false},
		"no last one": {func(c []*nats.Msg) []*nats.Msg { return slices.Delete(c, len(c)-2, len(c)-1) }, false},
		"given up":    {func(c []*nats.Msg) []*nats.Msg { return append(c[:len(c)/2], c[len(c)-1]) }, false},
		"another's":   {func(c []*nats.Msg) []*nats.Msg { c[0].Data[0] = 'x'; return c }, false},
		"flipped bit": {func(c []*nats.Msg) []*nats.Msg { d := c[len(c)/2].Data; d[len(d)/2] ^= 4; return c }, false},
		"cut":         {func(c []*nats.Msg) []*nats.Msg { m := c[len(c)-2]; m.Data = m.Data[:len(m.Data)/2]; return c }, false},
		"nothing":     {func(c []*nats.Msg) []*nats.Msg { return c[len(c)-1:] }, false},
		"old form": {func(c []*nats.Msg) []*nats.Msg {
			c[0].Data = []byte("\xff\x06\x00\x00S2sTwO\x01\x0c\x00\x00\x00\x00\x00\x00a.tar.of")
			return c
		}, false},
		"only garbage": {func(c []*nats.Msg) []*nats.Msg { c[0].Data = bytes.Repeat([]byte{0xff}, 50); return c }, false},
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			f := suiteFeed(t, Options{App: "suite", Memory: true, Logger: zerolog.New(zerolog.SyncWriter(&log)).Level(zerolog.WarnLevel)})
			grow(t, f, n, 200)
			b := fed(f, c.change(chunksOf(t, f, 1024)))
			pull(t, b, 0, n)
			grow(t, f, 1, 10)
			pull(t, b, n, n+1) // behind the backup
			b.close()
			if n := strings.Count(log.String(), "by a consumer"); (n == 0) != c.whole || n > 1 {
				t.Errorf("said %d times: %s", n, log.String())
			}
			if got := f.stats.bulk.Load(); (got == n) != c.whole && name != "no last one" && name != "cut" {
				t.Errorf("%d of %d by bulk", got, n)
			}
		})
	}
}

// A user who may not make backups, or not acknowledge their chunks, reads all
// the same, and it is said once.
func TestBulkDenied(t *testing.T) {
	if testing.Short() {
		t.Skip("appends 25 MB twice, ten times slower under the race detector; TestBulkTrouble runs")
	}
	for _, missing := range []string{"$JS.API.STREAM.SNAPSHOT.>", "$JS.SNAPSHOT.ACK.>"} {
		t.Run(missing, func(t *testing.T) {
			var log bytes.Buffer
			srv := &standalone{t: t, dir: t.TempDir(), port: server.RANDOM_PORT, users: []*server.User{{
				Username: "u", Password: "x",
				Permissions: &server.Permissions{Publish: &server.SubjectPermission{Deny: []string{missing}}},
			}}}
			srv.start()
			t.Cleanup(srv.stop)
			f := suiteFeed(t, Options{
				App: "suite", URL: fmt.Sprintf("nats://127.0.0.1:%d", srv.port), User: "u", Password: "x",
				Logger: zerolog.New(zerolog.SyncWriter(&log)),
			})
			f.bulkLeast = 10
			const n = 250
			growNoise(t, f, n-1, 100<<10)
			for range 3 {
				want := uint64(0)
				for c, err := range f.Commits(t.Context()) {
					if want++; err != nil || c.Seq != want {
						t.Fatalf("%v, want %d", err, want)
					}
				}
				if want != n {
					t.Fatalf("read %d", want)
				}
			}
			if n := strings.Count(log.String(), "by a consumer"); n != 1 || !strings.Contains(log.String(), strings.TrimSuffix(missing, ".>")) {
				t.Errorf("said %d times: %s", n, log.String())
			}
		})
	}
}

// L9: the server ends a backup that isn't acknowledged for 5 s. A reader that
// rests for half a minute has it to the end; one that rests for an hour reads
// on by tail. In fake time.
func TestBulkRest(t *testing.T) {
	if testing.Short() {
		t.Skip("appends 60 MB twice, ten times slower under the race detector; TestBulkReleases and TestSourceTrim run")
	}
	for name, c := range map[string]struct {
		rest  time.Duration
		whole bool
	}{"half a minute": {30 * time.Second, true}, "an hour": {time.Hour, false}} {
		t.Run(name, func(t *testing.T) {
			bubble.Run(t, func(t *testing.T) {
				l, err := Open(t.Context(), Options{App: "suite", Memory: true})
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
				f, err := l.Feed(t.Context(), "accounts", Type[goldenOpened]("opened"))
				if err != nil {
					t.Fatal(err)
				}
				noise := noisy(60 << 20)
				const n, size = 600, 100 << 10
				for i := range n {
					if _, err := l.js.Publish(t.Context(), "suite.accounts.k", noise[i*size:(i+1)*size]); err != nil {
						t.Fatal(err)
					}
				}
				b, err := f.openBulk(t.Context(), 0, mark{}, false)
				if err != nil {
					t.Fatal(err)
				}
				msgs, err := b.next(t.Context())
				if err != nil || msgs[0].seq != 1 {
					t.Fatal(err)
				}
				at := msgs[len(msgs)-1].seq
				bubble.Pass(c.rest)
				pull(t, b, at, n)
				if got := f.stats.bulk.Load(); (got == n) != c.whole {
					t.Errorf("%d of %d by bulk", got, n)
				}
				b.close()
			})
		})
	}
}

// noisy is what can't be compressed.
func noisy(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{}).Read(b)
	return b
}

// Readers take what suits the distance, also when commits come meanwhile, and
// a part of the log was trimmed.
func TestBulkChosen(t *testing.T) {
	f := suiteFeed(t, Options{App: "suite", Memory: true})
	f.bulkLeast = 1000
	grow(t, f, 4000, 10)
	trim(t, f, 1001)
	for i, c := range []struct {
		opts []ReadOption
		bulk uint64
		want int
	}{
		{[]ReadOption{AllowTrimmed()}, 3000, 3000},
		{[]ReadOption{After(1000)}, 3000, 3000},
		{[]ReadOption{After(2000)}, 2000, 2000},
		{[]ReadOption{After(3000)}, 0, 1000},
		{[]ReadOption{After(1000), Until(1500)}, 0, 500},
		{[]ReadOption{AllowTrimmed(), OfKey("k1")}, 0, 3000 / 7},
	} {
		before := f.stats.bulk.Load()
		got := 0
		for _, err := range f.Commits(t.Context(), c.opts...) {
			if err != nil {
				t.Fatal(err)
			}
			got++
		}
		if by := f.stats.bulk.Load() - before; by != c.bulk || got < c.want || got > c.want+1 {
			t.Errorf("case %d: %d of %d by bulk, want %d of %d", i, by, got, c.bulk, c.want)
		}
	}
}

// T0.5, R3.16: what is trimmed while a backup is read is an ErrTrimmed, or
// left out where that is allowed; never a jump.
func TestBulkTrimmedAbove(t *testing.T) {
	if testing.Short() {
		t.Skip("appends 60 MB twice, ten times slower under the race detector; TestBulkReleases and TestSourceTrim run")
	}
	for name, opts := range map[string][]ReadOption{"strict": nil, "lenient": {AllowTrimmed()}} {
		t.Run(name, func(t *testing.T) {
			f := suiteFeed(t, Options{App: "suite", Dir: t.TempDir()})
			f.bulkLeast = 100
			const n = 600
			growNoise(t, f, n, 100<<10)
			r, err := f.NewReader(t.Context(), opts...)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			got, last := 0, uint64(0)
			for {
				batch, err := r.Next(t.Context())
				if err != nil {
					if name == "lenient" || !errors.Is(err, ErrTrimmed) {
						t.Errorf("at %d: %v", last, err)
					}
					break
				}
				if batch == nil {
					break
				}
				if got == 0 {
					trim(t, f, n)
				}
				got, last = got+len(batch), batch[len(batch)-1].Seq
			}
			if bulk := f.stats.bulk.Load(); bulk == 0 || got > n || (name == "lenient" && last != n+1) {
				t.Errorf("read %d commits up to %d, %d by bulk", got, last, bulk)
			}
		})
	}
}

// growNoise appends commits that can't be compressed much.
func growNoise(t *testing.T, f *Feed, n, size int) {
	t.Helper()
	noise := base64.StdEncoding.EncodeToString(noisy(2 * size))
	for i := range n {
		if _, err := f.AppendAsync(t.Context(), Draft{Key: "k", Events: []any{goldenOpened{Owner: noise[i : i+size]}}}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.Append(t.Context(), "k", ExpectAny, goldenOpened{}); err != nil {
		t.Fatal(err)
	}
}

// Nothing of a backup is left behind by readers that stop in the middle, and
// the server's log has no warning of it.
func TestBulkReleases(t *testing.T) {
	var log bytes.Buffer
	f := suiteFeed(t, Options{App: "suite", Dir: t.TempDir(), Logger: zerolog.New(zerolog.SyncWriter(&log)).Level(zerolog.WarnLevel)})
	f.bulkLeast = 100
	growNoise(t, f, 400, 100<<10)
	before := runtime.NumGoroutine()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for _, err := range f.Commits(context.Background()) {
				if err != nil {
					t.Error(err)
				}
				break
			}
		})
	}
	wg.Wait()
	waitFor(t, func() bool { return runtime.NumGoroutine() <= before+2 })
	if f.stats.bulk.Load() == 0 {
		t.Error("nothing by bulk")
	}
	if log.Len() > 0 {
		t.Errorf("logged: %s", log.String())
	}
}
