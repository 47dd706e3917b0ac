// Package natstest runs real nats-server processes for tests: one, or a
// cluster, each with JetStream, on loopback, with files of its own. Tests may
// stop, kill and restart them. No process outlives the test that started it,
// and none outlives the test's process on Linux.
package natstest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const serverModule = "github.com/nats-io/nats-server/v2"

// Binary returns the path of a nats-server of the version that go.mod names.
// It is built where it isn't cached yet, which takes some ten seconds.
func Binary(t testing.TB) string {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatalf("build nats-server: %v", err)
	}
	return path
}

var binary = sync.OnceValues(func() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	version, err := goCommand(ctx, "list", "-m", "-f", "{{.Version}}-{{.GoVersion}}", serverModule)
	if err != nil {
		return "", err
	}
	goVersion, err := goCommand(ctx, "env", "GOVERSION")
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cacheDir(), "tidemark-natstest", version+"-"+goVersion)
	path := filepath.Join(dir, "nats-server")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	// Built beside and renamed, so that another test that runs at the same
	// time never sees half of it.
	temp, err := os.MkdirTemp(dir, "build-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(temp)
	built := filepath.Join(temp, "nats-server")
	if _, err := goCommand(ctx, "build", "-o", built, serverModule); err != nil {
		return "", err
	}
	return path, os.Rename(built, path)
})

func cacheDir() string {
	if dir, err := os.UserCacheDir(); err == nil {
		return dir
	}
	return os.TempDir()
}

// goCommand runs the go command in the test's directory, and so in this
// module.
func goCommand(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return strings.TrimSpace(string(out)), nil
}
