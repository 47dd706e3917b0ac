//go:build integration

package integration

import (
	"bytes"
	"cmp"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/internal/natstest"
)

// The test suites of the packages pass on a separate nats-server as well, one
// that they reach by URL. With -test.short: what takes long and is left out are
// loads and property tests, whose subject isn't where the server is.
func TestSuitesOnSeparateServer(t *testing.T) {
	packages := []string{"eventlog", "projection", "snapshot", "effect"}
	root := must(filepath.Abs(".."))(t)
	bin := t.TempDir()
	build := exec.CommandContext(limited(t, 4*time.Minute), "go", "test", "-c", "-o", bin+string(filepath.Separator))
	build.Dir = root
	for _, p := range packages {
		build.Args = append(build.Args, "./"+p)
	}
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	for _, version := range append([]string{""}, releases(t)...) {
		t.Run(cmp.Or(version, "current"), func(t *testing.T) {
			server := natstest.StartVersion(t, version)
			js := keepStream(t, server)
			for _, p := range packages {
				t.Run(p, func(t *testing.T) {
					runSuite(t, filepath.Join(bin, p+".test"), filepath.Join(root, p), server, skips(t, version))
					if left := leftBehind(t, js); len(left) > 0 {
						t.Errorf("streams left behind: %v", left)
					}
				})
			}
		})
	}
}

// runSuite runs a package's tests as `go test` would run them, but as a child of
// this process, which doesn't outlive it.
func runSuite(t *testing.T, binary, dir string, server *natstest.Server, skip string) {
	t.Helper()
	before := server.Connections()
	cmd := exec.Command(binary, "-test.short", "-test.count=1", "-test.timeout=150s", "-test.skip="+skip)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), logtest.URLVariable+"="+server.URL())
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := natstest.Run(t, cmd).Wait(t.Context()); err != nil {
		t.Errorf("%v\n%s", err, out.String())
	}
	// A suite that didn't look at the variable would pass as well.
	if n := server.Connections() - before; n < 10 {
		t.Errorf("only %d connections to the server", n)
	}
}

// skips are the tests that don't run on a server elsewhere, or not on one of
// this release.
func skips(t *testing.T, version string) string {
	var skip strings.Builder
	skip.WriteString(ownServer)
	if version != "" {
		_, minor := releaseNumber(t, version)
		for below, tests := range lacking {
			if minor < below {
				skip.WriteString("|" + tests)
			}
		}
	}
	return "^Test(" + skip.String() + ")$"
}

// lacking are the tests of what releases below a minor version don't have, or
// that set it.
var lacking = map[int]string{
	12: "Transaction.*|Tagged.*|Guards|MarkersAreSkipped|BatchOfADeadClient|ReaderProgress|Race|MergeMarkerOfAHeldFeed|IdentityAtOnce|CausalOrder|CausalMarkerOfAHeldFeed|LogEndsInMarkers|RefusedAppendsAreSeenByNobody",
	14: "Drift|Repair|CrashWhileCreating",
}

// ownServer are tests that take some time and run servers of their own,
// whatever the suite runs on.
const ownServer = "Source.*|Bulk.*|PowerFailure|ImportKilled|ImportServerRestarts|AppendWithoutServer|.*ThroughRestart"

const keptStream = "kept"

// keepStream gives the account a stream for as long as the test runs: a
// server that deletes an account's last stream removes the account's
// directory, and fails the stream that another client creates at that moment
// (err_code 10049). The suites' tests run side by side and delete all that
// they make.
func keepStream(t *testing.T, s *natstest.Server) jetstream.JetStream {
	t.Helper()
	nc := must(nats.Connect(s.URL()))(t)
	t.Cleanup(nc.Close)
	js := must(jetstream.New(nc))(t)
	must(js.CreateStream(t.Context(), jetstream.StreamConfig{Name: keptStream, Subjects: []string{keptStream}}))(t)
	return js
}

// leftBehind are the streams that a suite hasn't deleted. Buckets that nobody
// has written to are deleted here and don't count: what a closing runtime no
// longer waits for, the server may create behind the test's clean-up.
func leftBehind(t *testing.T, js jetstream.JetStream) (names []string) {
	t.Helper()
	streams := js.ListStreams(t.Context())
	for info := range streams.Info() {
		name := info.Config.Name
		switch {
		case name == keptStream:
		case strings.HasPrefix(name, "KV_") && info.State.LastSeq == 0:
			if err := js.DeleteStream(t.Context(), name); err != nil {
				t.Error(err)
			}
		default:
			names = append(names, name)
		}
	}
	if err := streams.Err(); err != nil {
		t.Error(err)
	}
	return names
}
