package eventlog

import (
	"math/rand/v2"
	neturl "net/url"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// The problem: the servers of a cluster name addresses to their clients. Behind
// a load balancer, a NAT or in containers nobody may be there, and a dial waits
// in vain. nats.go tries what it was told about before the address that it was
// given, each for the whole timeout: 15 s of three servers, for every reader
// and append of the log.
//
// So an address that was given, or was connected to before, goes first; one
// that failed since it was last connected to goes last; and each has addressWait
// until the server's first byte, twice as long each time that it failed, so that
// a slow network is heard out. From the first byte on all is as nats.go has it.
//
// Rejected: leaving out what the servers name (nats.IgnoreDiscoveredServers),
// by which a client that was given one server survives the end of it.

const (
	addressWait   = time.Second // for one address to be connected to
	addressForget = time.Minute // the stream's leader isn't looked for at one that failed for so long
)

// reach is what a log knows of its servers' addresses. It is safe for
// concurrent use.
type reach struct {
	mu       sync.Mutex
	known    map[string]bool      // those that were given, or connected to, as host:port
	lost     string               // the one that the log's connection had, or tried, last
	patience time.Duration        // that the log's connection has with the next one; 0: as the options say
	names    map[string]string    // of servers, by URL
	failed   map[string]time.Time // when a second connection to a URL failed
}

func newReach() *reach {
	return &reach{known: map[string]bool{}, names: map[string]string{}, failed: map[string]time.Time{}}
}

// connected takes note of what the log's connection was given.
func (r *reach) connected(nc *nats.Conn) {
	named := map[string]bool{}
	for _, url := range nc.DiscoveredServers() {
		named[hostOf(url)] = true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lost = hostOf(nc.ConnectedUrl())
	for _, url := range nc.Servers() {
		if host := hostOf(url); !named[host] || host == r.lost {
			r.known[host] = true
		}
	}
}

// reconnected takes note of an address that is right.
func (r *reach) reconnected(url string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.known[hostOf(url)] = true
}

// heed has the log's connection ask which address it tries next, unless the
// user has a way of his own to tell it; it is the last of the options.
func (r *reach) heed(o *nats.Options) error {
	if d, ok := o.CustomDialer.(*unblockedDialer); ok && o.ReconnectToServerCB == nil {
		d.wait, o.ReconnectToServerCB = r.wait, r.choose(o)
	}
	return nil
}

func hostOf(url string) string {
	u, err := neturl.Parse(url)
	if err != nil {
		return ""
	}
	return u.Host
}

// choose is for nats.ReconnectToServer; the waits are those of the options.
func (r *reach) choose(o *nats.Options) nats.ReconnectToServerHandler {
	jitter := o.ReconnectJitter
	if o.Secure || o.TLSConfig != nil {
		jitter = o.ReconnectJitterTLS
	}
	pause, most := o.ReconnectWait, o.Timeout
	own := o.CustomReconnectDelayCB
	return func(servers []nats.Server, _ nats.ServerInfo) (*nats.Server, time.Duration) {
		r.mu.Lock()
		defer r.mu.Unlock()
		i := nextServer(servers, r.known, r.lost)
		if i < 0 {
			return nil, 0
		}
		s := &servers[i]
		again := s.Reconnects > 0 || s.URL.Host == r.lost
		r.lost = s.URL.Host
		r.patience = min(most, addressWait<<min(s.Reconnects, 10))
		switch {
		case !again:
			return s, 0
		case own != nil:
			return s, own(s.Reconnects + 1)
		case jitter > 0:
			return s, pause + rand.N(jitter)
		}
		return s, pause
	}
}

// nextServer is the place of the address to try: the one that failed least
// since it was last connected to; of those, one that is known to be right; of
// those, another than was lost just now.
func nextServer(servers []nats.Server, known map[string]bool, lost string) int {
	type rank [3]int
	rankOf := func(s nats.Server) (k rank) {
		k[0] = s.Reconnects
		if !known[s.URL.Host] {
			k[1] = 1
		}
		if s.URL.Host == lost {
			k[2] = 1
		}
		return k
	}
	best := -1
	var least rank
	for i, s := range servers {
		if s.URL == nil {
			continue
		}
		k := rankOf(s)
		if best < 0 || k[0] < least[0] || k[0] == least[0] && (k[1] < least[1] || k[1] == least[1] && k[2] < least[2]) {
			best, least = i, k
		}
	}
	return best
}

// wait is the patience with the address that the log's connection dials now.
func (r *reach) wait() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.patience
}

// mayLead says whether a URL may be the named server's, as far as is known.
func (r *reach) mayLead(url, name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	known, ok := r.names[url]
	return (!ok || known == name) && time.Since(r.failed[url]) >= addressForget
}

// tried takes note of a second connection's server, "" where there was none.
func (r *reach) tried(url, name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if name == "" {
		r.failed[url] = time.Now()
		delete(r.names, url)
		return
	}
	r.names[url] = name
	r.known[hostOf(url)] = true
}
