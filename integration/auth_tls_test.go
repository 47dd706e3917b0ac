//go:build integration

package integration

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/natstest"
)

// authority is a certificate authority of the test's own.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, key: must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der := must(x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key))(t)
	a.cert = must(x509.ParseCertificate(der))(t)
	return a
}

// issue makes a certificate for loopback, and its key, both as PEM.
func (a *authority) issue(name string) (cert, key []byte) {
	a.t.Helper()
	priv := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(a.t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der := must(x509.CreateCertificate(rand.Reader, template, a.cert, &priv.PublicKey, a.key))(a.t)
	keyDER := must(x509.MarshalPKCS8PrivateKey(priv))(a.t)
	return toPEM("CERTIFICATE", der), toPEM("PRIVATE KEY", keyDER)
}

func (a *authority) pem() []byte { return toPEM("CERTIFICATE", a.cert.Raw) }

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

func toPEM(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// Both sides show certificates of a CA that nobody else knows.
func TestTLS(t *testing.T) {
	ca, stranger := newAuthority(t), newAuthority(t)
	cert, key := ca.issue("server")
	server := natstest.Start(t, fmt.Sprintf("tls { cert_file: %q, key_file: %q, ca_file: %q, verify: true }",
		writeFile(t, "cert.pem", cert), writeFile(t, "key.pem", key), writeFile(t, "ca.pem", ca.pem())))
	mine := must(tls.X509KeyPair(ca.issue("client")))(t)
	theirs := must(tls.X509KeyPair(stranger.issue("client")))(t)

	o := eventlog.Options{App: "auth", URL: "tls://" + server.Host()}
	o.TLS = &tls.Config{RootCAs: ca.pool(), Certificates: []tls.Certificate{mine}, MinVersion: tls.VersionTLS12}
	use(limited(t, time.Minute), t, o)

	for name, config := range map[string]*tls.Config{
		"the system's CAs":               {Certificates: []tls.Certificate{mine}},
		"a stranger's CA":                {RootCAs: stranger.pool(), Certificates: []tls.Certificate{mine}},
		"no client certificate":          {RootCAs: ca.pool()},
		"a stranger's own certificate":   {RootCAs: ca.pool(), Certificates: []tls.Certificate{theirs}},
		"the wrong name of the server":   {RootCAs: ca.pool(), Certificates: []tls.Certificate{mine}, ServerName: "elsewhere"},
		"an old version of the protocol": {RootCAs: ca.pool(), Certificates: []tls.Certificate{mine}, MaxVersion: tls.VersionTLS11},
	} {
		t.Run(name, func(t *testing.T) {
			o := o
			o.TLS = config
			refusedQuickly(t, o, eventlog.ErrTLS)
		})
	}
	t.Run("no TLS at all", func(t *testing.T) {
		refusedQuickly(t, eventlog.Options{App: "auth", URL: server.URL()}, eventlog.ErrTLS)
	})
}
