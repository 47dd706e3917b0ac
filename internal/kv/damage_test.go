package kv_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/kv"
)

// A record that the server can't read is told from one that isn't there, is
// never written over, and costs no other record of the bucket.
func TestDamagedRecord(t *testing.T) {
	dir := t.TempDir()
	open := func() (*eventlog.Log, *kv.Bucket) {
		log, err := eventlog.Open(t.Context(), eventlog.Options{App: "app", Dir: dir})
		ok(t, err)
		return log, kv.New(kv.Options{JetStream: log.JetStream(), APIPrefix: log.APIPrefix(), Bucket: "app_records"})
	}
	log, b := open()
	ok(t, b.Put(t.Context(), "before", []byte("x")))
	ok(t, b.Put(t.Context(), "damaged", []byte("a record of some length")))
	ok(t, b.Put(t.Context(), "after", []byte("y")))
	ok(t, log.Close())
	path := filepath.Join(dir, "jetstream", "$G", "streams", "KV_app_records", "msgs", "1.blk")
	block, err := os.ReadFile(path)
	ok(t, err)
	block[len(block)/2] ^= 1
	ok(t, os.WriteFile(path, block, 0o600))

	log, b = open()
	if _, err := b.Get(t.Context(), "damaged"); !errors.Is(err, kv.ErrDamaged) {
		t.Errorf("get: %v", err)
	}
	if _, err := b.Swap(t.Context(), "damaged", []byte("z"), 0); !errors.Is(err, kv.ErrDamaged) {
		t.Errorf("swap: %v", err)
	}
	if err := b.Put(t.Context(), "damaged", []byte("z")); !errors.Is(err, kv.ErrDamaged) {
		t.Errorf("put: %v", err)
	}
	is(t, b, "nothing", nil, 0)
	is(t, b, "before", []byte("x"), 1)
	is(t, b, "after", []byte("y"), 3)
	ok(t, b.Put(t.Context(), "after", []byte("z")))
	is(t, b, "after", []byte("z"), 4)
	ok(t, log.Close())
}
