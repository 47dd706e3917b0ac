package eventlog

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
	"github.com/tidemark-es/tidemark/internal/problem"
	"github.com/tidemark-es/tidemark/internal/storable"
	"github.com/tidemark-es/tidemark/timeframe"
)

// Options say which log to open. App and exactly one of Dir, Memory, URL and
// Conn are required; the zero value of everything else is a good default.
type Options struct {
	// App scopes everything that the application stores: stream and subject
	// names begin with it. Lower-case letters, digits and '-', at most 64.
	App string

	// Dir runs NATS inside this process and keeps its files in this
	// directory, which is made when it is missing. A relative one is below the
	// working directory that the process has when Open is called. One Log at a
	// time has it open, in all processes.
	Dir string
	// Memory runs NATS inside this process and keeps everything in memory:
	// for tests. Nothing survives Close.
	Memory bool
	// URL connects to a server or cluster that runs elsewhere, such as
	// "nats://host:4222"; several are separated by commas.
	URL string
	// Conn uses a connection of yours. Close leaves it open. While the log is
	// open it hears, before your error handler, which permissions are missing:
	// set yours before Open.
	Conn *nats.Conn

	// User and Password, Token, CredentialsFile, NKeySeedFile, and TLS say
	// who connects to URL. At most one way of the first four. With Listen, User
	// and Password, Token, and TLS (a server's configuration) say who may
	// connect, and how.
	User, Password  string
	Token           string
	CredentialsFile string
	NKeySeedFile    string
	TLS             *tls.Config
	// NATS are further options of the connection to URL.
	NATS []nats.Option
	// Domain is the JetStream domain, where the servers have one.
	Domain string

	// Listen makes the embedded server listen on this "host:port" as well,
	// for the nats command line and other processes (port -1: any free one).
	// A host that other machines can reach needs User and Password, or Token:
	// whoever connects may read and write all that the directory holds.
	// Default: it can't be reached from outside this process.
	Listen string
	// SyncInterval is how often the embedded server brings what it has
	// acknowledged to the disk (default 250 ms): what a power failure may
	// take. The end of the process alone takes nothing.
	SyncInterval time.Duration
	// SyncAlways makes the embedded server do that before each
	// acknowledgement, at the price of one fsync a commit.
	SyncAlways bool
	// MaxPayload is the largest message that the embedded server takes, in
	// bytes (default 1 MiB, at most 32 MiB, which is what its store takes).
	MaxPayload int

	// MaxDecoded is the most memory, in bytes, that decoding one event or one row
	// may take (default 256 MiB, at least 64 KiB): its arrays and maps, each with
	// the size of the elements that it says it has, and what its pointers point
	// to. So a few damaged or hostile bytes can't end the process. In JSON and in
	// codecs of your own it bounds the bytes that are decoded.
	MaxDecoded int

	// Replicas is how many servers of a cluster keep each new stream
	// (default 1, at most 5).
	Replicas int
	// FeedMaxBytes and BucketMaxBytes are how many bytes the stream of a new feed,
	// and that of each new bucket (registers and snapshots, and others that are
	// made through Log.JetStream and say nothing), may hold (default: no limit).
	// Accounts with max_bytes_required want both, and reserve the sum. What is
	// full refuses to take more (ErrFull).
	FeedMaxBytes, BucketMaxBytes int64
	// DuplicateWindow is how long the stream of a new feed recognises the ID
	// of a commit that is sent again by itself (default 30 s, at least
	// 100 ms); older ones are found in the log. It costs the server about 200
	// bytes an append.
	DuplicateWindow time.Duration
	// MaxInFlight is how many commits of a feed may wait for the server's
	// acknowledgement (default 4,096); beyond, appends wait.
	MaxInFlight int
	// RequestTimeout bounds one question to the server (default 5 s).
	RequestTimeout time.Duration
	// ResolveTimeout bounds how long an append whose acknowledgement is
	// missing is looked for and sent again (default 20 s, always below
	// DuplicateWindow, and at most two thirds of the window that the feed's
	// stream has) before it is an ErrAmbiguous. It bounds the search for an
	// ID in its key's history, too.
	ResolveTimeout time.Duration

	// StartTimeout bounds the start of the embedded server, which reads its
	// store after a crash (default 30 s, and a second more for each 16 MiB in
	// Dir). Open's context bounds it too.
	StartTimeout time.Duration
	// CloseTimeout bounds Log.Close, beyond the ResolveTimeout that appends in
	// flight may take (default 15 s). Then Close returns an ErrStuck, and the
	// directory of an embedded log stays locked until the process ends.
	CloseTimeout time.Duration

	// Logger is silent unless set.
	Logger zerolog.Logger
}

func (o Options) embedded() bool { return o.Dir != "" || o.Memory }

