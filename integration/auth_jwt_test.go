//go:build integration

package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/natstest"
)

// realm is an operator with two accounts: one for the server's own matters,
// and one that has JetStream.
type realm struct {
	t       *testing.T
	account nkeys.KeyPair
	conf    string
}

func newRealm(t *testing.T) *realm {
	t.Helper()
	operator := must(nkeys.CreateOperator())(t)
	system := must(nkeys.CreateAccount())(t)
	r := &realm{t: t, account: must(nkeys.CreateAccount())(t)}
	systemKey, accountKey := must(system.PublicKey())(t), must(r.account.PublicKey())(t)

	oc := jwt.NewOperatorClaims(must(operator.PublicKey())(t))
	oc.SystemAccount = systemKey
	ac := jwt.NewAccountClaims(accountKey)
	ac.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: -1, DiskStorage: -1, Streams: -1, Consumer: -1}
	r.conf = fmt.Sprintf("operator: %s\nresolver: MEMORY\nresolver_preload: {\n %s: %s\n %s: %s\n}",
		must(oc.Encode(operator))(t), systemKey, must(jwt.NewAccountClaims(systemKey).Encode(operator))(t), accountKey, must(ac.Encode(operator))(t))
	return r
}

// credentials makes a user and returns the path of its file.
func (r *realm) credentials(signer nkeys.KeyPair, change func(*jwt.UserClaims)) string {
	r.t.Helper()
	user := must(nkeys.CreateUser())(r.t)
	uc := jwt.NewUserClaims(must(user.PublicKey())(r.t))
	change(uc)
	token := must(uc.Encode(signer))(r.t)
	return writeFile(r.t, "user.creds", must(jwt.FormatUserConfig(token, must(user.Seed())(r.t)))(r.t))
}

// Operator mode: who a user is stands in a credentials file.
func TestCredentialsFile(t *testing.T) {
	r := newRealm(t)
	server := natstest.Start(t, r.conf)
	o := eventlog.Options{App: "auth", URL: server.URL()}
	o.CredentialsFile = r.credentials(r.account, func(*jwt.UserClaims) {})
	use(limited(t, time.Minute), t, o)

	t.Run("expired", func(t *testing.T) {
		o := o
		o.CredentialsFile = r.credentials(r.account, func(c *jwt.UserClaims) { c.Expires = time.Now().Add(-time.Hour).Unix() })
		refusedQuickly(t, o, eventlog.ErrUnauthorized)
	})
	t.Run("another account's", func(t *testing.T) {
		o := o
		o.CredentialsFile = r.credentials(must(nkeys.CreateAccount())(t), func(*jwt.UserClaims) {})
		refusedQuickly(t, o, eventlog.ErrUnauthorized)
	})
	t.Run("none", func(t *testing.T) {
		o := o
		o.CredentialsFile = ""
		refusedQuickly(t, o, eventlog.ErrUnauthorized)
	})
	t.Run("missing file", func(t *testing.T) {
		o := o
		o.CredentialsFile = filepath.Join(t.TempDir(), "missing.creds")
		refusedQuickly(t, o, eventlog.ErrCredentials, os.ErrNotExist)
	})
	t.Run("not a credentials file", func(t *testing.T) {
		o := o
		o.CredentialsFile = writeFile(t, "broken.creds", []byte("nonsense"))
		refusedQuickly(t, o, eventlog.ErrCredentials)
	})
}
