package snapshot

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// A peer that stops in the middle of a body, or lets it drip, is given up,
// without a context's end; one that is merely slow isn't.
func TestPeerStopsInTheMiddle(t *testing.T) {
	if got := HTTP("http://x", nil).(httpPeer).stall; got != 10*time.Second || stallBytes != 64<<10 {
		t.Errorf("by default a peer is given up after %s without %d bytes", got, stallBytes)
	}
	how := map[string]func(http.ResponseWriter, *http.Request){
		"stops": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write(make([]byte, 10))
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		},
		"drips": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "100000")
			for tick := time.NewTicker(10 * time.Millisecond); ; <-tick.C {
				if _, err := w.Write(make([]byte, 1)); err != nil {
					return
				}
				w.(http.Flusher).Flush()
			}
		},
	}
	for name, serve := range how {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(serve))
			p := HTTP(server.URL, nil).(httpPeer)
			p.stall = 200 * time.Millisecond
			_, err := p.Get(t.Context(), "head/unit")
			if !errors.Is(err, ErrStalled) {
				t.Error(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			p.stall = time.Hour
			if _, err := p.Get(ctx, "head/unit"); !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
			t.Cleanup(server.Close)
		})
	}
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for range 8 {
			_, _ = w.Write(make([]byte, stallBytes))
			w.(http.Flusher).Flush()
			<-time.After(50 * time.Millisecond) // slow, and never still for long
		}
	}))
	defer slow.Close()
	p := HTTP(slow.URL, nil).(httpPeer)
	p.stall = 300 * time.Millisecond
	if data, err := p.Get(t.Context(), "head/unit"); err != nil || len(data) != 8*stallBytes {
		t.Errorf("%d bytes, %v", len(data), err)
	}
}
