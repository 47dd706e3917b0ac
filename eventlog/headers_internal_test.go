package eventlog

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/tidemark-es/tidemark/internal/fuzzmem"
	"pgregory.net/rapid"
)

// gathered is what a block holds, as a map.
func gathered(h headers) nats.Header {
	m := make(nats.Header)
	for name, value := range h.fields() {
		m[string(name)] = append(m[string(name)], string(value))
	}
	return m
}

func sameHeaders(a, b nats.Header) bool { return maps.EqualFunc(a, b, slices.Equal) }

// A block is understood as nats.go understands it, whatever its bytes are:
// fingerprints that were taken from the one must hold for the other.
func FuzzHeaders(f *testing.F) {
	for _, s := range []string{
		"", "NATS/1.0\r\n\r\n", "NATS/1.0\r\nA: b\r\n\r\n", "NATS/1.0\r\nA:b\r\nA:\t c \r\na:\r\n\r\n", "NATS/1.0\nA: b\n\n",
		"NATS/1.0 503\r\n\r\n", "NATS/1.0 408 No  Interest \r\nX: y\r\n\r\n", "NATS/1.0 4\r\n\r\n", "NATS/1.0\r\n: b\r\n\r\n",
		"NATS/1.0\r\nA\r\n\r\n", "NATS/1.0\r\nA: b", "NATS/1.\r\n\r\n", "NATS/1.0\r\nA: b\r\n\r\nB: c\r\n", "NATS/1.0503\r\nStatus: 7\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		want, err := nats.DecodeHeadersMsg(b)
		h := headers(b)
		var got error
		fuzzmem.Check(t, len(b), 10, 8<<20, func() { got = h.each(func(_, _ []byte) bool { return true }) })
		if len(b) > 0 && (got == nil) != (err == nil) {
			t.Fatalf("%q: %v, nats.go says %v", b, got, err)
		}
		if err != nil || len(b) == 0 {
			return
		}
		if got := gathered(h); !sameHeaders(got, want) {
			t.Fatalf("%q: %q, want %q", b, got, want)
		}
		for name, values := range want {
			if v, ok := h.find(name); !ok || string(v) != values[0] {
				t.Fatalf("%q: %s is %q (%v), want %q", b, name, v, ok, values[0])
			}
		}
		if v, ok := h.find("no such name"); ok && want["no such name"] == nil {
			t.Fatalf("%q: found %q", b, v)
		}
		m, n := message{header: h}, message{header: headersOf(want)}
		if len(want) > 0 && !strings.Contains(string(b), "NATS/1.0 ") && m.fingerprint() != n.fingerprint() {
			t.Fatalf("%q: the fingerprint depends on the form", b)
		}
	})
}

// A message that came decoded has the fingerprint of the stored block, and
// its clone too.
func TestHeadersOf(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`([!-~]([ -~]{0,8}[!-~])?)?`)
		h := make(nats.Header)
		var stored strings.Builder
		stored.WriteString(headerLine)
		for range rapid.IntRange(0, 12).Draw(t, "fields") {
			name := rapid.StringMatching(`[!-9;-~]{1,3}`).Draw(t, "name")
			value := text.Draw(t, "value")
			h[name] = append(h[name], value)
			stored.WriteString(name + rapid.SampledFrom([]string{":", ": ", ":\t "}).Draw(t, "colon") + value + "\r\n")
		}
		stored.WriteString("\r\n")
		m := message{seq: 1, subject: "s", header: headers(stored.String()), data: []byte("data")}
		n := message{seq: 1, subject: "s", header: headersOf(h), data: []byte("data")}
		c := m.clone()
		if !sameHeaders(gathered(m.header), h) || !sameHeaders(gathered(n.header), h) {
			t.Fatalf("%q, %q, want %q", m.header, n.header, h)
		}
		if m.fingerprint() != n.fingerprint() || m.fingerprint() != c.fingerprint() {
			t.Fatalf("%q and %q have different fingerprints", m.header, n.header)
		}
	})
}
