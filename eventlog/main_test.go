package eventlog_test

import (
	"os"
	"testing"

	"github.com/nats-io/nats-server/v2/server/ats"
)

// The server's clock of access times starts a goroutine at first use; started
// here, outside of any bubble of fake time, it belongs to none.
func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		os.Exit(childMain())
	}
	ats.Register()
	os.Exit(m.Run())
}
