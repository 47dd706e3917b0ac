package eventlog

import (
	"bufio"
	"bytes"
	"fmt"
	"github.com/tidemark-es/tidemark/internal/fuzzmem"
	"sync"
	"testing"
)

// The writer's connection breaks again and again while 16 callers append:
// every append gets its position, and is in the log once.
func TestWireBreaks(t *testing.T) {
	l, err := Open(t.Context(), Options{App: "wire", Memory: true})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f, err := l.Feed(t.Context(), "accounts", Type[goldenOpened]("opened"))
	if err != nil {
		t.Fatal(err)
	}
	link, ok := f.writer.link.(*wireLink)
	if !ok {
		t.Fatalf("an embedded log writes through %T", f.writer.link)
	}
	const callers, each = 16, 40
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for i := range each {
				if i%10 == 5 && c == 0 {
					link.mu.Lock()
					if link.conn != nil {
						_ = link.conn.Close()
					}
					link.mu.Unlock()
				}
				if _, err := f.Append(t.Context(), fmt.Sprintf("k%d", c), ExpectAny, goldenOpened{fmt.Sprint(i)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	next := map[string]int{}
	for e, err := range f.Read(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		v, err := Decode[goldenOpened](e)
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprint(next[e.Key]); v.Owner != want {
			t.Errorf("%s: %s, want %s", e.Key, v.Owner, want)
		}
		next[e.Key]++
	}
	if len(next) != callers || next["k0"] != each {
		t.Errorf("%v", next)
	}
	if link.losses() == 0 {
		t.Error("no connection broke")
	}
}

// Whatever the bytes are, reading them neither panics nor takes memory that
// they merely claim.
func FuzzWireRead(f *testing.F) {
	f.Add([]byte("MSG _INBOX.1z 1 5\r\nhello\r\nPING\r\nMSG _INBOX.2 1 0\r\n\r\n"))
	f.Add([]byte("HMSG _INBOX.a 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n"))
	f.Add([]byte("-ERR 'no'\r\n"))
	f.Add([]byte("MSG _INBOX.1 1 999999999999\r\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		l := &wireLink{inbox: "_INBOX."}
		l.wake.L = &l.mu
		total := 0
		l.deliver = func(_ uint64, b []byte, _ bool) { total += len(b) }
		var err error
		fuzzmem.Check(t, len(data), 100, 8<<20, func() {
			total = 0
			err = l.read(bufio.NewReader(bytes.NewReader(data)))
		})
		if err == nil {
			t.Error("reading ended without a reason")
		}
		if total > len(data) {
			t.Errorf("delivered %d bytes of %d", total, len(data))
		}
	})
}