func (o Options) withDefaults() Options {
	o.SyncInterval = cmp.Or(o.SyncInterval, 250*time.Millisecond)
	o.MaxPayload = cmp.Or(o.MaxPayload, 1<<20)
	o.MaxDecoded = cmp.Or(o.MaxDecoded, storable.DefaultMemory)
	o.Replicas = cmp.Or(o.Replicas, 1)
	o.DuplicateWindow = cmp.Or(o.DuplicateWindow, 30*time.Second)
	o.MaxInFlight = cmp.Or(o.MaxInFlight, 4096)
	o.RequestTimeout = cmp.Or(o.RequestTimeout, 5*time.Second)
	o.CloseTimeout = cmp.Or(o.CloseTimeout, 15*time.Second)
	o.ResolveTimeout = cmp.Or(o.ResolveTimeout, min(20*time.Second, o.DuplicateWindow*2/3))
	return o
}

// absolute makes paths independent of the working directory, which the program
// may change while the log is open: the server opens its files as it needs
// them, and nats.go reads credentials at each reconnect.
func (o *Options) absolute() error {
	for _, p := range []*string{&o.Dir, &o.CredentialsFile, &o.NKeySeedFile} {
		if *p == "" {
			continue
		}
		abs, err := filepath.Abs(*p)
		if err != nil {
			return fmt.Errorf("eventlog: options: %w: %q can't be made absolute: %w", ErrInvalid, *p, err)
		}
		*p = abs
	}
	return nil
}

// validate reports everything that is wrong, not just the first.
func (o Options) validate() error {
	var p problem.List
	if err := timeframe.ValidName(o.App); err != nil {
		p.Add("App: %v", err)
	}
	if n := count(o.Dir != "", o.Memory, o.URL != "", o.Conn != nil); n != 1 {
		p.Add("give exactly one of Dir, Memory, URL and Conn (got %d)", n)
	}
	if n := count(o.User != "" || o.Password != "", o.Token != "", o.CredentialsFile != "", o.NKeySeedFile != ""); n > 1 {
		p.Add("give at most one of User and Password, Token, CredentialsFile, NKeySeedFile")
	} else if o.URL == "" && (o.CredentialsFile != "" || o.NKeySeedFile != "" || len(o.NATS) > 0) {
		p.Add("CredentialsFile, NKeySeedFile and NATS need URL")
	} else if o.URL == "" && o.Listen == "" && (n > 0 || o.TLS != nil) {
		p.Add("User, Password, Token and TLS need URL or Listen")
	}
	if o.Listen != "" {
		if host, port, err := net.SplitHostPort(o.Listen); err != nil {
			p.Add("Listen: %v", err)
		} else if !loopback(host) && o.Password == "" && o.Token == "" {
			p.Add("Listen: %q can be reached by other machines: say who may connect by User and Password, or Token, or listen on 127.0.0.1", o.Listen)
		} else if n, err := strconv.Atoi(port); err != nil || n < -1 || n == 0 || n > 65535 {
			p.Add("Listen: port %q is not in 1..65535, or -1", port)
		}
		if !o.embedded() {
			p.Add("Listen needs Dir or Memory")
		}
	}
	for _, d := range []struct {
		name string
		d    time.Duration
	}{{"SyncInterval", o.SyncInterval}, {"RequestTimeout", o.RequestTimeout}, {"ResolveTimeout", o.ResolveTimeout}, {"CloseTimeout", o.CloseTimeout}} {
		if d.d < time.Millisecond {
			p.Add("%s: %v is below 1 ms", d.name, d.d)
		}
	}
	if o.StartTimeout < 0 {
		p.Add("StartTimeout: %v is negative", o.StartTimeout)
	}
	if o.DuplicateWindow < 100*time.Millisecond {
		p.Add("DuplicateWindow: %v is below 100 ms, the server's least", o.DuplicateWindow)
	}
	if o.ResolveTimeout >= o.DuplicateWindow {
		p.Add("ResolveTimeout (%v) must be below DuplicateWindow (%v): a commit sent again later would not be recognised", o.ResolveTimeout, o.DuplicateWindow)
	}
	if o.Replicas < 1 || o.Replicas > 5 {
		p.Add("Replicas: %d is not in 1..5", o.Replicas)
	} else if o.Replicas > 1 && o.embedded() {
		p.Add("Replicas: an embedded server keeps 1")
	}
	if o.FeedMaxBytes < 0 || o.BucketMaxBytes < 0 {
		p.Add("FeedMaxBytes, BucketMaxBytes: %d, %d: not below 0", o.FeedMaxBytes, o.BucketMaxBytes)
	}
	if o.MaxInFlight < 1 {
		p.Add("MaxInFlight: %d is below 1", o.MaxInFlight)
	}
	if o.MaxDecoded < 64<<10 {
		p.Add("MaxDecoded: %d is below 64 KiB", o.MaxDecoded)
	}
	if o.MaxPayload < 1<<10 || o.MaxPayload > 32<<20 {
		p.Add("MaxPayload: %d is not in 1 KiB..32 MiB: the server's store takes no larger message", o.MaxPayload)
	}
	return p.Err("eventlog: options", ErrInvalid)
}

// loopback says whether a host is this machine's alone.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func count(bs ...bool) (n int) {
	for _, b := range bs {
		if b {
			n++
		}
	}
	return n
}
