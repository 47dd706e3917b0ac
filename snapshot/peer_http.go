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
// one that gives up on a connection that isn't made in 10 seconds. With any
// client an answer is given up that doesn't begin in 10 seconds, or of which
// 64 KiB, or the rest, don't come in 10 seconds. Redirects are followed within
// the URL's scheme and host alone, three at most: what the client's transport
// adds, such as credentials (the place for them), is for nobody else.
func HTTP(url string, client *http.Client) Peer {
	if client == nil {
		client = patient
	}
	own := *client
	own.CheckRedirect = sameHost(client.CheckRedirect)
	return httpPeer{strings.TrimSuffix(url, "/"), &own, stallTime}
}

var patient = &http.Client{Transport: &http.Transport{
	Proxy:                  http.ProxyFromEnvironment,
	DialContext:            (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
	TLSHandshakeTimeout:    10 * time.Second,
	ResponseHeaderTimeout:  10 * time.Second,
	MaxResponseHeaderBytes: 64 << 10,
	MaxIdleConnsPerHost:    uploads,
	IdleConnTimeout:        time.Minute,
	ForceAttemptHTTP2:      true,
}}

const maxRedirects = 3

// sameHost refuses redirects to elsewhere, and asks the client's own rule too.
func sameHost(also func(*http.Request, []*http.Request) error) func(*http.Request, []*http.Request) error {
	return func(r *http.Request, via []*http.Request) error {
		if to, from := r.URL, via[0].URL; len(via) > maxRedirects || to.Scheme != from.Scheme || to.Host != from.Host {
			return fmt.Errorf("%w: to %.200q", ErrRedirect, r.URL)
		}
		if also != nil {
			return also(r, via)
		}
		return nil
	}
}

// ErrRedirect: a peer over HTTP sends its callers to another host, or on and on.
var ErrRedirect = errors.New("the peer's redirect isn't followed")

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
	return p.get(ctx, name, maxFetch)
}

func (p httpPeer) get(ctx context.Context, name string, most int) ([]byte, error) {
	if _, err := keyOf(name); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+"/"+name, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept-Encoding", "identity") // else the transport would decompress what comes
	stalled := time.AfterFunc(p.stall, func() { stop(fmt.Errorf("%s/%s: %w", p.url, name, ErrStalled)) })
	defer stalled.Stop()
	response, err := p.client.Do(request)
	if err != nil {
		return nil, causeOf(ctx, err)
	}
	defer func() { _ = response.Body.Close() }()
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return nil, &NotFoundError{Kind: "resource", Name: p.url + "/" + name}
	default:
		return nil, fmt.Errorf("%s/%s: %.100q", p.url, name, response.Status)
	}
	if response.ContentLength > int64(most) {
		return nil, tooLarge(name, most)
	}
	stalled.Reset(p.stall)
	data, err := io.ReadAll(&paced{Reader: io.LimitReader(response.Body, int64(most)+1), timer: stalled, each: p.stall})
	if err != nil {
		return nil, causeOf(ctx, err)
	}
	if len(data) > most {
		return nil, tooLarge(name, most)
	}
	return data, nil
}

// causeOf is why a context ended, or err where it didn't.
func causeOf(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
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
