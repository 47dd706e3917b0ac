package eventlog

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// A write to an end that takes nothing returns in a moment, and what was
// written comes whole and in order when it takes it again.
func TestUnblockedConn(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		ours, theirs := net.Pipe()
		defer theirs.Close()
		c := &unblockedConn{Conn: ours}
		var want bytes.Buffer
		begun := time.Now()
		writes := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 1, 300), 1, 8).Draw(rt, "writes")
		for _, p := range writes {
			if err := c.SetWriteDeadline(time.Now().Add(time.Minute)); err != nil {
				rt.Fatal(err)
			}
			if n, err := c.Write(p); err != nil || n != len(p) {
				rt.Fatalf("%d, %v", n, err)
			}
			want.Write(p)
		}
		if took := time.Since(begun); took > 5*time.Second {
			rt.Errorf("it took %s", took)
		}
		got := make([]byte, want.Len())
		for at := 0; at < len(got); {
			n, err := theirs.Read(got[at:min(len(got), at+rapid.IntRange(1, 100).Draw(rt, "piece"))])
			if err != nil {
				rt.Fatal(err)
			}
			at += n
		}
		if !bytes.Equal(got, want.Bytes()) {
			rt.Error("other bytes")
		}
		last := []byte("and on")
		go c.Write(last)
		got = make([]byte, len(last))
		if _, err := io.ReadFull(theirs, got); err != nil || !bytes.Equal(got, last) {
			rt.Errorf("%q, %v", got, err)
		}
	})
}

// An end that takes nothing for as long as the client waits is broken.
func TestUnblockedConnBreaks(t *testing.T) {
	ours, theirs := net.Pipe()
	defer theirs.Close()
	c := &unblockedConn{Conn: ours}
	_ = c.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("read: %v", err)
	}
	if _, err := c.Write([]byte("y")); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("write: %v", err)
	}
}
