//go:build integration

package integration

import (
	"encoding/binary"
	"flag"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
)

// 10,000,000 commits of 1,000,000 keys: -large 10000000 -timeout 60m.
var large = flag.Int("large", 300_000, "commits of TestLargeStream; a tenth as many keys")

type counted struct{ N uint64 }

// MarshalMsg and UnmarshalMsg store the number in a msgpack string of bytes.
func (c *counted) MarshalMsg(b []byte) ([]byte, error) {
	return binary.BigEndian.AppendUint64(append(b, 0xc4, 8), c.N), nil
}

func (c *counted) UnmarshalMsg(b []byte) ([]byte, error) {
	if len(b) < 10 {
		return b, fmt.Errorf("%d bytes", len(b))
	}
	c.N = binary.BigEndian.Uint64(b[2:])
	return b[10:], nil
}

// A long log of many keys is written, opened again and replayed, and then
// followed; the memory that reading takes doesn't depend on its length. The
// server's does, whoever reads: it keeps an index of the subjects of each
// block that it has loaded, for some minutes.
func TestLargeStream(t *testing.T) {
	n, dir := uint64(*large), t.TempDir()
	ctx := t.Context()
	open := func() (*eventlog.Log, *eventlog.Feed) {
		log := must(eventlog.Open(ctx, eventlog.Options{App: "large", Dir: dir}))(t)
		return log, must(log.Feed(ctx, "counts", eventlog.Type[counted]("counted")))(t)
	}
	log, f := open()
	begun := time.Now()
	var last *eventlog.Pending
	for i := range n {
		last = must(f.AppendAsync(ctx, eventlog.Draft{Key: fmt.Sprintf("key-%07d", i%(n/10)), Events: []any{counted{i + 1}}}))(t)
	}
	must(last.Wait(ctx))(t)
	t.Logf("%d commits written in %v; %d MB of heap are in use then, %d MB on disk", n, time.Since(begun).Round(time.Millisecond), liveMB(), diskMB(t, dir))
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	begun = time.Now()
	log, f = open()
	defer log.Close()
	runtime.GC()
	before := liveMB()
	t.Logf("opened in %v; the server takes %d MB of heap", time.Since(begun).Round(time.Millisecond), before)
	begun = time.Now()
	look := uint64(1)
	r := must(f.NewReader(ctx, eventlog.Follow()))(t)
	defer r.Close()
	want, peak, client, reader := uint64(1), before, clientMB(), 0
	for want <= n+1 {
		for _, c := range must(r.Next(ctx))(t) {
			v, err := eventlog.Decode[counted](c.Event(0))
			if err != nil || c.Seq != want || v.N != want {
				t.Fatalf("commit %d has %d, want %d: %v", c.Seq, v.N, want, err)
			}
			want++
		}
		peak = max(peak, liveMB())
		if want >= look {
			reader, look = max(reader, clientMB()-client), look+50_000
		}
		if want == n+1 {
			t.Logf("replayed in %v; %d MB of heap more were in use at most, of which the reader's %d", time.Since(begun).Round(time.Millisecond), peak-before, reader)
			must(f.Append(ctx, "one more", eventlog.ExpectNew, counted{n + 1}))(t)
		}
	}
	if m := f.Metrics(); m.Bulk < n || m.Restarts != 0 {
		t.Errorf("%d messages by bulk, %d restarts", m.Bulk, m.Restarts)
	}
	if reader > 100 {
		t.Errorf("the reader has %d MB", reader)
	}
}

// clientMB is what is in use in this process and isn't the server's, by the
// samples of the heap's profile.
func clientMB() int {
	records := make([]runtime.MemProfileRecord, 10_000)
	n, ok := runtime.MemProfile(records, false)
	if !ok {
		panic("more places of allocation than expected")
	}
	bytes := 0.0
	for i := range records[:n] {
		r := &records[i]
		if r.InUseObjects() > 0 && !ofServer(r.Stack()) {
			// A sample stands for others, the more the smaller its objects are.
			size := float64(r.InUseBytes()) / float64(r.InUseObjects())
			bytes += float64(r.InUseBytes()) / (1 - math.Exp(-size/float64(runtime.MemProfileRate)))
		}
	}
	return int(bytes) >> 20
}

func ofServer(stack []uintptr) bool {
	frames := runtime.CallersFrames(stack)
	for {
		f, more := frames.Next()
		if strings.Contains(f.Function, "nats-io/nats-server") {
			return true
		}
		if !more {
			return false
		}
	}
}

// liveMB is what the garbage collector found in use, the last time.
func liveMB() int {
	s := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(s)
	return int(s[0].Value.Uint64() >> 20)
}

func diskMB(t *testing.T, dir string) int {
	t.Helper()
	size := int64(0)
	if err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			size += info.Size()
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return int(size >> 20)
}
