package snapshot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// With a small maximum payload the manifest of a large state doesn't fit: that
// is told when its chunks are more than a manifest can name, before the others are
// written, with what to do, and what was stored stays good.
func TestManifestOfALargeState(t *testing.T) {
	dir := t.TempDir()
	conf := filepath.Join(dir, "conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, "max_payload: 16KB\nmax_pending: 1MB\njetstream { store_dir: %q }\n", dir), 0o600); err != nil {
		t.Fatal(err)
	}
	o, err := server.ProcessConfigFile(conf)
	if err != nil {
		t.Fatal(err)
	}
	o.DontListen, o.NoSigs, o.NoLog = true, true, true
	srv, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	s := opened(t, connected(t, "", nats.InProcessServer(srv)))
	p := publish(s)
	p.save(t, 1, put("k", "small"))
	before := len(keys(t, s, "chunk"))
	var large []Change
	for i := range 2000 {
		large = append(large, put(fmt.Sprintf("k%05d", i), string(noise(10<<10, uint64(i)))))
	}
	_, err = s.Save(t.Context(), "u", p.base, cut(2, Member{Name: "a", Version: 1, Meaning: "m1", Codec: "c", Changes: large}))
	if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "max_payload (16384 now") {
		t.Errorf("save: %v", err)
	}
	if written := len(keys(t, s, "chunk")) - before; written > s.limit/len(ID{})+1 {
		t.Errorf("%d chunks were written, and %d fit into a manifest", written, s.limit/len(ID{}))
	}
	wantNewest(t, s, 1, map[string]string{"k": "small"})
	// What fits is saved.
	p.save(t, 3, large[:200]...)
	wantNewest(t, s, 3, p.state)
}
