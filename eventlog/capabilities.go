package eventlog

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// ErrUnsupported: the server that leads the stream can't do what was asked for.
// Nothing was done.
var ErrUnsupported = errors.New("not supported by the server")

// UnsupportedError is an ErrUnsupported.
type UnsupportedError struct {
	Feed    string // "" where it is about the server as a whole
	What    string // "transactions and tags"
	Needs   string // a version, "2.12"
	Version string // the server's
}

func (e *UnsupportedError) Error() string {
	at := "eventlog"
	if e.Feed != "" {
		at += fmt.Sprintf(": feed %q", e.Feed)
	}
	return fmt.Sprintf("%s: %s: %v: it is nats-server %s, and %s or later is needed (docs/compatibility.md)", at, e.What, ErrUnsupported, e.Version, e.Needs)
}

func (e *UnsupportedError) Unwrap() error { return ErrUnsupported }

// release is a server's version, as far as anything depends on it.
type release struct{ major, minor int }

// The releases that brought what is used here.
var (
	releaseOldest  = release{2, 10} // metadata of streams
	releaseDirect  = release{2, 11} // batches of direct gets
	releaseAtomic  = release{2, 12} // atomic batches
	releaseIngest  = release{2, 14} // fast ingest
	releaseArchive = release{2, 15} // backups as archives of messages
)

// releaseOf reads "2.12.15", with whatever stands after the minor version. A
// version that can't be read is taken for the oldest: so nothing is asked of a
// server that it might take for something else.
func releaseOf(version string) release {
	major, rest, _ := strings.Cut(strings.TrimPrefix(version, "v"), ".")
	minor, _, _ := strings.Cut(rest, ".")
	a, errA := strconv.Atoi(major)
	b, errB := strconv.Atoi(minor)
	if errA != nil || errB != nil {
		return releaseOldest
	}
	return release{a, b}
}

func (r release) atLeast(o release) bool {
	return r.major > o.major || r.major == o.major && r.minor >= o.minor
}

func (r release) String() string { return fmt.Sprintf("%d.%d", r.major, r.minor) }

// capabilities is what can be done with a feed's stream: the one value that
// all code asks. It is made of the configuration as the stream's leader returns
// it, and of that server's version, and made again with each answer: after a
// reconnect or a change of leaders another server may speak. No client can
// learn the oldest server of a cluster, so nothing is taken for granted that
// the leader doesn't return.
type capabilities struct {
	version string  // of the server that leads the stream
	release release // of it
	// atomic: the stream takes atomic batches; ingest: fast ones. A server that
	// doesn't know a setting doesn't return it.
	atomic, ingest bool
}

// versionKey is where a server says its version, in the metadata of each stream
// that it returns (since 2.11).
const versionKey = "_nats.ver"

// capabilitiesOf makes them of a stream's configuration; connected is the
// version of the server that the log is connected to.
func capabilitiesOf(c jetstream.StreamConfig, connected string) capabilities {
	version := c.Metadata[versionKey]
	if version == "" {
		version = connected
		if releaseOf(version).atLeast(releaseDirect) {
			version = releaseOldest.String() // the leader is older than this one
		}
	}
	r := releaseOf(version)
	return capabilities{
		version: version, release: r,
		atomic: c.AllowAtomicPublish && r.atLeast(releaseAtomic), ingest: c.AllowBatchPublish && r.atLeast(releaseIngest),
	}
}

// can is what the stream's leader can do as far as is known.
func (f *Feed) can() capabilities {
	if c := f.caps.Load(); c != nil {
		return *c
	}
	return capabilities{release: releaseOldest, version: releaseOldest.String()}
}

// unsupported says what the leader is too old for.
func (f *Feed) unsupported(what string, needs release) error {
	return &UnsupportedError{Feed: f.name, What: what, Needs: needs.String(), Version: f.can().version}
}

// allowAtomic makes sure that the stream takes atomic batches: a feed is created
// without, as the oldest server would create it, and the first transaction
// switches it on.
func (f *Feed) allowAtomic(ctx context.Context) error {
	if f.can().atomic {
		return nil
	}
	return f.allow(ctx, "transactions and tags", releaseAtomic, func(c *jetstream.StreamConfig) *bool { return &c.AllowAtomicPublish })
}

// allowIngest makes sure that the stream takes fast batches, as allowAtomic does.
func (f *Feed) allowIngest(ctx context.Context) error {
	if f.can().ingest {
		return nil
	}
	return f.allow(ctx, "fast imports", releaseIngest, func(c *jetstream.StreamConfig) *bool { return &c.AllowBatchPublish })
}

// allow sets a setting of the stream that a release brought, and reads it back.
func (f *Feed) allow(ctx context.Context, what string, needs release, setting func(*jetstream.StreamConfig) *bool) error {
	f.allowing.Lock()
	defer f.allowing.Unlock()
	have, found, err := f.streamInfo(ctx)
	if err == nil && !found {
		err = ErrMissing
	}
	if err != nil {
		return f.serverError(ctx, "look at the settings", err)
	}
	f.learn(have)
	if !f.can().release.atLeast(needs) {
		return f.unsupported(what, needs)
	}
	if *setting(&have) {
		return nil
	}
	*setting(&have) = true
	if have, err = f.updateStream(ctx, have); err != nil {
		return f.serverError(ctx, "allow "+what, err)
	}
	f.learn(have)
	if !*setting(&have) {
		return f.unsupported(what, needs)
	}
	return nil
}

// learn takes what the stream's leader says about the stream.
func (f *Feed) learn(c jetstream.StreamConfig) {
	caps := capabilitiesOf(c, f.log.nc.ConnectedServerVersion())
	f.caps.Store(&caps)
}

// recentEnough refuses a server that is older than any that is supported.
func (l *Log) recentEnough() error {
	version := l.nc.ConnectedServerVersion()
	if version == "" || releaseOf(version).atLeast(releaseOldest) {
		return nil
	}
	return &UnsupportedError{What: "Tidemark", Needs: releaseOldest.String(), Version: version}
}
