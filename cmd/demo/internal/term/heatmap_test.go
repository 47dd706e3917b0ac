package term

import (
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func week() (counts [7][24]int64) {
	counts[time.Monday][0] = 1
	counts[time.Monday][9] = 900
	counts[time.Tuesday][12] = 500
	counts[time.Sunday][23] = 225
	return counts
}

func TestHeatMapPlain(t *testing.T) {
	want := `
     0     3     6     9    12    15    18    21
Mon  1 . . . . . . . . 9 . . . . . . . . . . . . . .       901
Tue  . . . . . . . . . . . . 5 . . . . . . . . . . .       500
Wed  . . . . . . . . . . . . . . . . . . . . . . . .         0
Thu  . . . . . . . . . . . . . . . . . . . . . . . .         0
Fri  . . . . . . . . . . . . . . . . . . . . . . . .         0
Sat  . . . . . . . . . . . . . . . . . . . . . . . .         0
Sun  . . . . . . . . . . . . . . . . . . . . . . . 3       225
    9 is up to 900 in an hour of the week
`
	if got := HeatMap(Mode{}, week()); got != want[1:] {
		t.Errorf("got\n%s\nwant%s", got, want)
	}
}

func TestHeatMapOnTerminal(t *testing.T) {
	lines := strings.Split(HeatMap(Mode{Terminal: true, Width: 80}, week()), "\n")
	if want := "Mon ░░" + strings.Repeat(" ", 16) + "██" + strings.Repeat(" ", 28) + "       901"; lines[1] != want {
		t.Errorf("%q", lines[1])
	}
	if !strings.Contains(lines[7], "░░") || !strings.Contains(lines[2], "▓▓") {
		t.Errorf("%q", lines)
	}
	narrow := HeatMap(Mode{Terminal: true, Width: 40}, week())
	for line := range strings.Lines(narrow) {
		if utf8.RuneCountInString(line) > 44 {
			t.Errorf("%q", line)
		}
	}
}

func TestHeatMapExtremes(t *testing.T) {
	if got := HeatMap(Mode{}, [7][24]int64{}); !strings.Contains(got, "9 is up to 0") {
		t.Errorf("nothing:\n%s", got)
	}
	for _, c := range []struct {
		n, most int64
		want    int
	}{{0, 9, 0}, {-1, 9, 0}, {1, math.MaxInt64, 1}, {math.MaxInt64, math.MaxInt64, 9}, {5, 10, 5}, {51, 100, 5}, {56, 100, 6}} {
		if got := level(c.n, c.most, 9); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
}
