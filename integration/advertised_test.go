//go:build integration

package integration

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/endtest"
	"github.com/tidemark-es/tidemark/internal/natstest"
)

// A cluster behind a load balancer names addresses to its clients that swallow
// whatever is sent there: as fast as without them a feed is opened and takes
// appends, also when the connection is cut, again and again.
func TestAdvertisedBlackHoles(t *testing.T) {
	ctx := limited(t, 2*time.Minute)
	cluster := natstest.StartClusterAs(t, 3, func(int) string {
		return fmt.Sprintf("client_advertise: %q", blackHole(t))
	})
	const feeds, cuts, slack = 3, 3, time.Second
	balancer := endtest.NewProxy(t, cluster.Servers[0].Host())
	log := must(eventlog.Open(ctx, eventlog.Options{App: "nat", URL: balancer.URL(), Replicas: 3}))(t)
	defer log.Close()
	var books []*eventlog.Feed
	for i := range feeds {
		begun := time.Now()
		books = append(books, must(log.Feed(ctx, fmt.Sprint("book-", i), eventlog.Type[added]("added")))(t))
		if took := time.Since(begun); took > 2*time.Second {
			t.Errorf("opening feed %d took %v", i, took)
		}
	}
	if got := len(log.Conn().DiscoveredServers()); got != 3 {
		t.Fatalf("%d addresses were discovered, want 3: this test shows nothing", got)
	}
	for cut := range cuts {
		var slowest time.Duration
		for n := range 20 {
			for _, book := range books {
				begun := time.Now()
				if _, err := book.AppendDraft(ctx, draft("w", 20*cut+n+1, 1, 1)); err != nil {
					t.Errorf("append %d after %d cuts: %v", n, cut, err)
				}
				slowest = max(slowest, time.Since(begun))
			}
			if n == 10 {
				balancer.Cut()
			}
		}
		t.Logf("cut %d: the slowest append took %v", cut, slowest)
		if slowest > 2*time.Second+slack {
			t.Errorf("cut %d: an append took %v", cut, slowest)
		}
	}
}

// blackHole is an address that takes connections and says nothing.
func blackHole(t *testing.T) string {
	t.Helper()
	l := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	go func() {
		var taken []net.Conn
		for {
			c, err := l.Accept()
			if err != nil {
				break
			}
			taken = append(taken, c)
		}
		for _, c := range taken {
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}
