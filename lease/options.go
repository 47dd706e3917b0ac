package lease

import (
	"cmp"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/tidemark-es/tidemark/timeframe"
)

// Options of a Manager. App and JetStream are required; the zero value of
// everything else is a good default.
type Options struct {
	App       string              // scopes the bucket, <App>_leases
	JetStream jetstream.JetStream // never closed
	APIPrefix string              // of JetStream requests; default "$JS.API"
	Replicas  int                 // of the bucket where it is made; default 1
	Memory    bool                // keep the bucket in memory where it is made

	// Owner says, for people, who holds a lease. Default: host name and
	// process ID.
	Owner string
	// Session names the period in which this process has a server to itself,
	// as the one that is embedded in it, whose directory is locked: a holder
	// of another session is known to be gone, and needn't be waited for.
	// Empty, the default, for a server that several processes use.
	Session string
	// TTL is how long a lease is held without a sign of life (default 10 s,
	// at least 100 ms). It should be longer than the election of a new leader
	// takes on a cluster.
	TTL time.Duration
	// Timeout of one request to the server (default 5 s).
	Timeout time.Duration

	Logger zerolog.Logger // default: silent
}

// heartbeat is how often a lease is renewed, and asked for.
func (o Options) heartbeat() time.Duration { return o.TTL / 3 }

func (o Options) withDefaults() Options {
	o.TTL = cmp.Or(o.TTL, 10*time.Second)
	o.Timeout = cmp.Or(o.Timeout, 5*time.Second)
	if o.Owner == "" {
		host, _ := os.Hostname()
		o.Owner = fmt.Sprintf("%s/%d", cmp.Or(host, "?"), os.Getpid())
	}
	return o
}

// validate reports all problems at once.
func (o Options) validate() error {
	var p []string
	if err := timeframe.ValidName(o.App); err != nil {
		p = append(p, fmt.Sprintf("App: %v", err))
	}
	if o.JetStream == nil {
		p = append(p, "JetStream is required")
	}
	if o.TTL < 100*time.Millisecond {
		p = append(p, fmt.Sprintf("TTL: %s is below 100 ms", o.TTL))
	}
	if o.Timeout < time.Millisecond {
		p = append(p, fmt.Sprintf("Timeout: %s is below 1 ms", o.Timeout))
	}
	if o.Replicas < 0 || o.Replicas > 5 {
		p = append(p, fmt.Sprintf("Replicas: %d is not in 0..5", o.Replicas))
	}
	if p == nil {
		return nil
	}
	return fmt.Errorf("lease: options: %w: %s", ErrInvalid, strings.Join(p, "; "))
}
