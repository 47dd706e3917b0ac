package eventlog

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/gofrs/flock"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/rs/zerolog"
)

// lockFile keeps a second Log from opening the same directory: the server
// itself would let it, and the two would ruin each other's files. The
// operating system drops the lock when the process ends, however it ends.
const lockFile = "tidemark.lock"

// embedded is a server inside this process.
type embedded struct {
	srv  *server.Server
	lock *flock.Flock
	temp string // directory to remove at the end; memory storage needs one too

	failed chan storeFailure // a stream that can't be written any more
}

// storeFailure is what the server logs, and tells nobody else, when a write to
// a stream's files fails: from then on it leaves all appends to it unanswered,
// until it is started anew.
type storeFailure struct{ stream, why string }

// storeFailureFormat is the server's (server/stream.go); a test holds it.
const storeFailureFormat = "JetStream stream '%s > %s' critical write error: %v"

func startEmbedded(ctx context.Context, o Options) (_ *embedded, err error) {
	e := &embedded{failed: make(chan storeFailure, 16)}
	defer func() {
		if err != nil {
			e.stop()
		}
	}()
	dir := o.Dir
	if o.Memory {
		if dir, err = os.MkdirTemp("", "tidemark-"); err != nil {
			return nil, fmt.Errorf("eventlog: a directory for the memory log: %w", err)
		}
		e.temp = dir
	} else if err := e.acquire(dir); err != nil {
		return nil, err
	}
	cfg, err := serverOptions(o, dir)
	if err != nil {
		return nil, err
	}
	if e.srv, err = server.NewServer(cfg); err != nil {
		return nil, fmt.Errorf("eventlog: embedded server: %w", err)
	}
	logger := &serverLogger{log: o.Logger, failed: e.failed}
	e.srv.SetLoggerV2(logger, false, false, false)
	e.srv.Start()
	// An empty store is ready in milliseconds; after a crash the server
	// reads every block of every stream first, at about a million messages
	// a second.
	for !e.srv.ReadyForConnections(100 * time.Millisecond) {
		if fatal := logger.fatal.Load(); fatal != nil {
			return nil, fmt.Errorf("eventlog: embedded server in %s: %w: %s", dir, ErrUnavailable, *fatal)
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("eventlog: embedded server in %s: %w: it did not get ready: %w", dir, ErrUnavailable, context.Cause(ctx))
		}
	}
	if !e.srv.JetStreamEnabled() {
		return nil, fmt.Errorf("eventlog: embedded server in %s: %w: JetStream did not start (the reason is in its log: set Options.Logger)", dir, ErrUnavailable)
	}
	return e, nil
}

func (e *embedded) acquire(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("eventlog: directory of the log: %w", err)
	}
	lock := flock.New(filepath.Join(dir, lockFile), flock.SetPermissions(0o600))
	ok, err := lock.TryLock()
	switch {
	case err != nil:
		return fmt.Errorf("eventlog: lock of %s: %w", dir, err)
	case !ok:
		return fmt.Errorf("eventlog: %s: %w: another process, or another Log here, has it open; stop that one, or let both connect to one server by URL", dir, ErrInUse)
	}
	e.lock = lock
	return nil
}

func serverOptions(o Options, dir string) (*server.Options, error) {
	cfg := &server.Options{
		ServerName:   "tidemark-" + o.App,
		DontListen:   true,
		NoSigs:       true,
		NoLog:        false,
		JetStream:    true,
		StoreDir:     dir,
		SyncInterval: o.SyncInterval,
		SyncAlways:   o.SyncAlways,
		MaxPayload:   int32(o.MaxPayload),
		// The pending limit of a connection has to hold a few messages of
		// the largest size, and what several readers asked for (tailBytes).
		MaxPending:             max(4*server.MAX_PENDING_SIZE, int64(o.MaxPayload)*8),
		DisableJetStreamBanner: true,
	}
	if o.Listen != "" {
		host, port, err := net.SplitHostPort(o.Listen)
		if err != nil {
			return nil, fmt.Errorf("eventlog: Listen: %w", err)
		}
		n, err := strconv.Atoi(port)
		if err != nil {
			return nil, fmt.Errorf("eventlog: Listen: port %q: %w", port, errors.Unwrap(err))
		}
		cfg.DontListen, cfg.Host, cfg.Port = false, host, n
	}
	return cfg, nil
}

// streamDir is where the server keeps a stream.
func (e *embedded) streamDir(stream string) string {
	return filepath.Join(e.srv.JetStreamConfig().StoreDir, server.DEFAULT_GLOBAL_ACCOUNT, "streams", stream)
}

// stop ends the server in an orderly way: it writes its indexes, so that the
// next start needn't read the blocks.
func (e *embedded) stop() {
	if e.srv != nil {
		e.srv.Shutdown()
		e.srv.WaitForShutdown()
	}
	if e.lock != nil {
		// The file stays: removing it would let two processes hold locks on
		// two files of the same name.
		_ = e.lock.Unlock()
	}
	if e.temp != "" {
		_ = os.RemoveAll(e.temp)
	}
}

// serverLogger hands the server's log lines to the application's logger. Its
// notices are of interest to operators of servers, so they are debug here.
type serverLogger struct {
	log   zerolog.Logger
	fatal atomic.Pointer[string] // the first one

	failed chan<- storeFailure
}

func (l *serverLogger) Noticef(format string, v ...any) { l.log.Debug().Msgf("nats: "+format, v...) }
func (l *serverLogger) Debugf(format string, v ...any)  { l.log.Trace().Msgf("nats: "+format, v...) }
func (l *serverLogger) Tracef(format string, v ...any)  { l.log.Trace().Msgf("nats: "+format, v...) }

// Warnf leaves out that a reader didn't want the rest of a backup.
func (l *serverLogger) Warnf(format string, v ...any) {
	if format == backupEndedFormat && fmt.Sprint(v[len(v)-1]) == backupUnwanted {
		return
	}
	l.log.Warn().Msgf("nats: "+format, v...)
}

// The server's words (server/jetstream_api.go); a test holds them.
const (
	backupEndedFormat = "Snapshot for stream '%s > %s' failed after %v: %s"
	backupUnwanted    = "no interest"
)

func (l *serverLogger) Errorf(format string, v ...any) {
	l.log.Error().Msgf("nats: "+format, v...)
	if format == storeFailureFormat && len(v) == 3 {
		select { // the server holds locks here
		case l.failed <- storeFailure{stream: fmt.Sprint(v[1]), why: fmt.Sprint(v[2])}:
		default:
		}
	}
}

// Fatalf must not end the application's process, as the server would.
func (l *serverLogger) Fatalf(format string, v ...any) {
	why := fmt.Sprintf(format, v...)
	l.fatal.CompareAndSwap(nil, &why)
	l.log.Error().Msg("nats: " + why)
}
