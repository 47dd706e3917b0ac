package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// maxFetch bounds what is read of one answer, in bytes: no server takes larger
// messages.
const maxFetch = 64 << 20

// HTTP returns a peer over the URL at which a [Handler] serves. client nil is
// one that gives up on a server that doesn't begin to answer for 10 seconds.
// Put credentials into the client's transport.
func HTTP(url string, client *http.Client) Peer {
	if client == nil {
		client = patient
	}
	return httpPeer{strings.TrimSuffix(url, "/"), client}
}

var patient = &http.Client{Transport: &http.Transport{
	Proxy:                 http.ProxyFromEnvironment,
	DialContext:           (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
	TLSHandshakeTimeout:   10 * time.Second,
	ResponseHeaderTimeout: 10 * time.Second,
	MaxIdleConnsPerHost:   uploads,
	IdleConnTimeout:       time.Minute,
	ForceAttemptHTTP2:     true,
}}

type httpPeer struct {
	url    string
	client *http.Client
}

func (p httpPeer) Get(ctx context.Context, name string) ([]byte, error) {
	if _, err := keyOf(name); err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+"/"+name, nil)
	if err != nil {
		return nil, err
	}
	response, err := p.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return nil, &NotFoundError{Kind: "resource", Name: p.url + "/" + name}
	default:
		return nil, fmt.Errorf("%s/%s: %s", p.url, name, response.Status)
	}
	data, err := io.ReadAll(io.LimitReader(response.Body, maxFetch+1))
	if err == nil && len(data) > maxFetch {
		err = fmt.Errorf("%s/%s: more than %d bytes", p.url, name, maxFetch)
	}
	return data, err
}

// Handler serves a peer's snapshots under head/, manifest/ and chunk/, for GET
// and HEAD. Mount it with http.StripPrefix. It asks for no credentials: who
// reaches it reads the state, so put it behind what decides about that. The
// content of manifests and chunks never changes, and may be cached for ever.
func Handler(p Peer) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "only GET and HEAD", http.StatusMethodNotAllowed)
			return
		}
		name := strings.TrimPrefix(r.URL.Path, "/")
		data, err := p.Get(r.Context(), name)
		switch {
		case errors.Is(err, ErrInvalid) || errors.Is(err, ErrNotFound):
			http.NotFound(w, r)
			return
		case err != nil:
			http.Error(w, "the snapshots can't be read now", http.StatusBadGateway)
			return
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Content-Length", fmt.Sprint(len(data)))
		if strings.HasPrefix(name, "head/") {
			w.Header().Set("Cache-Control", "no-store")
		} else {
			w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		}
		if r.Method == http.MethodGet {
			_, _ = w.Write(data) // who hung up knows
		}
	})
}

// Handler serves the store's snapshots; see the function [Handler].
func (s *Store) Handler() http.Handler { return Handler(s.Peer()) }
