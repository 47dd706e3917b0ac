package gaps

import (
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"regexp"
	"strings"
	"testing"
)

// example is the page's block of hexadecimal digits, without its explanations.
func example(t *testing.T, page string) []byte {
	t.Helper()
	m := regexp.MustCompile("(?s)```hex register\n(.*?)```").FindStringSubmatch(page)
	if m == nil {
		t.Fatal("the page has no example")
	}
	var digits strings.Builder
	for line := range strings.Lines(m[1]) {
		code, _, _ := strings.Cut(line, "  ")
		digits.WriteString(strings.ReplaceAll(strings.TrimSpace(code), " ", ""))
	}
	b, err := hex.DecodeString(digits.String())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// seal adds the checksum.
func seal(b []byte) []byte {
	return binary.BigEndian.AppendUint32(b[:len(b):len(b)], crc32.Checksum(b, castagnoli))
}
