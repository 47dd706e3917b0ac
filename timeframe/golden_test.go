package timeframe

import (
	"bytes"
	"encoding/hex"
	"os"
	"regexp"
	"strings"
	"testing"
)

// The examples of docs/format-timeframe.md; they never change within a version.
const goldenText = "accounts=12,orders=300"

func goldenTag(t testing.TB) Tag {
	tag := Tag{At: tf(t, goldenText), Lineages: map[string]Lineage{
		"accounts": {Incarnation: "k3Xa", Anchors: []Anchor{{12, ascending(0x10)}, {5, ascending(0x20)}}},
		"orders":   {Anchors: []Anchor{{300, ascending(0x30)}}},
	}}
	at, err := tag.At.With("refunds", 0)
	if err != nil {
		t.Fatal(err)
	}
	tag.At = at
	return tag
}

func ascending(from byte) Fingerprint {
	var f Fingerprint
	for i := range f {
		f[i] = from + byte(i)
	}
	return f
}

// The page's examples are what the code writes and reads.
func TestFormatPage(t *testing.T) {
	page, err := os.ReadFile("../docs/format-timeframe.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"`" + goldenText + "`", "`" + EmptyText + "`"} {
		if !strings.Contains(string(page), text) {
			t.Errorf("the page doesn't show %s", text)
		}
	}
	wantTimeframe, _ := tf(t, goldenText).MarshalBinary()
	wantTag, err := goldenTag(t).MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	if got := example(t, page, "timeframe"); !bytes.Equal(got, wantTimeframe) {
		t.Errorf("timeframe: the page has %x, the code writes %x", got, wantTimeframe)
	}
	if got := example(t, page, "tag"); !bytes.Equal(got, wantTag) {
		t.Errorf("tag: the page has %x, the code writes %x", got, wantTag)
	}
	var tag Tag
	if err := tag.UnmarshalBinary(example(t, page, "tag")); err != nil || !tag.Equal(goldenTag(t)) {
		t.Errorf("the page's tag reads as %+v, %v", tag, err)
	}
}

// example returns the bytes of the page's block that is marked with the name:
// hexadecimal digits, up to two blanks and a remark on each line.
func example(t *testing.T, page []byte, name string) []byte {
	t.Helper()
	block := regexp.MustCompile("(?s)```hex " + name + "\n(.*?)```").FindSubmatch(page)
	if block == nil {
		t.Fatalf("the page has no block %q", name)
	}
	var digits strings.Builder
	for line := range strings.Lines(string(block[1])) {
		bytes, _, _ := strings.Cut(line, "  ")
		digits.WriteString(strings.Join(strings.Fields(bytes), ""))
	}
	data, err := hex.DecodeString(digits.String())
	if err != nil {
		t.Fatal(err)
	}
	return data
}
