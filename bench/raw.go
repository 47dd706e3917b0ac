package main

import (
	"context"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// transport is how the baseline's client reaches the server in its process.
type transport string

const (
	pipe transport = "in-process pipe"
	tcp  transport = "loopback TCP"
)

// raw is a server and a client of it without anything of ours.
type raw struct {
	srv    *server.Server
	nc     *nats.Conn
	js     jetstream.JetStream
	config jetstream.StreamConfig
}

// rawOptions are those that eventlog gives to its embedded server.
func rawOptions(dir string, t transport) *server.Options {
	return &server.Options{
		ServerName:             "raw",
		DontListen:             t != tcp,
		Host:                   "127.0.0.1",
		Port:                   server.RANDOM_PORT,
		NoSigs:                 true,
		NoLog:                  true,
		JetStream:              true,
		StoreDir:               dir,
		SyncInterval:           syncInterval,
		MaxPayload:             maxPayload,
		MaxPending:             4 * server.MAX_PENDING_SIZE,
		DisableJetStreamBanner: true,
	}
}

// openRaw starts a server on a directory, connects, and waits for JetStream,
// which is what eventlog.Open does.
func openRaw(ctx context.Context, dir string, t transport, config jetstream.StreamConfig) (*raw, error) {
	return startRaw(ctx, rawOptions(dir, t), t, config)
}

func startRaw(ctx context.Context, so *server.Options, t transport, config jetstream.StreamConfig) (_ *raw, err error) {
	r := &raw{config: config}
	defer func() {
		if err != nil {
			r.close()
		}
	}()
	if r.srv, err = server.NewServer(so); err != nil {
		return nil, err
	}
	r.srv.Start()
	for !r.srv.ReadyForConnections(100 * time.Millisecond) {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
	url, opts := r.srv.ClientURL(), []nats.Option(nil)
	if t == pipe {
		url, opts = "", append(opts, nats.InProcessServer(r.srv))
	}
	if err = r.connect(url, opts...); err != nil {
		return nil, err
	}
	_, err = r.js.AccountInfo(ctx)
	return r, err
}

// rawAt connects to servers that run.
func rawAt(urls string, config jetstream.StreamConfig) (*raw, error) {
	r := &raw{config: config}
	if err := r.connect(urls); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

func (r *raw) connect(url string, opts ...nats.Option) (err error) {
	if r.nc, err = nats.Connect(url, opts...); err != nil {
		return err
	}
	r.js, err = jetstream.New(r.nc)
	return err
}

// create makes the stream, with the settings of a feed's.
func (r *raw) create(ctx context.Context) error {
	_, err := r.js.CreateStream(ctx, r.config)
	return err
}

func (r *raw) state(ctx context.Context) (jetstream.StreamState, error) {
	s, err := r.js.Stream(ctx, r.config.Name)
	if err != nil {
		return jetstream.StreamState{}, err
	}
	return s.CachedInfo().State, nil
}

// prefix is that of the subjects, before the key.
func (r *raw) prefix() string { return appName + "." + feedName + "." }

func (r *raw) close() {
	if r.nc != nil {
		r.nc.Close()
	}
	if r.srv != nil {
		r.srv.Shutdown()
		r.srv.WaitForShutdown()
	}
}
