package term

import (
	"math"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestEscape(t *testing.T) {
	for in, want := range map[string]string{
		"":                   "",
		"cmd/demo/main.go":   "cmd/demo/main.go",
		"ü日本 'q' \"q\" b\\s": "ü日本 'q' \"q\" b\\s",
		"a\nb\tc\rd":         `a\nb\tc\rd`,
		"\x1b[2J\x07\x00":    `\x1b[2J\a\x00`,
		"\u009b31m":          `\u009b31m`,     // a C1 control is an escape too
		"\u202egnp.exe":      `\u202egnp.exe`, // turns the direction of text
		"\xff\xc3":           `\xff\xc3`,
		"\uFFFD":             "\uFFFD",
		"a\u00a0b\u200b\x7f": `a\u00a0b\u200b\x7f`,
		"\U000e0001":         `\U000e0001`,
	} {
		if got := Escape(in); got != want {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
}

func FuzzEscape(f *testing.F) {
	f.Add("a\x1b[31m\xffü\u202e")
	f.Fuzz(func(t *testing.T, s string) {
		got := Escape(s)
		if !utf8.ValidString(got) || strings.ContainsFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%q still drives the terminal: %q", s, got)
		}
		if Escape(got) != got {
			t.Errorf("%q isn't stable", got)
		}
	})
}

func TestNumber(t *testing.T) {
	for in, want := range map[int64]string{
		0: "0", 999: "999", 1000: "1,000", -1000: "-1,000", -999: "-999", 1234567: "1,234,567", 100000: "100,000",
		math.MinInt64: "-9,223,372,036,854,775,808", math.MaxInt64: "9,223,372,036,854,775,807",
	} {
		if got := Number(in); got != want {
			t.Errorf("%d is %s, want %s", in, got, want)
		}
	}
}

func TestShorten(t *testing.T) {
	for width, want := range map[int]string{
		20: "a/deep/path/file.go", 19: "a/deep/path/file.go", 18: "a/dee…path/file.go",
		10: "a/d…ile.go", 2: "…o", 1: "…", 0: "", -1: "",
	} {
		if got := Shorten("a/deep/path/file.go", width); got != want {
			t.Errorf("at %d: %q, want %q", width, got, want)
		}
	}
	if got := Shorten("äöüäöü", 4); got != "ä…öü" {
		t.Errorf("runes: %q", got)
	}
}

func TestBar(t *testing.T) {
	for _, c := range []struct {
		value, most    int64
		width          int
		plain, onBlock string
	}{
		{0, 10, 8, "", ""},
		{-1, 10, 8, "", ""},
		{1, 0, 8, "", ""},
		{1, 10, 0, "", ""},
		{10, 10, 8, "########", "████████"},
		{99, 10, 4, "####", "████"},
		{5, 10, 3, "##", "█▌"},
		{1, 1e9, 8, "#", "▏"},
		{math.MaxInt64, math.MaxInt64, 2, "##", "██"},
	} {
		if got := (Mode{}).Bar(c.value, c.most, c.width); got != c.plain {
			t.Errorf("%+v: %q", c, got)
		}
		if got := (Mode{Terminal: true}).Bar(c.value, c.most, c.width); got != c.onBlock {
			t.Errorf("%+v: %q", c, got)
		}
	}
}
