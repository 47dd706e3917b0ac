package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/tidemark-es/tidemark/internal/natstest"
)

// childServer is the first argument of a child that is a server of a cluster:
// "server NAME DIR PORT ROUTE...", of which the first route is its own.
const childServer = "server"

func childServe(args []string) error {
	if len(args) < 5 {
		return fmt.Errorf("%w: server NAME DIR PORT and one ROUTE or more", errUsage)
	}
	port, err := strconv.Atoi(args[3])
	if err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	o := rawOptions(args[2], tcp)
	o.ServerName, o.Port = args[1], port
	for _, route := range args[4:] {
		u, err := url.Parse(route)
		if err != nil {
			return fmt.Errorf("%w: %w", errUsage, err)
		}
		o.Routes = append(o.Routes, u)
	}
	o.Cluster = server.ClusterOpts{Name: "bench", Host: "127.0.0.1", Port: portOf(o.Routes[0])}
	s, err := server.NewServer(o)
	if err != nil {
		return err
	}
	s.Start()
	if !s.ReadyForConnections(30 * time.Second) {
		return errors.New("the server doesn't take connections")
	}
	return nil
}

// servers are the processes of a cluster, by name.
type servers struct {
	urls string
	all  map[string]*exec.Cmd
}

// startServers starts three, and waits until they take streams.
func startServers(ctx context.Context, dir string) (_ *servers, err error) {
	cl := &servers{all: make(map[string]*exec.Cmd)}
	defer func() {
		if err != nil {
			cl.kill()
		}
	}()
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	ports, err := freeRoutes()
	if err != nil {
		return nil, err
	}
	routes, err := freeRoutes()
	if err != nil {
		return nil, err
	}
	var urls []string
	var ready []*bufio.Scanner
	for i := range replicas {
		name := fmt.Sprint("n", i)
		args := []string{childCommand, childServer, name, filepath.Join(dir, name), ports[i].Port()}
		for k := range replicas {
			args = append(args, routes[(i+k)%replicas].String())
		}
		cmd := exec.CommandContext(ctx, exe, args...)
		cmd.Stderr = os.Stderr
		// A child ends when its standard input does, so it can't outlive us.
		if _, err := cmd.StdinPipe(); err != nil {
			return nil, err
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			return nil, err
		}
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		cl.all[name] = cmd
		ready = append(ready, bufio.NewScanner(out))
		urls = append(urls, ports[i].String())
	}
	for _, line := range ready {
		if !line.Scan() || line.Text() != childReady {
			return nil, errors.New("a server of the cluster ended early")
		}
	}
	cl.urls = strings.Join(urls, ",")
	return cl, natstest.AwaitPlacement(ctx, cl.urls, replicas)
}

// killLeader kills the server that leads the feed's stream.
func (cl *servers) killLeader(ctx context.Context, o *ours) error {
	s, err := o.log.JetStream().Stream(ctx, o.feed.Stream())
	if err != nil {
		return err
	}
	leader := s.CachedInfo().Cluster.Leader
	cmd := cl.all[leader]
	if cmd == nil {
		return fmt.Errorf("no server is called %q", leader)
	}
	delete(cl.all, leader)
	if err := cmd.Process.Kill(); err != nil {
		return err
	}
	_ = cmd.Wait() // it was killed
	return nil
}

// kill ends all that are left.
func (cl *servers) kill() {
	for _, cmd := range cl.all {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}
