package kv_test

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

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

// A bucket is listed without the records that the server can't read: they are
// counted, so the server promises them, and they never come.
func TestListOfDamagedRecords(t *testing.T) {
	for name, damage := range map[string]func(block []byte){
		"the last record": func(b []byte) { b[len(b)-20] ^= 1 },
		"the last length": func(b []byte) { // so that the whole block can't be read
			at := 0
			for next := 0; next < len(b); next += int(binary.LittleEndian.Uint32(b[at:]) &^ (1 << 31)) {
				at = next
			}
			b[at+3] ^= 2
		},
	} {
		dir := t.TempDir()
		open := func() (*eventlog.Log, *kv.Bucket) {
			log, err := eventlog.Open(t.Context(), eventlog.Options{App: "app", Dir: dir})
			ok(t, err)
			return log, kv.New(kv.Options{JetStream: log.JetStream(), APIPrefix: log.APIPrefix(), Bucket: "app_records", Timeout: 10 * time.Second})
		}
		log, b := open()
		for _, key := range []string{"a", "b", "c", "d", "e"} {
			ok(t, b.Put(t.Context(), key, []byte("a record of some length")))
		}
		ok(t, b.Delete(t.Context(), "b", 2))
		ok(t, b.Put(t.Context(), "f", []byte("a record of some length")))
		ok(t, log.Close())
		path := filepath.Join(dir, "jetstream", "$G", "streams", "KV_app_records", "msgs", "1.blk")
		block, err := os.ReadFile(path)
		ok(t, err)
		damage(block)
		ok(t, os.WriteFile(path, block, 0o600))
		log, b = open()
		items, err := b.List(t.Context(), "*")
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var keys []string
		for _, i := range items {
			keys = append(keys, i.Key)
		}
		if want := []string{"a", "c", "d", "e"}; len(keys) > 0 && !slices.Equal(keys, want) {
			t.Errorf("%s: listed %v", name, keys)
		}
		ok(t, log.Close())
	}
}
