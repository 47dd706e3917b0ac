package natstest

import (
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// Ports are taken from below what operating systems give to outgoing
// connections. A client that dials a port of a server that is down could
// otherwise be given that very port as its own end, connect to itself, and
// keep the server from coming back.
const (
	lowestPort  = 12_000
	highestPort = 32_000
)

var (
	portsMu sync.Mutex
	given   = make(map[int]bool)
)

// FreePort returns a port of loopback that nobody listens on, and that no
// other call in this process returns.
func FreePort() (int, error) {
	portsMu.Lock()
	defer portsMu.Unlock()
	for range 1000 {
		port := lowestPort + rand.IntN(highestPort-lowestPort)
		if given[port] {
			continue
		}
		l, err := net.Listen("tcp", Loopback(port))
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			return 0, err
		}
		given[port] = true
		return port, nil
	}
	return 0, errors.New("found no free port")
}

func freePort(t testing.TB) int {
	t.Helper()
	port, err := FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return port
}
