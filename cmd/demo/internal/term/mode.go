// Package term writes for people: tables, a progress bar, bars and a heat map
// that use what a terminal can do, and read well in a file or a pipe too.
//
// Everything that the caller gives as data is escaped before it is shown (see
// [Escape]), so that a hostile file name can't drive the terminal. Widths are
// counted in runes: East Asian wide characters, which take two columns, and
// combining marks, which take none, put a column out of line.
package term

import (
	"os"

	"golang.org/x/term"
)

// fallbackWidth is assumed of a terminal that doesn't tell its width.
const fallbackWidth = 80

// Mode is what an output can do. The zero value is a plain file or pipe.
type Mode struct {
	Terminal bool // somebody looks at it: block characters, lines cut to Width
	Color    bool // escape sequences for colours; only on a terminal
	Redraw   bool // escape sequences that rewrite a line; only on a terminal
	Width    int  // in columns; 0 is no limit

	file *os.File // asked for its width again by columns; may be nil
}

// IsTerminal reports whether f is a terminal. A nil f isn't.
func IsTerminal(f *os.File) bool {
	return f != nil && term.IsTerminal(int(f.Fd()))
}

// Detect finds out what f can do. With NO_COLOR (set to anything but the empty
// string) there are no colours, with TERM=dumb neither colours nor redrawing.
func Detect(f *os.File) Mode {
	if !IsTerminal(f) {
		return Mode{}
	}
	m := onTerminal(os.Getenv)
	m.file = f
	m.Width = m.columns()
	return m
}

// onTerminal is what the environment says of a terminal.
func onTerminal(getenv func(string) string) Mode {
	dumb := getenv("TERM") == "dumb"
	return Mode{
		Terminal: true,
		Color:    !dumb && getenv("NO_COLOR") == "",
		Redraw:   !dumb,
		Width:    fallbackWidth,
	}
}

// columns is the width at this moment: a window can change while a progress
// bar is drawn.
func (m Mode) columns() int {
	if m.file == nil {
		return m.Width
	}
	width, _, err := term.GetSize(int(m.file.Fd()))
	if err != nil || width <= 0 {
		return m.Width
	}
	return width
}

// Style is the style for this output.
func (m Mode) Style() Style { return Style{on: m.Color} }

// Style colours text. The zero value changes nothing, as does every style off
// a terminal. It may be copied and used concurrently.
type Style struct{ on bool }

// Bold makes text stand out.
func (s Style) Bold(text string) string { return s.sgr("1", text) }

// Dim makes text step back.
func (s Style) Dim(text string) string { return s.sgr("2", text) }

// Red is for failures.
func (s Style) Red(text string) string { return s.sgr("31", text) }

// Green is for success.
func (s Style) Green(text string) string { return s.sgr("32", text) }

// Yellow is for warnings.
func (s Style) Yellow(text string) string { return s.sgr("33", text) }

// Cyan is for names.
func (s Style) Cyan(text string) string { return s.sgr("36", text) }

// sgr puts text between a "select graphic rendition" and its reset.
func (s Style) sgr(code, text string) string {
	if !s.on || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}
