package eventlog

import (
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/tidemark-es/tidemark/internal/fuzzmem"
)

var update = flag.Bool("update", false, "write the golden files anew")

type goldenOpened struct{ Owner string }

type goldenPaid struct {
	Cents int64
	Ref   string `msgpack:"ref"`
}

func goldenRegistry(t testing.TB, opts ...FeedOption) *registry {
	t.Helper()
	r, err := newRegistry("accounts", append(opts, Type[goldenOpened]("opened"), Type[goldenPaid]("paid")), true, 0)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

var goldenCommits = []struct {
	name   string
	codec  Codec
	events []any
}{
	{"single", MsgPack, []any{goldenOpened{"Ada"}}},
	{"several", MsgPack, []any{goldenOpened{"Ada"}, goldenPaid{1000, "r1"}, goldenPaid{-5, ""}}},
	{"single-json", JSON, []any{goldenPaid{7, "x"}}},
	{"several-json", JSON, []any{goldenPaid{7, "x"}, goldenOpened{"Bo"}}},
}

// The bytes that are in logs already must be read for ever.
func TestGoldenCommits(t *testing.T) {
	var text strings.Builder
	for _, g := range goldenCommits {
		reg := goldenRegistry(t, WithCodec(g.codec))
		payload, types, err := encodePayload("accounts", reg, g.events)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&text, "%s\n  types %s\n  payload %s\n", g.name, types, hex.EncodeToString(payload))
		count := ""
		if len(g.events) > 1 {
			count = fmt.Sprint(len(g.events))
		}
		parts, err := decodePayload(types, count, payload, nil)
		if err != nil || len(parts) != len(g.events) {
			t.Fatalf("%s: %d parts, %v", g.name, len(parts), err)
		}
		for i, p := range parts {
			if v, err := reg.byName[p.typ].decode(g.codec, p.data); err != nil || v != g.events[i] {
				t.Errorf("%s: event %d is %v, %v", g.name, i, v, err)
			}
		}
	}
	golden(t, "commits.txt", text.String())
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", path, got, want)
	}
}

func goldenMessage() message {
	return message{
		seq: 42, nanos: time.Unix(1_700_000_000, 123_456_789).UnixNano(), subject: "bank.accounts.acct-42",
		header: headersOf(nats.Header{"Nats-Msg-Id": {"importer/1"}, "Tm-Type": {"opened"}}),
		data:   []byte{0x81, 0xa5, 'O', 'w', 'n', 'e', 'r', 0xa3, 'A', 'd', 'a'},
	}
}

// The example of docs/format-commit.md.
func TestGoldenFingerprint(t *testing.T) {
	m := goldenMessage()
	got := fmt.Sprint(m.fingerprint())
	golden(t, "fingerprint.txt", got+"\n")
	page, err := os.ReadFile("../docs/format-commit.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), got) {
		t.Errorf("docs/format-commit.md doesn't have the fingerprint %s", got)
	}
	block := func(name string, values ...string) headers {
		return headersOf(nats.Header{"Nats-Msg-Id": {"importer/1"}, name: values})
	}
	for name, change := range map[string]func(*message){
		"sequence": func(m *message) { m.seq++ },
		"time":     func(m *message) { m.nanos++ },
		"subject":  func(m *message) { m.subject += "x" },
		"header":   func(m *message) { m.header = block("Tm-Type", "opene") },
		"name":     func(m *message) { m.header = block("Tm-Typ", "eopened") },
		"values":   func(m *message) { m.header = block("Tm-Type", "opened", "") },
		"payload":  func(m *message) { m.data = append(m.data, 0) },
	} {
		c := goldenMessage()
		change(&c)
		if c.fingerprint() == m.fingerprint() {
			t.Errorf("%s makes no difference", name)
		}
	}
}

func TestDecodePayloadRefuses(t *testing.T) {
	for _, c := range []struct{ types, events, payload string }{
		{"", "", "x"},
		{"a", "1", "\x01\x00\x00"},
		{"a", "0", "\x01"},
		{"a", "10001", "\x01"},
		{"a", "-2", "\x01"},
		{"a", "2", ""},
		{"a", "2", "\x02\x00\x00\x00\x00"},
		{"a", "2", "\x01\x00\x00"},
		{"a", "2", "\x01\x00\x00\x01\x00"},
		{"a", "2", "\x01\x00\x00\x00\x02x"},
		{"a", "2", "\x01\x00\x00\x00\x00x"},
		{"", "2", "\x01\x00\x00\x00\x00"},
		{"a", "2", "\x01\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00\x00"},
	} {
		if _, err := decodePayload(c.types, c.events, []byte(c.payload), nil); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%q %q %q: %v", c.types, c.events, c.payload, err)
		}
	}
}

func FuzzDecodePayload(f *testing.F) {
	reg := goldenRegistry(f)
	for _, g := range goldenCommits {
		payload, types, err := encodePayload("accounts", reg, g.events)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(types, fmt.Sprint(len(g.events)), payload)
		f.Add(types, "", payload)
	}
	f.Add("a", "10000", []byte{1, 0, 0})
	f.Fuzz(func(t *testing.T, types, events string, payload []byte) {
		var parts []part
		var err error
		fuzzmem.Check(t, len(types)+len(payload), 200, 8<<20, func() { parts, err = decodePayload(types, events, payload, nil) })
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatalf("not an ErrCorrupt: %v", err)
			}
			return
		}
		size := 0
		for _, p := range parts {
			if size += len(p.data); p.typ == "" || size > len(payload) {
				t.Fatalf("type %q, %d bytes of %d", p.typ, size, len(payload))
			}
		}
		// What a commit claims to hold costs no memory before it is there.
		if len(parts) > len(payload)/2+1 {
			t.Fatalf("%d events out of %d bytes", len(parts), len(payload))
		}
		for _, p := range parts {
			if et, ok := reg.byName[p.typ]; ok {
				_, _ = et.decode(MsgPack, p.data)
			}
		}
	})
}
