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
// With any client an answer is given up of which 64 KiB, or the rest, don't come
// in 10 seconds. Put credentials into the client's transport.
func HTTP(url string, client *http.Client) Peer {
	if client == nil {
		client = patient
	}
	return httpPeer{strings.TrimSuffix(url, "/"), client, stallTime}
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
	stall  time.Duration // for stallBytes of an answer to come
}

// ErrStalled: a peer has begun to answer, and doesn't go on.
var ErrStalled = errors.New("the peer stopped in the middle of its answer")

const (
	stallTime  = 10 * time.Second
	stallBytes = 64 << 10
)

// paced gives an answer more time for each stallBytes of it.
type paced struct {
	io.Reader
	timer *time.Timer
	each  time.Duration
	read  int
}

func (r *paced) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if r.read += n; r.read >= stallBytes {
		r.read = 0
		r.timer.Reset(r.each)
	}
	return n, err
}

func (p httpPeer) Get(ctx context.Context, name string) ([]byte, error) {
	if _, err := keyOf(name); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
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
	stalled := time.AfterFunc(p.stall, func() { stop(fmt.Errorf("%s/%s: %w", p.url, name, ErrStalled)) })
	defer stalled.Stop()
	data, err := io.ReadAll(&paced{Reader: io.LimitReader(response.Body, maxFetch+1), timer: stalled, each: p.stall})
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err == nil && len(data) > maxFetch {
		err = fmt.Errorf("%s/%s: more than %d bytes", p.url, name, maxFetch)
	}
	return data, err
}

// Handler gives the whole state to everybody whom authorize lets pass; with nil
// that is everybody who reaches it. It serves a peer's snapshots under head/,
// manifest/ and chunk/, for GET and HEAD. Mount it with http.StripPrefix.
//
// authorize is asked first, for each request, concurrently; where it returns an
// error the answer is 403, without the error's text. The content of manifests
// and chunks never changes: it may be cached for ever, by those who were let
// pass.
func Handler(p Peer, authorize func(*http.Request) error) http.Handler {
	cache := "public"
	if authorize != nil {
		cache = "private"
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if authorize != nil && authorize(r) != nil {
			http.Error(w, "not permitted", http.StatusForbidden)
			return
		}
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
			w.Header().Set("Cache-Control", cache+", max-age=31536000, immutable")
		}
		if r.Method == http.MethodGet {
			_, _ = w.Write(data) // who hung up knows
		}
	})
}

// Handler serves the store's snapshots; see the function [Handler].
func (s *Store) Handler(authorize func(*http.Request) error) http.Handler {
	return Handler(s.Peer(), authorize)
}
