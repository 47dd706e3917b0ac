package eventlog_test

import (
	"crypto/tls"
	"crypto/x509"
	"net/http/httptest"
	"testing"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
)

// Who connects to an embedded server that listens has to say who it is, where
// it was told to ask; the log itself doesn't.
func TestListenAsks(t *testing.T) {
	ctx := logtest.Context(t)
	for name, c := range map[string]struct {
		with, right eventlog.Options
		wrong       []eventlog.Options
	}{
		"password": {
			eventlog.Options{User: "ada", Password: "secret"}, eventlog.Options{User: "ada", Password: "secret"},
			[]eventlog.Options{{}, {User: "ada", Password: "x"}, {User: "eve", Password: "secret"}, {Token: "secret"}},
		},
		"token": {
			eventlog.Options{Token: "secret"}, eventlog.Options{Token: "secret"},
			[]eventlog.Options{{}, {Token: "x"}, {User: "secret", Password: "secret"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := c.with
			o.App, o.Memory, o.Listen = "listens", true, "0.0.0.0:-1"
			log := logtest.Open(t, o)
			put(t, accounts(t, log), "k", 1) // in this process
			for _, who := range c.wrong {
				who.App, who.URL = "listens", log.ClientURL()
				_, err := eventlog.Open(ctx, who)
				wantErr(t, err, eventlog.ErrUnauthorized)
			}
			who := c.right
			who.App, who.URL = "listens", log.ClientURL()
			other, err := eventlog.Open(ctx, who)
			if err != nil {
				t.Fatal(err)
			}
			defer other.Close()
			put(t, accounts(t, other), "k", 1)
		})
	}
}

func TestListenTLS(t *testing.T) {
	web := httptest.NewUnstartedServer(nil) // for its certificate
	web.StartTLS()
	defer web.Close()
	log := logtest.Open(t, eventlog.Options{App: "listens", Memory: true, Listen: "127.0.0.1:-1", Token: "x", TLS: &tls.Config{Certificates: web.TLS.Certificates}})
	put(t, accounts(t, log), "k", 1)
	roots := x509.NewCertPool()
	roots.AddCert(web.Certificate())
	other, err := eventlog.Open(logtest.Context(t), eventlog.Options{App: "listens", URL: log.ClientURL(), Token: "x", TLS: &tls.Config{RootCAs: roots, ServerName: "example.com"}})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	put(t, accounts(t, other), "k", 1)
}

// An open door to other machines is refused.
func TestListenRefuses(t *testing.T) {
	for _, host := range []string{"0.0.0.0:4222", ":4222", "[::]:4222", "192.0.2.1:4222", "example.com:4222"} {
		for _, o := range []eventlog.Options{{}, {User: "ada"}} {
			o.App, o.Memory, o.Listen = "listens", true, host
			_, err := eventlog.Open(t.Context(), o)
			wantErr(t, err, eventlog.ErrInvalid, "other machines")
		}
	}
}
