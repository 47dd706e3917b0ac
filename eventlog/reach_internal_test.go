package eventlog

import (
	"context"
	"net"
	neturl "net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// Which address is tried next, in a pool that is written as "host/failures".
func TestNextServer(t *testing.T) {
	for _, c := range []struct{ pool, known, lost, want string }{
		{"a/0 b/0 c/0", "a", "a", "a"},     // given, and told about two others
		{"b/0 a/0 c/0", "a", "a", "a"},     // in whatever order
		{"a/1 b/0 c/0", "a", "a", "b"},     // it fails
		{"a/1 b/1 c/0", "a", "b", "c"},     // the others, too
		{"a/1 b/1 c/1", "a", "c", "a"},     // and round
		{"a/0 b/1 c/1", "a", "a", "a"},     // once it was back, they aren't tried first
		{"a/0 b/0 c/0", "a b c", "a", "b"}, // all are right: another than the one that broke
		{"a/0 b/0 c/0", "a c", "a", "c"},
		{"a/3 b/2 c/2", "a", "b", "c"}, // none of the unknown ones before the other
		{"", "", "", ""},
	} {
		var servers []nats.Server
		for s := range strings.FieldsSeq(c.pool) {
			host, n, _ := strings.Cut(s, "/")
			servers = append(servers, nats.Server{URL: &neturl.URL{Host: host}, Reconnects: int(n[0] - '0')})
		}
		known := map[string]bool{}
		for k := range strings.FieldsSeq(c.known) {
			known[k] = true
		}
		got := ""
		if i := nextServer(servers, known, c.lost); i >= 0 {
			got = servers[i].URL.Host
		}
		if got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

// Each time that an address failed it gets twice as long, up to the timeout,
// and a pause goes before what isn't tried for the first time.
func TestReconnectPatience(t *testing.T) {
	r := newReach()
	r.known["a"] = true
	o := nats.Options{Timeout: 5 * time.Second, ReconnectWait: 100 * time.Millisecond}
	choose := r.choose(&o)
	var waits []time.Duration
	for n := range 5 {
		s, pause := choose([]nats.Server{{URL: &neturl.URL{Host: "a"}, Reconnects: n}}, nats.ServerInfo{})
		if s == nil || (pause == 0) != (n == 0) {
			t.Errorf("try %d: %v, pause %v", n, s, pause)
		}
		waits = append(waits, r.wait())
	}
	if want := []time.Duration{1e9, 2e9, 4e9, 5e9, 5e9}; !slices.Equal(waits, want) {
		t.Errorf("%v, want %v", waits, want)
	}
	o.CustomReconnectDelayCB = func(tries int) time.Duration { return time.Duration(tries) * time.Hour }
	if _, pause := r.choose(&o)([]nats.Server{{URL: &neturl.URL{Host: "a"}, Reconnects: 2}}, nats.ServerInfo{}); pause != 3*time.Hour {
		t.Errorf("the user's wait: %v", pause)
	}
}

// silence is an address that takes connections and says nothing.
func silence(t *testing.T) (address string, taken *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	taken = new(atomic.Int64)
	go func() {
		var conns []net.Conn
		for {
			c, err := l.Accept()
			if err != nil {
				break
			}
			conns = append(conns, c)
			taken.Add(1)
		}
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	return l.Addr().String(), taken
}

// The stream's leader is looked for at each address for a moment, and then not
// again there for a while, by any feed of the log; on the caller's connection
// too.
func TestLeaderIsLookedForOnce(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for two addresses to time out: run without -short")
	}
	s := listening(t, nil)
	hole, taken := silence(t)
	urls := s.ClientURL() + ",nats://" + hole
	for i, o := range []Options{{URL: urls, NATS: []nats.Option{nats.DontRandomize()}}, {}} {
		if o.URL == "" {
			nc, err := nats.Connect(urls, nats.DontRandomize())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(nc.Close)
			o.Conn = nc
		}
		f := openedAt(t, o)
		other, err := f.log.Feed(t.Context(), "others", Type[goldenOpened]("opened"))
		if err != nil {
			t.Fatal(err)
		}
		over, cancel := context.WithCancel(t.Context())
		cancel()
		begun := time.Now()
		for _, c := range []struct {
			ctx context.Context
			f   *Feed
		}{{over, f}, {t.Context(), f}, {t.Context(), f}, {t.Context(), other}} {
			if nc := c.f.connectTo(c.ctx, "nobody"); nc != nil {
				t.Errorf("connected to %s", nc.ConnectedServerName())
			}
			if c.ctx == over && taken.Load() != int64(i) {
				t.Error("it was looked for after the context's end")
			}
		}
		if took := time.Since(begun); took > 4*addressWait || taken.Load() != int64(i+1) {
			t.Errorf("it took %v, the address was tried %d times", took, taken.Load())
		}
		nc := f.connectTo(t.Context(), s.Name())
		if nc == nil {
			t.Fatal("the server that is there isn't found any more")
		}
		nc.Close()
	}
}

// An address that begins to answer in time has all of the timeout for the rest.
func TestFirstByteInTime(t *testing.T) {
	ours, theirs := net.Pipe()
	defer theirs.Close()
	c := &unblockedConn{Conn: ours, first: time.Now().Add(-time.Second)}
	c.silent.Store(true)
	if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Fatal("it read something that nobody has written")
	}
	c.first = time.Now().Add(time.Minute)
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	go theirs.Write([]byte("INFO"))
	if n, err := c.Read(make([]byte, 1)); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if err := c.SetReadDeadline(time.Time{}); err != nil || c.silent.Load() {
		t.Fatal(err)
	}
	c.first = time.Now().Add(-time.Second) // it means nothing any more
	if n, err := c.Read(make([]byte, 1)); n != 1 || err != nil {
		t.Error(n, err)
	}
}
