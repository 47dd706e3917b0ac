package natstest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// finalError ends polling.
type finalError struct{ err error }

func (e *finalError) Error() string { return e.err.Error() }
func (e *finalError) Unwrap() error { return e.err }

// poll calls f until it returns nil, a *finalError, or the limit is over: then its
// last error. What one try takes counts for longestTry at most: a virtual machine
// that stands still for minutes isn't a server that doesn't get ready.
func poll(ctx context.Context, limit time.Duration, f func(context.Context) error) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for left := limit; ; {
		began := time.Now()
		err := f(ctx)
		if _, final := errors.AsType[*finalError](err); err == nil || final {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
		if left -= min(time.Since(began), longestTry); left <= 0 {
			return fmt.Errorf("after %v: %w", limit, err)
		}
	}
}

const longestTry = 5 * time.Second

// healthy asks the server's monitoring port: it needs no credentials.
func (s *Server) healthy(ctx context.Context) error {
	return s.monitored(ctx, "/healthz", nil)
}

// jsInfo is a part of what /jsz answers.
type jsInfo struct {
	Meta *struct {
		Leader string `json:"leader"`
		Size   int    `json:"cluster_size"`
	} `json:"meta_cluster"`
	Accounts []struct {
		Streams []struct {
			Name    string `json:"name"`
			Cluster *struct {
				Leader string `json:"leader"`
			} `json:"cluster"`
		} `json:"stream_detail"`
	} `json:"account_details"`
}

func (s *Server) jsInfo(ctx context.Context) (info jsInfo, err error) {
	return info, s.monitored(ctx, "/jsz?streams=1", &info)
}

// leads says whether the server itself says that it leads the stream.
func (i jsInfo) leads(server, stream string) bool {
	for _, a := range i.Accounts {
		for _, st := range a.Streams {
			if st.Name == stream && st.Cluster != nil && st.Cluster.Leader == server {
				return true
			}
		}
	}
	return false
}

// Connections is how many clients have connected since the server's process
// started.
func (s *Server) Connections() uint64 {
	s.t.Helper()
	var answer struct {
		Total uint64 `json:"total_connections"`
	}
	if err := s.monitored(s.t.Context(), "/varz", &answer); err != nil {
		s.t.Fatalf("server %s: %v", s.name, err)
	}
	return answer.Total
}

var monitorClient = &http.Client{Timeout: longestTry, Transport: &http.Transport{DisableKeepAlives: true}}

func (s *Server) monitored(ctx context.Context, path string, answer any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.monitor+path, nil)
	if err != nil {
		return err
	}
	resp, err := monitorClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s", path, resp.Status, body)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(body, answer)
}

// Clients is how many connections of a name the server has.
func (s *Server) Clients(name string) (n int) {
	s.t.Helper()
	var answer struct {
		Connections []struct {
			Name string `json:"name"`
		} `json:"connections"`
	}
	if err := s.monitored(s.t.Context(), "/connz?limit=1024", &answer); err != nil {
		s.t.Fatalf("server %s: %v", s.name, err)
	}
	for _, c := range answer.Connections {
		if c.Name == name {
			n++
		}
	}
	return n
}
