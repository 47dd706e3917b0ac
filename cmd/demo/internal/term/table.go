package term

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// Kind is how a column is laid out.
type Kind int

const (
	// Text is aligned left; where the line is too long for the terminal, the
	// middle of the longest texts is left out.
	Text Kind = iota
	// Num is aligned right and never shortened.
	Num
	// Bars draws whole numbers as bars, relative to the column's largest. On a
	// narrow terminal it is left out.
	Bars
)

// The widths that a table shrinks between, in columns.
const (
	gap     = 2
	barMost = 24
	barMin  = 6
	textMin = 12
)

// Column is one column of a table.
type Column struct {
	Title string
	Kind  Kind
	Style func(string) string // colours the cells, if not nil
}

// Table collects rows and aligns them. It isn't safe for concurrent use.
type Table struct {
	mode    Mode
	columns []Column
	rows    [][]cell
}

// cell is an escaped text, or the value of a bar.
type cell struct {
	text  string
	value int64
}

// NewTable is an empty table for an output of the given mode.
func NewTable(m Mode, columns ...Column) *Table {
	return &Table{mode: m, columns: columns}
}

// Row adds a row. Whole numbers get thousands separators; everything else is
// written as by fmt.Print, and escaped. Cells that are missing are empty, and
// cells beyond the last column are dropped.
func (t *Table) Row(cells ...any) {
	row := make([]cell, len(t.columns))
	for i, v := range cells[:min(len(cells), len(row))] {
		row[i] = newCell(v)
	}
	t.rows = append(t.rows, row)
}

func newCell(v any) cell {
	switch v := v.(type) {
	case int:
		return cell{Number(int64(v)), int64(v)}
	case int32:
		return cell{Number(int64(v)), int64(v)}
	case int64:
		return cell{Number(v), v}
	case uint32:
		return cell{Number(int64(v)), int64(v)}
	case uint64:
		return cell{group(fmt.Sprint(v)), int64(min(v, 1<<63-1))}
	}
	return cell{text: Escape(fmt.Sprint(v))}
}

// WriteTo writes the header and the rows, with one call of w.
func (t *Table) WriteTo(w io.Writer) (int64, error) {
	n, err := io.WriteString(w, t.String())
	return int64(n), err
}

// String is the header and the rows; each line ends in a newline.
func (t *Table) String() string {
	widths := t.layout()
	var b strings.Builder
	head, rule := make([]cell, len(t.columns)), make([]cell, len(t.columns))
	for i, c := range t.columns {
		if c.Title != "" {
			head[i].text, rule[i].text = Escape(c.Title), strings.Repeat("-", widths[i])
		}
	}
	bold := func(int) func(string) string { return t.mode.Style().Bold }
	t.line(&b, widths, head, bold)
	if !t.mode.Color { // nothing else sets the header apart
		t.line(&b, widths, rule, bold)
	}
	most := t.largest()
	for _, row := range t.rows {
		shown := slices.Clone(row)
		for i, c := range t.columns {
			if c.Kind == Bars {
				shown[i].text = t.mode.Bar(row[i].value, most[i], widths[i])
			}
		}
		t.line(&b, widths, shown, func(i int) func(string) string { return t.columns[i].Style })
	}
	return b.String()
}

// line writes one line; columns of width 0 are left out. Colours go around the
// padded cell, so that they don't count as width.
func (t *Table) line(b *strings.Builder, widths []int, row []cell, style func(i int) func(string) string) {
	end := lastShown(widths, row)
	for i := 0; i <= end; i++ {
		if widths[i] == 0 {
			continue
		}
		text := Shorten(row[i].text, widths[i])
		if i < end || t.columns[i].Kind == Num {
			text = pad(text, widths[i], t.columns[i].Kind == Num)
		}
		if colour := style(i); colour != nil {
			text = colour(text)
		}
		b.WriteString(text)
		if i < end {
			b.WriteString(strings.Repeat(" ", gap))
		}
	}
	b.WriteByte('\n')
}

// lastShown is the last cell with something in it: no blanks end a line.
func lastShown(widths []int, row []cell) int {
	end := len(row) - 1
	for end >= 0 && (widths[end] == 0 || row[end].text == "") {
		end--
	}
	return end
}

// layout gives each column its width: as wide as its content, less where the
// line wouldn't fit. A width of 0 leaves the column out.
func (t *Table) layout() []int {
	widths := t.natural()
	limit := t.mode.columns()
	if limit <= 0 {
		return widths
	}
	t.shrink(widths, limit, Bars, barMin)
	t.shrink(widths, limit, Text, textMin)
	if total(widths) <= limit {
		return widths
	}
	widths = t.natural()
	for i, c := range t.columns {
		if c.Kind == Bars {
			widths[i] = 0
		}
	}
	t.shrink(widths, limit, Text, 1)
	return widths
}

// natural is the width of each column's content.
func (t *Table) natural() []int {
	widths := make([]int, len(t.columns))
	for i, c := range t.columns {
		widths[i] = utf8.RuneCountInString(Escape(c.Title))
		if c.Kind == Bars {
			widths[i] = max(widths[i], barMost)
			continue
		}
		for _, row := range t.rows {
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i].text))
		}
	}
	return widths
}

// shrink takes from the widest column of the kind until the line fits or all
// of them are down to least.
func (t *Table) shrink(widths []int, limit int, kind Kind, least int) {
	for over := total(widths) - limit; over > 0; over-- {
		widest := -1
		for i, c := range t.columns {
			if c.Kind == kind && widths[i] > least && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			return
		}
		widths[widest]--
	}
}

// total is the length of a line with columns of these widths.
func total(widths []int) int {
	sum := -gap
	for _, w := range widths {
		if w > 0 {
			sum += w + gap
		}
	}
	return max(0, sum)
}

// largest is each column's largest value.
func (t *Table) largest() []int64 {
	most := make([]int64, len(t.columns))
	for _, row := range t.rows {
		for i, c := range row {
			most[i] = max(most[i], c.value)
		}
	}
	return most
}
