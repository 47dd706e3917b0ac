package term

import (
	"math"
	"strings"
	"testing"
	"unicode/utf8"
)

func sample(m Mode) *Table {
	t := NewTable(m, Column{Title: "path"}, Column{Title: "changes", Kind: Num}, Column{Kind: Bars})
	t.Row("server/jetstream/consumer.go", 12345, 12345)
	t.Row("a\nb\x1b[31m\xff", int64(7), 7)
	t.Row("", uint64(0), 0)
	return t
}

func TestTablePlain(t *testing.T) {
	want := `
path                          changes
----------------------------  -------
server/jetstream/consumer.go   12,345  ########################
a\nb\x1b[31m\xff                    7  #
                                    0
`
	if got := sample(Mode{}).String(); got != want[1:] {
		t.Errorf("got\n%s\nwant%s", got, want)
	}
}

func TestTableOnTerminal(t *testing.T) {
	for width, want := range map[int]string{
		60: `
path                          changes
----------------------------  -------
server/jetstream/consumer.go   12,345  █████████████████████
a\nb\x1b[31m\xff                    7  ▏
                                    0
`,
		40: `
path                     changes
-----------------------  -------
server/…eam/consumer.go   12,345  ██████
a\nb\x1b[31m\xff               7  ▏
                               0
`,
		24: `
path             changes
---------------  -------
serv…onsumer.go   12,345
a\nb…1b[31m\xff        7
                       0
`,
	} {
		got := sample(Mode{Terminal: true, Width: width}).String()
		for line := range strings.Lines(got) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > width {
				t.Errorf("%d runes in %d columns: %q", n, width, line)
			}
		}
		if got != want[1:] {
			t.Errorf("width %d: got\n%s\nwant%s", width, got, want)
		}
	}
}

// Whatever the width, the columns stay in line and nothing fails.
func TestTableAnyWidth(t *testing.T) {
	for width := 1; width < 100; width++ {
		lines := strings.Split(strings.TrimSuffix(sample(Mode{Terminal: true, Width: width}).String(), "\n"), "\n")
		if len(lines) != 5 {
			t.Fatalf("width %d: %d lines", width, len(lines))
		}
		end := runeIndex(lines[2], "12,345") + len("12,345")
		for i, last := range map[int]string{0: "changes", 3: "7", 4: "0"} {
			column := []rune(lines[i])[:end]
			if !strings.HasSuffix(string(column), last) {
				t.Errorf("width %d: %q isn't in line:\n%s", width, last, strings.Join(lines, "\n"))
			}
		}
	}
}

func runeIndex(s, sub string) int {
	return utf8.RuneCountInString(s[:max(0, strings.Index(s, sub))])
}

func TestTableStyle(t *testing.T) {
	m := Mode{Terminal: true, Color: true, Width: 80}
	table := NewTable(m, Column{Title: "name", Style: m.Style().Cyan}, Column{Title: "n", Kind: Num})
	table.Row("x", 1)
	want := "\x1b[1mname\x1b[0m  \x1b[1mn\x1b[0m\n\x1b[36mx   \x1b[0m  1\n"
	if got := table.String(); got != want {
		t.Errorf("%q", got)
	}
}

func TestTableOddRows(t *testing.T) {
	table := NewTable(Mode{}, Column{Title: "a"}, Column{Title: "b", Kind: Num}, Column{Title: "c"})
	table.Row()
	table.Row("x", 1, 2.5, "too much")
	table.Row(nil, uint64(math.MaxUint64), []string{"\n"})
	var b strings.Builder
	n, err := table.WriteTo(&b)
	want := `
a                               b  c
-----  --------------------------  ----

x                               1  2.5
<nil>  18,446,744,073,709,551,615  [\n]
`
	if b.String() != want[1:] || n != int64(b.Len()) || err != nil {
		t.Errorf("%d, %v:\n%s", n, err, b.String())
	}
	if got := NewTable(Mode{Width: 10}).String(); strings.TrimSpace(got) != "" {
		t.Errorf("no columns: %q", got)
	}
}
