package snapshot

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/tidemark-es/tidemark/internal/problem"
	"github.com/tidemark-es/tidemark/timeframe"
)

const (
	defaultKeep      = 3
	defaultChunkSize = 512 << 10
	defaultGrace     = time.Hour
	defaultTimeout   = 5 * time.Second

	minChunkSize = 1 << 10
	maxKeep      = 1 << 10

	// headerRoom is kept free below the server's maximum payload, for the
	// headers of a compare-and-set and what a leaf node may add.
	headerRoom = 4 << 10
)

// Options of [Open]. App and one of Conn and JetStream are required; every
// other zero value works.
type Options struct {
	App       string              // scopes the bucket, <App>_snapshots; as timeframe.ValidName allows
	Conn      *nats.Conn          // default: that of JetStream. Never closed by the store
	JetStream jetstream.JetStream // default: made from Conn and APIPrefix

	// APIPrefix of JetStream requests. Default: that of JetStream, else
	// "$JS.API".
	APIPrefix string

	Replicas int  // of the bucket where Open creates it: 1 (default) to 5
	Memory   bool // keep the bucket in memory where Open creates it

	// Keep is how many manifests of a unit the head retains, at least 2: the
	// one before is the fallback, and what the retry of a save stands on whose
	// outcome is unknown. A compaction adds a manifest of the same cut. Default 3.
	Keep int
	// KeepFor retains manifests beyond Keep for this long, so that states of
	// the past stay reachable (projection.Runtime.AsOf): at most about 100,
	// evenly spaced, thinned as they come. The log can't be trimmed beyond the
	// oldest that is retained, and a start reads them all, at some 50 µs each.
	// Ages are by the writer's clock. Default 0: Keep alone counts.
	KeepFor time.Duration
	// KeepBytes bounds, in bytes, the segments that the retained manifests of a
	// unit hold together: beyond it the oldest that KeepFor retains are let go,
	// never the newest Keep. A sweep removes the bytes, after Grace. Default
	// 0: no bound.
	KeepBytes uint64
	// ChunkSize is the greatest size of a chunk in bytes, at least 1 KiB.
	// Default: 512 KiB, or what the server's maximum payload leaves.
	ChunkSize int
	// Grace is the least age at which a sweep, by any process, removes what no
	// head refers to. A save is safe against sweeps if each of its chunks gets
	// from its write to the head's move within half of it. Default 1 hour.
	Grace time.Duration
	// Timeout of one request to the server. Default 5 s.
	Timeout time.Duration
	// Epoch of this writer: a save is refused with ErrFenced where the head
	// has a higher one. Default 0.
	Epoch uint64

	Logger zerolog.Logger // default: silent
	Hooks  Hooks
}

// withDefaults assumes valid options.
func (o Options) withDefaults() (Options, error) {
	if o.Conn == nil {
		o.Conn = o.JetStream.Conn()
	}
	if o.APIPrefix == "" && o.JetStream != nil {
		o.APIPrefix = prefixOf(o.JetStream.Options())
	}
	o.APIPrefix = strings.TrimSuffix(cmp.Or(o.APIPrefix, jetstream.DefaultAPIPrefix), ".")
	if o.JetStream == nil {
		js, err := jetstream.NewWithAPIPrefix(o.Conn, o.APIPrefix)
		if err != nil {
			return o, fmt.Errorf("snapshot: %w", err)
		}
		o.JetStream = js
	}
	o.Replicas = cmp.Or(o.Replicas, 1)
	o.Keep = cmp.Or(o.Keep, defaultKeep)
	o.Grace = cmp.Or(o.Grace, defaultGrace)
	o.Timeout = cmp.Or(o.Timeout, defaultTimeout)
	if o.ChunkSize == 0 {
		o.ChunkSize = min(defaultChunkSize, o.room())
	}
	o.Hooks = o.Hooks.withDefaults()
	return o, nil
}

func prefixOf(o jetstream.JetStreamOptions) string {
	if o.Domain != "" {
		return "$JS." + o.Domain + ".API"
	}
	return o.APIPrefix
}

// room is the greatest value that one message to the server may carry.
func (o Options) room() int { return int(o.Conn.MaxPayload()) - headerRoom }

// most is the greatest number of manifests that a head retains.
func (o Options) most() int {
	if o.KeepFor > 0 {
		return maxKeep
	}
	return o.Keep
}

// validate reports all problems at once.
func (o Options) validate() error {
	var p problem.List
	if err := timeframe.ValidName(o.App); err != nil {
		p.Add("App: %w", err)
	}
	if o.Conn == nil && o.JetStream == nil {
		p.Check(errors.New("one of Conn and JetStream is required"))
	}
	within(&p, "Replicas", o.Replicas, 0, 5)
	if o.Keep != 0 {
		within(&p, "Keep", o.Keep, 2, maxKeep)
	}
	if o.KeepBytes > 0 && o.KeepFor == 0 {
		p.Add("KeepBytes %d bounds what KeepFor retains: set that too", o.KeepBytes)
	}
	if o.Grace < 0 || o.Timeout < 0 || o.KeepFor < 0 {
		p.Add("Grace, Timeout and KeepFor can't be negative")
	}
	o.validateChunkSize(&p)
	return invalid("options", p)
}

func (o Options) validateChunkSize(p *problem.List) {
	if o.ChunkSize != 0 && o.ChunkSize < minChunkSize {
		p.Add("ChunkSize %d: at least %d", o.ChunkSize, minChunkSize)
	}
	conn := o.Conn
	if conn == nil && o.JetStream != nil {
		conn = o.JetStream.Conn()
	}
	if conn == nil {
		return
	}
	o.Conn = conn
	switch room := o.room(); {
	case room < minChunkSize:
		p.Add("the server's max_payload is %d bytes, and snapshots need %d: raise it", o.Conn.MaxPayload(), headerRoom+minChunkSize)
	case o.ChunkSize > room:
		p.Add("ChunkSize: %d is more than the %d that the server's max_payload leaves", o.ChunkSize, room)
	}
}

func within(p *problem.List, name string, got, low, high int) {
	if got < low || got > high {
		p.Add("%s %d: %d to %d", name, got, low, high)
	}
}
