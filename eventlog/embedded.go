package eventlog

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"unicode"
	"unicode/utf8"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/rs/zerolog"
)

// embedded is a server inside this process.
type embedded struct {
	srv   *server.Server
	lock  *dirLock // nil for a log in memory
	store string   // the server's directory of JetStream
	temp  string   // directory to remove at the end; memory storage needs one too

	failed   chan storeFailure // a stream that can't be written any more
	unwanted chan struct{}     // closed when nobody waits for the start any more
	stopped  chan struct{}     // closed when the server has ended
}

// storeFailure is what the server logs, and tells nobody else, when a write to
// a stream's files fails: from then on it leaves all appends to it unanswered,
// until it is started anew.
type storeFailure struct{ stream, why string }

// storeFailureFormat is the server's (server/stream.go); a test holds it.
const storeFailureFormat = "JetStream stream '%s > %s' critical write error: %v"

// takeDir is the directory that the server may use: locked, or a new one for
// a log in memory.
func (e *embedded) takeDir(o Options) (dir string, err error) {
	if o.Memory {
		if e.temp, err = os.MkdirTemp("", "tidemark-"); err != nil {
			return "", fmt.Errorf("eventlog: a directory for the memory log: %w", err)
		}
		return e.temp, nil
	}
	e.lock, err = lockDir(o.Dir)
	return o.Dir, err
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
		cfg.TLSConfig, cfg.TLS = o.TLS, o.TLS != nil
		if o.Password != "" || o.Token != "" {
			cfg.CustomClientAuthentication = door{o}
		}
	}
	return cfg, nil
}

// streamDir is where the server keeps a stream.
func (e *embedded) streamDir(stream string) string {
	return filepath.Join(e.store, server.DEFAULT_GLOBAL_ACCOUNT, "streams", stream)
}

// stop ends the server in an orderly way: it writes its indexes, so that the
// next start needn't read the blocks. It takes as long as the server does, and
// is called once.
func (e *embedded) stop() {
	defer close(e.stopped)
	if e.srv != nil {
		e.srv.Shutdown()
		e.srv.WaitForShutdown()
	}
	e.letGo()
}

// letGo gives the directory back.
func (e *embedded) letGo() {
	if e.lock != nil {
		e.lock.release()
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

func (l *serverLogger) Noticef(format string, v ...any) { l.log.Debug().Msg(oneLine(format, v...)) }
func (l *serverLogger) Debugf(format string, v ...any)  { l.log.Trace().Msg(oneLine(format, v...)) }
func (l *serverLogger) Tracef(format string, v ...any)  { l.log.Trace().Msg(oneLine(format, v...)) }

// oneLine is the server's text without characters that would forge lines or
// control a terminal: names and subjects in it are of whoever connects.
func oneLine(format string, v ...any) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return utf8.RuneError
		}
		return r
	}, "nats: "+fmt.Sprintf(format, v...))
}

// Warnf leaves out that a reader didn't want the rest of a backup.
func (l *serverLogger) Warnf(format string, v ...any) {
	if format == backupEndedFormat && fmt.Sprint(v[len(v)-1]) == backupUnwanted {
		return
	}
	l.log.Warn().Msg(oneLine(format, v...))
}

// The server's words (server/jetstream_api.go); a test holds them.
const (
	backupEndedFormat = "Snapshot for stream '%s > %s' failed after %v: %s"
	backupUnwanted    = "no interest"
)

func (l *serverLogger) Errorf(format string, v ...any) {
	l.log.Error().Msg(oneLine(format, v...))
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
	l.log.Error().Msg(oneLine("%s", why))
}

// door says who may connect to an embedded server that listens. Connections in
// this process needn't say who they are.
type door struct{ o Options }

func (d door) Check(c server.ClientAuthentication) bool {
	if c.RemoteAddress().Network() == "pipe" {
		return true
	}
	said := c.GetOpts()
	same := func(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
	if d.o.Token != "" {
		return same(said.Token, d.o.Token)
	}
	user, password := same(said.Username, d.o.User), same(said.Password, d.o.Password)
	return user && password
}
