package eventlog

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/tidemark-es/tidemark/internal/fuzzmem"
	"pgregory.net/rapid"
)

// oddKeys are keys that other encodings have got wrong.
var oddKeys = []string{
	"*", ">", "a.*", "a.>", ".", "..", "...", ".a", "a.", "a..b", "eu.42", " ", "a b", "\t", "\r\n", "\x00",
	"$x", "$JS.API", "%", "%41", "%2E", "😀", "é", "\xff\xfe", "\x7f", `"`, `\`, "<&>", "_", "-", "a/b:c",
}

func checkEncoded(t interface{ Fatalf(string, ...any) }, key, enc string) {
	for token := range strings.SplitSeq(enc, ".") {
		if token == "" {
			t.Fatalf("key %q: %q has an empty token", key, enc)
		}
	}
	for i := range len(enc) {
		if c := enc[i]; c < 0x21 || c > 0x7e || c == '*' || c == '>' || c == '$' {
			t.Fatalf("key %q: %q has byte %q", key, enc, c)
		}
	}
}

func TestKeyEncoding(t *testing.T) {
	owner := make(map[string]string)
	check := func(t interface{ Fatalf(string, ...any) }, key string) {
		enc, err := encodeKey(key)
		if err != nil {
			t.Fatalf("encode %q: %v", key, err)
		}
		checkEncoded(t, key, enc)
		if o, ok := owner[enc]; ok && o != key {
			t.Fatalf("%q and %q are both %q", o, key, enc)
		}
		owner[enc] = key
		if back, err := decodeKey(enc); err != nil || back != key {
			t.Fatalf("%q -> %q -> %q, %v", key, enc, back, err)
		}
	}
	for _, key := range oddKeys {
		check(t, key)
	}
	rapid.Check(t, func(t *rapid.T) {
		// Few bytes, so that keys come near each other.
		b := rapid.SliceOfN(rapid.SampledFrom([]byte(".%*>$ 24EeA\x00\xff")), 1, 12).Draw(t, "bytes")
		check(t, string(b))
		check(t, string(rapid.SliceOfN(rapid.Byte(), 1, 64).Draw(t, "any")))
	})
}

// The table of docs/format-commit.md.
func TestKeyEncodingPage(t *testing.T) {
	page, err := os.ReadFile("../docs/format-commit.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"acct-42", "eu.42", "a..b", "a b", "*", "100%"} {
		enc, err := encodeKey(key)
		if row := fmt.Sprintf("| `%s` | `%s` |", key, enc); err != nil || !strings.Contains(string(page), row) {
			t.Errorf("no row %s; %v", row, err)
		}
	}
}

func TestKeyLimits(t *testing.T) {
	for _, c := range []struct {
		key string
		ok  bool
	}{
		{"", false},
		{strings.Repeat("k", MaxKeyBytes), true},
		{strings.Repeat("k", MaxKeyBytes+1), false},
		{strings.Repeat(" ", MaxKeyBytes/3), true},
		{strings.Repeat(" ", MaxKeyBytes/3+1), false},
	} {
		_, err := encodeKey(c.key)
		ke, isKey := errors.AsType[*KeyError](err)
		if (err == nil) != c.ok || (err != nil && (!isKey || !errors.Is(err, ErrInvalidKey) || len(ke.Error()) > 400)) {
			t.Errorf("key of %d bytes: %v", len(c.key), err)
		}
	}
}

func FuzzDecodeKey(f *testing.F) {
	for _, key := range oddKeys {
		f.Add(key)
		enc, _ := encodeKey(key)
		f.Add(enc)
	}
	f.Add("%4")
	f.Add("%zz")
	f.Fuzz(func(t *testing.T, enc string) {
		var key string
		var err error
		fuzzmem.Check(t, len(enc), 10, 8<<20, func() { key, err = decodeKey(enc) })
		if err != nil {
			return
		}
		// It takes nothing but what encodeKey makes.
		if again, err := encodeKey(key); err != nil || again != enc {
			t.Fatalf("%q -> %q -> %q, %v", enc, key, again, err)
		}
		checkEncoded(t, key, enc)
	})
}
