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
	return cached(version+"-"+goVersion, func(dir string) error {
		_, err := goCommand(ctx, "build", "-o", filepath.Join(dir, "nats-server"), serverModule)
		return err
	})
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

// Releases are the supported releases of nats-server before the one that go.mod
// names: the last patch of each minor version.
var Releases = []string{"v2.10.27", "v2.11.17", "v2.12.15", "v2.14.10"}

// BinaryOf returns the path of a nats-server of a released version, which is
// built from its module where it isn't cached yet. "" is the one that go.mod
// names.
func BinaryOf(t testing.TB, version string) string {
	t.Helper()
	if version == "" {
		return Binary(t)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	path, err := released(ctx, version)
	if err != nil {
		t.Fatalf("build nats-server %s: %v", version, err)
	}
	return path
}

func released(ctx context.Context, version string) (string, error) {
	goVersion, err := goCommand(ctx, "env", "GOVERSION")
	if err != nil {
		return "", err
	}
	return cached(version+"-"+goVersion, func(dir string) error {
		cmd := exec.CommandContext(ctx, "go", "install", serverModule+"@"+version)
		cmd.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("go install %s@%s: %w\n%s", serverModule, version, err, out)
		}
		return nil
	})
}

// cached returns the path of a nats-server in the user's cache, and lets build
// put it into a directory where it isn't there. That is beside, and renamed, so
// that another test that runs at the same time never sees half of it.
func cached(name string, build func(dir string) error) (string, error) {
	dir := filepath.Join(cacheDir(), "tidemark-natstest", name)
	path := filepath.Join(dir, "nats-server")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	temp, err := os.MkdirTemp(dir, "build-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(temp)
	if err := build(temp); err != nil {
		return "", err
	}
	return path, os.Rename(filepath.Join(temp, "nats-server"), path)
}
