package projection_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/nats-io/nats-server/v2/server/ats"
)

// The server's clock of access times must belong to no bubble of fake time.
func TestMain(m *testing.M) {
	ats.Register()
	if args := os.Getenv(zoneVariable); args != "" {
		if err := zoneChild(args); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}
