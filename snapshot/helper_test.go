package snapshot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tidemark-es/tidemark/timeframe"
)

// connect returns a connection to a server of the test's own, or to the one
// that TIDEMARK_TEST_URL names.
func connect(t testing.TB) *nats.Conn {
	t.Helper()
	if url := os.Getenv("TIDEMARK_TEST_URL"); url != "" {
		return connected(t, url)
	}
	return embedded(t, "")
}

// embedded starts a server that ends with the test.
func embedded(t testing.TB, domain string) *nats.Conn {
	t.Helper()
	s, err := server.NewServer(&server.Options{
		ServerName: "snapshot-test", JetStream: true, JetStreamDomain: domain, StoreDir: t.TempDir(), DontListen: true, NoSigs: true, NoLog: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(time.Minute) {
		t.Fatal("the server isn't ready")
	}
	nc := connected(t, "", nats.InProcessServer(s))
	keepStream(t, nc)
	return nc
}

// keepStream gives a server of the test's own a stream that stays: one that
// deletes an account's last stream removes the account's directory, and fails
// the stream that is created at that moment (err_code 10049).
func keepStream(t testing.TB, nc *nats.Conn) {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "kept", Subjects: []string{"kept"}}); err != nil {
		t.Fatal(err)
	}
}

func connected(t testing.TB, url string, opts ...nats.Option) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(url, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

var apps atomic.Int64

// opened returns a store with a bucket of its own; change edits the options.
func opened(t testing.TB, nc *nats.Conn, change ...func(*Options)) *Store {
	t.Helper()
	opts := Options{App: fmt.Sprintf("t%d-%d", os.Getpid(), apps.Add(1)), Conn: nc}
	for _, f := range change {
		f(&opts)
	}
	s, err := Open(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
		defer cancel()
		err := s.opts.JetStream.DeleteKeyValue(ctx, bucketName(opts.App))
		if err != nil && !errors.Is(err, jetstream.ErrBucketNotFound) {
			t.Error(err)
		}
	})
	return s
}

// again opens the same bucket as another process would.
func again(t testing.TB, s *Store, change ...func(*Options)) *Store {
	t.Helper()
	opts := Options{App: s.opts.App, Conn: s.opts.Conn, Grace: s.opts.Grace}
	for _, f := range change {
		f(&opts)
	}
	other, err := Open(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	return other
}

// noGrace makes every written thing old at once.
func noGrace(o *Options) { o.Grace = time.Nanosecond }

// at returns the tag {orders=seq} with an anchor.
func at(seq uint64) timeframe.Tag {
	frame, err := timeframe.Of(timeframe.Entry{Feed: "orders", Seq: seq})
	if err != nil {
		panic(err)
	}
	lineage := timeframe.Lineage{Incarnation: "inc", Anchors: []timeframe.Anchor{{Seq: seq, Print: timeframe.Fingerprint{byte(seq), 7}}}}
	return timeframe.Tag{At: frame, Lineages: map[string]timeframe.Lineage{"orders": lineage}}
}

// cut returns a cut at seq.
func cut(seq uint64, members ...Member) Cut {
	c := Cut{Tag: at(seq), Members: members}
	for i := range c.Members {
		c.Members[i].At = c.Tag.At
	}
	return c
}

func member(name string, changes ...Change) Member {
	return Member{Name: name, Version: 1, Meaning: "m1", Codec: "msgpack", Changes: changes}
}

func put(key, value string) Change { return Change{Key: []byte(key), Value: []byte(value)} }

func del(key string) Change { return Change{Key: []byte(key), Deleted: true} }

// many returns n changes with keys of one prefix and values that compress a bit.
func many(n int, prefix, value string) []Change {
	list := make([]Change, n)
	for i := range list {
		list[i] = put(fmt.Sprintf("%s%08d", prefix, i), fmt.Sprintf("%s-%d", value, i*7919))
	}
	return list
}

func saved(t testing.TB, s *Store, unit string, base *Manifest, c Cut) *Manifest {
	t.Helper()
	m, err := s.Save(t.Context(), unit, base, c)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// load returns a member's state, and fails unless keys ascend strictly.
func load(ctx context.Context, s *Store, m *Manifest, member string) (map[string]string, error) {
	state := make(map[string]string)
	var last []byte
	first := true
	for c, err := range s.Load(ctx, m, member) {
		if err != nil {
			return nil, err
		}
		if c.Deleted || !first && bytes.Compare(last, c.Key) >= 0 {
			return nil, fmt.Errorf("key %q (deleted %v) after %q", c.Key, c.Deleted, last)
		}
		last, first = append(last[:0], c.Key...), false
		state[string(c.Key)] = string(c.Value)
	}
	return state, nil
}

func wantState(t testing.TB, s *Store, m *Manifest, member string, want map[string]string) {
	t.Helper()
	got, err := load(t.Context(), s, m, member)
	if err != nil {
		t.Fatalf("load %s of %s: %v", member, m.ID.short(), err)
	}
	if !maps.Equal(got, want) {
		t.Fatalf("load %s of %s: %d keys, want %d: %s", member, m.ID.short(), len(got), len(want), difference(got, want))
	}
}

func difference(got, want map[string]string) string {
	for _, k := range slices.Sorted(maps.Keys(want)) {
		if v, ok := got[k]; !ok || v != want[k] {
			return fmt.Sprintf("at %q: %.40q (%v), want %.40q", k, v, ok, want[k])
		}
	}
	return "keys too many"
}

// newest returns the first usable candidate and the problems before it.
func newest(t testing.TB, s *Store, unit string) (*Manifest, []error) {
	t.Helper()
	found, err := s.Candidates(t.Context(), unit)
	if err != nil {
		t.Fatal(err)
	}
	var problems []error
	for _, c := range found {
		if c.Problem == nil {
			return c.Manifest, problems
		}
		problems = append(problems, c.Problem)
	}
	return nil, problems
}

// keys returns the bucket's keys with the prefix.
func keys(t testing.TB, s *Store, prefix string) []string {
	t.Helper()
	items, err := s.bucket.list(t.Context(), ">")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, item := range items {
		if strings.HasPrefix(item.Key, prefix) {
			found = append(found, item.Key)
		}
	}
	slices.Sort(found)
	return found
}

// damage replaces what key holds.
func damage(t testing.TB, s *Store, key string, change func([]byte) []byte) {
	t.Helper()
	e, err := s.bucket.leader(t.Context(), key)
	if err == nil {
		err = s.bucket.put(t.Context(), key, change(bytes.Clone(e.data)))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func flip(b []byte) []byte { b[len(b)/2] ^= 4; return b }

func shorten(b []byte) []byte { return b[:len(b)*2/3] }

func newer(b []byte) []byte { b[magicSize-1]++; return b }
