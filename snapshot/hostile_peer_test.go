package snapshot

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/tidemark-es/tidemark/internal/fuzzmem"
)

// A peer over HTTP that sends what it shouldn't.
func TestHostileHTTPPeer(t *testing.T) {
	var elsewhere atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	defer other.Close()
	mib := make([]byte, 1<<20)
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	for range 64 {
		_, _ = z.Write(mib)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		serve http.HandlerFunc
		is    error
	}{
		"without end": {func(w http.ResponseWriter, _ *http.Request) {
			for {
				if _, err := w.Write(mib); err != nil {
					return
				}
			}
		}, ErrInvalid},
		"a length that is too large": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", strconv.FormatInt(1<<50, 10))
		}, ErrInvalid},
		"less than it says": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write(mib[:10])
		}, io.ErrUnexpectedEOF},
		"a negative length": {func(w http.ResponseWriter, _ *http.Request) {
			raw(w, "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nx")
		}, nil},
		"headers without end": {func(w http.ResponseWriter, _ *http.Request) {
			raw(w, "HTTP/1.1 200 OK\r\nX: "+string(bytes.Repeat([]byte("x"), 1<<20)))
		}, nil},
		"a redirect to another host": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, other.URL, http.StatusFound)
		}, ErrRedirect},
		"redirects without end": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.Path, http.StatusFound)
		}, ErrRedirect},
		"no answer at all": {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, ErrStalled},
		"an answer that nobody asked to be compressed": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(packed.Bytes())
		}, errNotDecompressed},
	} {
		t.Run(what, func(t *testing.T) {
			server := httptest.NewServer(c.serve)
			defer server.Close()
			p := HTTP(server.URL, &http.Client{Transport: patient.Transport}).(httpPeer)
			p.stall = 200 * time.Millisecond
			fuzzmem.Check(t, 0, 0, 4<<20, func() {
				data, err := p.get(t.Context(), "head/unit", 64<<10)
				if err == nil && bytes.Equal(data, packed.Bytes()) {
					err = errNotDecompressed
				}
				if err == nil || c.is != nil && !errors.Is(err, c.is) {
					t.Errorf("%d bytes, %v", len(data), err)
				}
			})
		})
	}
	if n := elsewhere.Load(); n > 0 {
		t.Errorf("the other host was asked %d times", n)
	}
}

var errNotDecompressed = errors.New("it came as it was sent")

// raw answers with bytes, on a connection that it ends.
func raw(w http.ResponseWriter, text string) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	_, _ = io.WriteString(conn, text)
	_ = conn.Close()
}

// A redirect within the host is followed, and the client's own rule is asked.
func TestHTTPPeerFollowsWithinTheHost(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/new/head/u" {
			http.Redirect(w, r, "/new"+r.URL.Path, http.StatusFound)
			return
		}
		_, _ = io.WriteString(w, "here")
	}))
	defer server.Close()
	if data, err := HTTP(server.URL, nil).Get(t.Context(), "head/u"); err != nil || string(data) != "here" {
		t.Errorf("%q, %v", data, err)
	}
	never := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return errInjected }}
	if _, err := HTTP(server.URL, never).Get(t.Context(), "head/u"); !errors.Is(err, errInjected) {
		t.Errorf("the client's rule: %v", err)
	}
}

// endless is a file of zeros.
type endless struct{ fs.File }

func (endless) Read(b []byte) (int, error) { clear(b); return len(b), nil }

type endlessFS struct{ fstest.MapFS }

func (f endlessFS) Open(name string) (fs.File, error) {
	file, err := f.MapFS.Open(name)
	return endless{file}, err
}

// What stands in a directory isn't always a file of the size that is said, nor
// of the directory.
func TestHostileDirectory(t *testing.T) {
	head := fstest.MapFS{"head/u": &fstest.MapFile{Data: []byte("x")}}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, err := range []error{
		os.MkdirAll(filepath.Join(dir, "head", "folder"), 0o700), os.Symlink(secret, filepath.Join(dir, "head", "link")),
		os.WriteFile(filepath.Join(dir, "head", "sparse"), nil, 0o600), os.Truncate(filepath.Join(dir, "head", "sparse"), 1<<40),
		pipe(filepath.Join(dir, "head", "pipe")), os.Symlink(filepath.Dir(secret), filepath.Join(dir, "chunk")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for what, c := range map[string]struct {
		peer sized
		name string
		is   error
	}{
		"a file without end":    {FS(endlessFS{head}).(sized), "head/u", ErrInvalid},
		"a file that is large":  {Dir(dir).(sized), "head/sparse", ErrInvalid},
		"a directory":           {Dir(dir).(sized), "head/folder", ErrCorrupt},
		"a pipe":                {Dir(dir).(sized), "head/pipe", ErrCorrupt},
		"a link out of it":      {Dir(dir).(sized), "head/link", nil},
		"a name that leads out": {Dir(dir).(sized), "head/../../secret", ErrInvalid},
		"a name that is a path": {Dir(dir).(sized), secret, ErrInvalid},
		"nothing":               {Dir(dir).(sized), "head/none", ErrNotFound},
		"no directory":          {Dir(filepath.Join(dir, "none")).(sized), "head/none", ErrNotFound},
	} {
		fuzzmem.Check(t, 0, 0, 1<<20, func() {
			data, err := c.peer.get(t.Context(), c.name, 64<<10)
			if err == nil || c.is != nil && !errors.Is(err, c.is) || bytes.Contains(data, []byte("secret")) {
				t.Errorf("%s: %q, %v", what, data, err)
			}
		})
	}
	chunk := nameOf(chunkKey(idOf([]byte("x"))))
	if err := Dir(dir).Put(t.Context(), chunk, []byte("x")); err == nil {
		t.Error("it was written outside")
	}
	if found, err := os.ReadDir(filepath.Dir(secret)); err != nil || len(found) != 1 {
		t.Errorf("outside there is %v, %v", found, err)
	}
}
