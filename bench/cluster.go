package main

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/natstest"
)

// replicas is the size of the cluster, and of its streams.
const replicas = 3

// remoteCase compares appends by URL to a server that is elsewhere for both:
// in this process, over loopback TCP.
func remoteCase() *benchCase {
	l := appendLoad{callers: 64, total: func(e *env) int { return e.many / 2 }}
	return &benchCase{
		name: "append/64-url", about: "a server by URL, 64 callers: Feed.Append (ExpectAny) against js.Publish from 64 goroutines there",
		unit: unitCommits,
		ours: func(ctx context.Context, e *env, c *clock) (s sample, err error) {
			r, done, err := onFresh(e, "raw", func(dir string) (*raw, error) { return openRaw(ctx, dir, tcp, e.stream) })
			if err != nil {
				return s, err
			}
			defer done()
			o, err := openOursAt(ctx, eventlog.Options{App: appName, URL: r.srv.ClientURL()})
			if err != nil {
				return s, err
			}
			defer o.close()
			return o.appends(ctx, e, c, l)
		},
		base: func(ctx context.Context, e *env, c *clock) (sample, error) {
			return rawAppends(ctx, e, c, l, publisher{by: tcp})
		},
		note: func() string { return "PublishMsg, loopback TCP" },
	}
}

// clusterCase compares appends to a stream that three servers keep, on
// loopback in this process, over TCP. The baseline connects to the server that
// nats.go picks of the list; ours looks for the stream's leader by itself.
func clusterCase() *benchCase {
	l := appendLoad{callers: 64, total: func(e *env) int { return e.many / 2 }}
	return &benchCase{
		name: "append/r3-64", about: "three-node cluster on loopback, 64 callers: Feed.Append (ExpectAny) against js.Publish from 64 goroutines there",
		unit: unitCommits,
		ours: func(ctx context.Context, e *env, c *clock) (s sample, err error) {
			err = withCluster(ctx, e, func(urls string) error {
				o, err := openOursAt(ctx, eventlog.Options{App: appName, URL: urls, Replicas: replicas})
				if err != nil {
					return err
				}
				defer o.close()
				s, err = o.appends(ctx, e, c, l)
				return err
			})
			return s, err
		},
		base: func(ctx context.Context, e *env, c *clock) (s sample, err error) {
			err = withCluster(ctx, e, func(urls string) error {
				config := e.stream
				config.Replicas = replicas
				r, err := rawAt(urls, config)
				if err != nil {
					return err
				}
				defer r.close()
				if err := r.create(ctx); err != nil {
					return err
				}
				s, err = r.appends(ctx, e, c, l, false)
				return err
			})
			return s, err
		},
		note: func() string { return "PublishMsg, loopback TCP" },
	}
}

// withCluster runs three servers in this process, and f against them.
func withCluster(ctx context.Context, e *env, f func(urls string) error) error {
	dir, remove, err := e.fresh("cluster")
	if err != nil {
		return err
	}
	defer remove()
	var servers []*server.Server
	defer func() {
		for _, s := range servers {
			s.Shutdown()
		}
		for _, s := range servers {
			s.WaitForShutdown()
		}
	}()
	routes, err := freeRoutes()
	if err != nil {
		return err
	}
	var urls []string
	for i := range replicas {
		o := rawOptions(filepath.Join(dir, fmt.Sprint(i)), tcp)
		o.ServerName = fmt.Sprint("n", i)
		o.Cluster = server.ClusterOpts{Name: "bench", Host: "127.0.0.1", Port: portOf(routes[i])}
		o.Routes = routes
		s, err := server.NewServer(o)
		if err != nil {
			return err
		}
		servers = append(servers, s)
		s.Start()
	}
	for _, s := range servers {
		for !s.ReadyForConnections(100 * time.Millisecond) {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
		}
		urls = append(urls, s.ClientURL())
	}
	all := strings.Join(urls, ",")
	if err := natstest.AwaitPlacement(ctx, all, replicas); err != nil {
		return err
	}
	return f(all)
}

// freeRoutes finds ports for the servers' routes.
func freeRoutes() (routes []*url.URL, err error) {
	for range replicas {
		port, err := natstest.FreePort()
		if err != nil {
			return nil, err
		}
		routes = append(routes, &url.URL{Scheme: "nats", Host: net.JoinHostPort("127.0.0.1", fmt.Sprint(port))})
	}
	return routes, nil
}

func portOf(u *url.URL) int {
	var port int
	_, _ = fmt.Sscan(u.Port(), &port)
	return port
}
