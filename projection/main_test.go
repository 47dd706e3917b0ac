package projection_test

import (
	"os"
	"testing"

	"github.com/nats-io/nats-server/v2/server/ats"
)

// The server's clock of access times must belong to no bubble of fake time.
func TestMain(m *testing.M) {
	ats.Register()
	os.Exit(m.Run())
}
