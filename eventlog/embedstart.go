package eventlog

import (
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// The problem: the server's own calls have no context, and can take for ever.
// NewServer and Start read the store, and spin on some damaged ones; Shutdown
// waits for locks that a purge on a full disk never gives back. They hold
// files of the log's directory meanwhile.
//
// So each of them runs on a goroutine of its own, and whoever waits for it
// gives up: Open when its context ends or after Options.StartTimeout, Close
// after Options.CloseTimeout. What was given up by Open ends as soon as the
// server lets it, and then the directory is free again. What was given up by
// Close keeps the directory until the process ends.

// startEmbedded starts a server in this process.
func startEmbedded(ctx context.Context, o Options) (*embedded, error) {
	e := &embedded{failed: make(chan storeFailure, 16), stopped: make(chan struct{}), unwanted: make(chan struct{})}
	dir, err := e.takeDir(o)
	if err != nil {
		e.letGo()
		return nil, err
	}
	cfg, err := serverOptions(o, dir)
	if err != nil {
		e.letGo()
		return nil, err
	}
	e.store = filepath.Join(dir, "jetstream")
	began := make(chan error, 1)
	go func() { began <- e.serve(cfg, o) }()
	timer := time.NewTimer(o.startTimeout(dir))
	defer timer.Stop()
	select {
	case err := <-began:
		if err != nil {
			e.shutdown(ctx, o)
			return nil, err
		}
		return e, nil
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-timer.C:
		err = fmt.Errorf("%w: after %s", ErrStuck, o.startTimeout(dir))
	}
	close(e.unwanted)
	if e.lock != nil {
		e.lock.say("an Open was given up while the server started, and the server hasn't ended yet: try again, or end the process")
	}
	go func() {
		<-began
		e.stop()
	}()
	endsWithin(ctx, 0, e.stopped)
	return nil, fmt.Errorf("eventlog: embedded server in %s: %w: it did not get ready: %w", dir, ErrUnavailable, err)
}

// shutdown waits for the end of a server that didn't start, for as long as ctx
// and the options allow.
func (e *embedded) shutdown(ctx context.Context, o Options) {
	go e.stop()
	endsWithin(ctx, o.CloseTimeout, e.stopped)
}

// serve runs the server until it is ready for connections.
func (e *embedded) serve(cfg *server.Options, o Options) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("eventlog: embedded server in %s: %w: it panicked: %v", cfg.StoreDir, ErrUnavailable, r)
		}
	}()
	if e.srv, err = server.NewServer(cfg); err != nil {
		return fmt.Errorf("eventlog: embedded server: %w", err)
	}
	logger := &serverLogger{log: o.Logger, failed: e.failed}
	e.srv.SetLoggerV2(logger, false, false, false)
	e.srv.Start()
	// An empty store is ready in milliseconds; after a crash the server
	// reads every block of every stream first, at about a million messages
	// a second.
	for !e.srv.ReadyForConnections(100 * time.Millisecond) {
		if fatal := logger.fatal.Load(); fatal != nil {
			return startFailure(o, cfg.StoreDir, *fatal)
		}
		select {
		case <-e.unwanted:
			return ErrUnavailable // nobody reads it
		default:
		}
	}
	if !e.srv.JetStreamEnabled() {
		return fmt.Errorf("eventlog: embedded server in %s: %w: JetStream did not start (the reason is in its log: set Options.Logger)", cfg.StoreDir, ErrUnavailable)
	}
	return nil
}

// listenFailure begins what the server says when it can't listen
// (server/server.go); a test holds it.
const listenFailure = "Error listening on port"

func startFailure(o Options, dir, fatal string) error {
	if strings.HasPrefix(fatal, listenFailure) {
		return fmt.Errorf("eventlog: embedded server: %w %s (Options.Listen): %s: choose another one, or -1 as the port for any that is free", ErrListen, o.Listen, fatal)
	}
	return fmt.Errorf("eventlog: embedded server in %s: %w: %s", dir, ErrUnavailable, fatal)
}

const (
	startLeast = 30 * time.Second // for a store of any size
	startRate  = 16 << 20         // bytes of it a second, many times less than any disk
)

// startTimeout is how long the server may take to start.
func (o Options) startTimeout(dir string) time.Duration {
	if o.StartTimeout > 0 {
		return o.StartTimeout
	}
	var size int64
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil
		}
		if info, err := d.Info(); err == nil {
			size += info.Size()
		}
		return nil
	})
	return startLeast + time.Duration(size/startRate)*time.Second
}
