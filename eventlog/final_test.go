package eventlog_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/tidemark-es/tidemark/eventlog"
)

// What can't pass by itself has a class of its own, and is told at once. Each
// is asked of a real server.
func TestFinalAnswers(t *testing.T) {
	plain := startServer(t)
	none := startServer(t, func(o *server.Options) { o.JetStream = false })
	guarded := startServer(t, func(o *server.Options) { o.Username, o.Password = "ada", "secret" })
	token := startServer(t, func(o *server.Options) { o.Authorization = "secret" })
	secure := startServer(t, func(o *server.Options) { o.TLS, o.TLSConfig, o.TLSTimeout = true, selfSigned(t), 10 })
	account := startServer(t, func(o *server.Options) {
		acc := server.NewAccount("PLAIN")
		o.Accounts = []*server.Account{acc}
		o.Users = []*server.User{{Username: "ada", Password: "secret", Account: acc}}
	})
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	dir := t.TempDir()
	garbage := filepath.Join(dir, "garbage.creds")
	if err := os.WriteFile(garbage, []byte("nothing of the kind"), 0o600); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(dir, "missing")
	closed, err := nats.Connect(plain.srv.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	url := func(s *testServer) string { return s.srv.ClientURL() }
	for name, c := range map[string]struct {
		class error
		o     eventlog.Options
	}{
		"a server without JetStream":       {eventlog.ErrNoJetStream, eventlog.Options{URL: url(none)}},
		"an account without JetStream":     {eventlog.ErrNoJetStream, eventlog.Options{URL: url(account), User: "ada", Password: "secret"}},
		"another domain":                   {eventlog.ErrNoJetStream, eventlog.Options{URL: url(plain), Domain: "nowhere"}},
		"a wrong password":                 {eventlog.ErrUnauthorized, eventlog.Options{URL: url(guarded), User: "ada", Password: "wrong"}},
		"no password":                      {eventlog.ErrUnauthorized, eventlog.Options{URL: url(guarded)}},
		"a wrong token":                    {eventlog.ErrUnauthorized, eventlog.Options{URL: url(token), Token: "wrong"}},
		"a password where a token is due":  {eventlog.ErrUnauthorized, eventlog.Options{URL: url(token), User: "ada", Password: "secret"}},
		"a missing credentials file":       {eventlog.ErrCredentials, eventlog.Options{URL: url(plain), CredentialsFile: missing}},
		"a file that isn't one":            {eventlog.ErrCredentials, eventlog.Options{URL: url(plain), CredentialsFile: garbage}},
		"a directory of credentials":       {eventlog.ErrCredentials, eventlog.Options{URL: url(plain), CredentialsFile: dir}},
		"a missing seed":                   {eventlog.ErrCredentials, eventlog.Options{URL: url(plain), NKeySeedFile: missing}},
		"credentials of NATS' own options": {eventlog.ErrCredentials, eventlog.Options{URL: url(account), NATS: []nats.Option{nats.UserCredentials(missing)}}},
		"a certificate of a stranger":      {eventlog.ErrTLS, eventlog.Options{URL: url(secure)}},
		"TLS where there is none":          {eventlog.ErrTLS, eventlog.Options{URL: url(plain), TLS: &tls.Config{MinVersion: tls.VersionTLS12}}},
		"a port in use":                    {eventlog.ErrListen, eventlog.Options{Memory: true, Listen: taken.Addr().String()}},
		"an address of another machine":    {eventlog.ErrListen, eventlog.Options{Memory: true, Listen: "192.0.2.1:4222", Token: "x"}},
		"a URL that is none":               {eventlog.ErrInvalid, eventlog.Options{URL: "nats://[::1"}},
		"a connection that was closed":     {eventlog.ErrClosed, eventlog.Options{Conn: closed}},
	} {
		t.Run(name, func(t *testing.T) {
			c.o.App = "a"
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			_, err := eventlog.Open(ctx, c.o)
			wantErr(t, err, c.class)
			if errors.Is(err, eventlog.ErrUnavailable) || ctx.Err() != nil {
				t.Errorf("it is retried: %v", err)
			}
		})
	}
	t.Run("the missing file is told of", func(t *testing.T) {
		_, err := eventlog.Open(t.Context(), eventlog.Options{App: "a", URL: url(plain), CredentialsFile: missing})
		wantErr(t, err, fs.ErrNotExist, missing)
	})
}

// What may pass is waited for, and is an ErrUnavailable when that ends.
func TestPassingAnswers(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	for name, o := range map[string]eventlog.Options{
		"nobody listens": {URL: "nats://127.0.0.1:1"},
		"a black hole":   {URL: "nats://" + silent.Addr().String()},
	} {
		t.Run(name, func(t *testing.T) {
			o.App = "a"
			ctx := short(t)
			err := within(t, ctx, "Open", func() error { _, err := eventlog.Open(ctx, o); return err })
			wantErr(t, err, eventlog.ErrUnavailable)
		})
	}
}

func selfSigned(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}
