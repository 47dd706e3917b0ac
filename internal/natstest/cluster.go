package natstest

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

// Cluster is several servers that replicate streams among each other.
type Cluster struct {
	t       testing.TB
	Servers []*Server
}

// StartCluster starts n servers and returns when they have elected a leader,
// all are ready, and streams of n replicas can be made.
func StartCluster(t testing.TB, n int) *Cluster {
	t.Helper()
	return StartClusterAs(t, n, func(int) string { return "" })
}

// StartClusterAs is StartCluster with more configuration for each server, which
// is numbered from 0.
func StartClusterAs(t testing.TB, n int, conf func(i int) string) *Cluster {
	t.Helper()
	c := &Cluster{t: t}
	routes := make([]string, n)
	ports := make([]int, n)
	for i := range n {
		ports[i] = freePort(t)
		routes[i] = "nats-route://" + Loopback(ports[i])
	}
	for i := range n {
		cluster := fmt.Sprintf("cluster { name: natstest, listen: %q, routes: [%s] }", Loopback(ports[i]), strings.Join(routes, ", "))
		s := prepare(t, fmt.Sprintf("n%d", i+1), "", freePort(t), cluster, conf(i))
		c.Servers = append(c.Servers, s)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("Raft groups that commit nothing: %q", c.Stalled())
		}
	})
	for _, s := range c.Servers {
		s.launch()
	}
	c.awaitMetaLeader()
	for _, s := range c.Servers {
		s.awaitReady()
	}
	if err := AwaitPlacement(t.Context(), c.URL(), n); err != nil {
		t.Fatal(err)
	}
	return c
}

// URL names all servers, for clients.
func (c *Cluster) URL() string {
	urls := make([]string, len(c.Servers))
	for i, s := range c.Servers {
		urls[i] = s.URL()
	}
	return strings.Join(urls, ",")
}

// Restart starts servers that were stopped or killed, all at the same time,
// since one alone of a cluster doesn't get ready, and returns when all are.
func (c *Cluster) Restart(servers ...*Server) {
	c.t.Helper()
	c.Launch(servers...)
	for _, s := range servers {
		s.awaitReady()
	}
}

// Launch is Restart without waiting: servers whose files were changed may never
// say that they are ready.
func (c *Cluster) Launch(servers ...*Server) {
	c.t.Helper()
	for _, s := range servers {
		s.launch()
	}
}

// awaitMetaLeader waits until the servers agree on who decides where streams
// go. Until then a server accepts connections and answers nothing about
// streams.
func (c *Cluster) awaitMetaLeader() {
	c.t.Helper()
	err := poll(c.t.Context(), patience, func(ctx context.Context) error {
		leaders := make(map[string]bool)
		for _, s := range c.Servers {
			info, err := s.jsInfo(ctx)
			if err != nil {
				return fmt.Errorf("server %s: %w", s.name, err)
			}
			if info.Meta == nil || info.Meta.Leader == "" || info.Meta.Size != len(c.Servers) {
				return fmt.Errorf("server %s knows no leader yet", s.name)
			}
			leaders[info.Meta.Leader] = true
		}
		if len(leaders) != 1 {
			return fmt.Errorf("several leaders: %v", leaders)
		}
		return nil
	})
	if err != nil {
		c.t.Fatalf("cluster: %v", err)
	}
}

// Leader waits for a stream's leader among the servers that are up.
func (c *Cluster) Leader(stream string) *Server {
	c.t.Helper()
	var leader *Server
	err := poll(c.t.Context(), patience, func(ctx context.Context) error {
		last := fmt.Errorf("stream %s has no leader", stream)
		for _, s := range c.Servers {
			if s.process() == nil {
				continue
			}
			info, err := s.jsInfo(ctx)
			switch {
			case err != nil:
				last = err
			case info.leads(s.name, stream):
				leader = s
				return nil
			}
		}
		return last
	})
	if err != nil {
		c.t.Fatalf("cluster: %v", err)
	}
	return leader
}

// Stalled are the Raft groups that store nothing: no server leads them, or the
// one that does commits nothing of what it has for stalledFor. Servers whose
// files were set back may leave groups so for good: their leader's followers ask
// for entries that it has compacted, and refuse what it sends ("Expected first
// catchup entry to be a snapshot and peerstate").
func (c *Cluster) Stalled() (groups []string) {
	c.t.Helper()
	before := c.pending()
	<-time.After(stalledFor)
	for group, now := range c.pending() {
		if was, ok := before[group]; ok && was == now && now != nothingPending {
			groups = append(groups, group)
		}
	}
	slices.Sort(groups)
	return groups
}

const stalledFor = 5 * time.Second

// pending is, by group, how many entries its leader has committed, and one more;
// 0 where there is no leader, and nothingPending where it is all that it has.
// Servers that are down, or don't answer, say nothing.
func (c *Cluster) pending() map[string]uint64 {
	all := make(map[string]uint64)
	for _, s := range c.Servers {
		var answer map[string]map[string]struct {
			State     string `json:"state"`
			Committed uint64 `json:"committed"`
			Last      uint64 `json:"pindex"`
		}
		if s.process() == nil || s.monitored(context.Background(), "/raftz?acc=$G", &answer) != nil {
			continue
		}
		for group, is := range answer["$G"] {
			led := all[group]
			switch {
			case is.State == "LEADER" && is.Committed >= is.Last:
				led = nothingPending
			case is.State == "LEADER" && led != nothingPending:
				led = is.Committed + 1
			}
			all[group] = led
		}
	}
	return all
}

const nothingPending = math.MaxUint64
