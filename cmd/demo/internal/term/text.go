package term

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Escape shows what isn't printable the way Go writes it: \n, \t, \x1b, \u202e;
// bytes that aren't UTF-8 as \xff. That covers control characters, the marks
// that turn the direction of text, and blanks other than the plain one. A
// backslash stays as it is, so the result is for reading, not for parsing.
func Escape(s string) string {
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD"):
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
	}
	return b.String()
}

// Number writes n with thousands separators: 1,234,567.
func Number(n int64) string { return group(strconv.FormatInt(n, 10)) }

// group puts a comma before every third digit from the end.
func group(digits string) string {
	sign := ""
	if rest, negative := strings.CutPrefix(digits, "-"); negative {
		sign, digits = "-", rest
	}
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return sign + b.String()
}

// Shorten leaves the middle of s out so that it takes at most width runes. Two
// thirds of what stays are the end, which tells paths apart.
func Shorten(s string, width int) string {
	n := utf8.RuneCountInString(s)
	switch {
	case n <= width:
		return s
	case width <= 0:
		return ""
	}
	runes := []rune(s)
	head := (width - 1) / 3
	tail := width - 1 - head
	return string(runes[:head]) + "…" + string(runes[n-tail:])
}

// pad fills s with blanks to width runes, on its left where right is true.
func pad(s string, width int, right bool) string {
	fill := strings.Repeat(" ", max(0, width-utf8.RuneCountInString(s)))
	if right {
		return fill + s
	}
	return s + fill
}

// eighths are the parts of a block, from one eighth to seven.
var eighths = []rune("▏▎▍▌▋▊▉")

// Bar is a bar of at most width columns whose length is value's share of most:
// of blocks on a terminal, of # elsewhere. A value above 0 always shows, and
// one above most is cut. No blanks follow it.
func (m Mode) Bar(value, most int64, width int) string {
	if value <= 0 || most <= 0 || width <= 0 {
		return ""
	}
	share := min(1, float64(value)/float64(most)) * float64(width)
	if !m.Terminal {
		return strings.Repeat("#", max(1, int(share+0.5)))
	}
	parts := max(1, int(share*8+0.5))
	bar := strings.Repeat("█", parts/8)
	if rest := parts % 8; rest > 0 {
		bar += string(eighths[rest-1])
	}
	return bar
}
