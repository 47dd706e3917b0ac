package term

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// shades are the levels of a heat map on a terminal; 0 is nothing at all.
var shades = []string{" ", "░", "▒", "▓", "█"}

// digits are the levels elsewhere.
var digits = []string{".", "1", "2", "3", "4", "5", "6", "7", "8", "9"}

// HeatMap draws counts by weekday (time.Sunday is 0) and hour, with Monday
// first, each day's total at the end, and a line that explains the scale. The
// levels are even shares of the largest count; a count above 0 always shows.
// Shaded blocks on a terminal, digits elsewhere. Each line ends in a newline.
func HeatMap(m Mode, counts [7][24]int64) string {
	levels, size := digits, 2
	if m.Terminal {
		levels = shades
	}
	const wide = 4 + 2*24 + 12
	if limit := m.columns(); limit > 0 && limit < wide {
		size = 1
	}
	most := largestCount(counts)
	var b strings.Builder
	b.WriteString(m.Style().Dim(hours(size)) + "\n")
	for i := range 7 {
		day := (int(time.Monday) + i) % 7
		var row strings.Builder
		var sum int64
		for _, n := range counts[day] {
			row.WriteString(heatCell(levels, level(n, most, len(levels)-1), size, m.Terminal))
			sum += n
		}
		b.WriteString(time.Weekday(day).String()[:3] + " " + m.Style().Green(row.String()))
		b.WriteString(pad(Number(sum), 10, true) + "\n")
	}
	top := levels[len(levels)-1]
	b.WriteString(m.Style().Dim("    "+top+" is up to "+Number(most)+" in an hour of the week") + "\n")
	return b.String()
}

// hours is the header: every third hour above its column.
func hours(size int) string {
	b := []byte(strings.Repeat(" ", 4+24*size))
	for h := 0; h < 24; h += 3 {
		text := strconv.Itoa(h)
		if size > 1 && h < 10 {
			text = " " + text // above the digit, which stands on the right
		}
		copy(b[4+h*size:], text)
	}
	return strings.TrimRight(string(b), " ")
}

// heatCell is one hour: shades fill it, a digit stands on its right.
func heatCell(levels []string, l, size int, fill bool) string {
	if fill {
		return strings.Repeat(levels[l], size)
	}
	return pad(levels[l], size, true)
}

// level is n's share of most in steps from 0 to steps; just 0 gives 0.
func level(n, most int64, steps int) int {
	if n <= 0 || most <= 0 {
		return 0
	}
	return min(steps, max(1, int(math.Ceil(float64(n)/float64(most)*float64(steps)))))
}

func largestCount(counts [7][24]int64) int64 {
	var most int64
	for _, day := range counts {
		for _, n := range day {
			most = max(most, n)
		}
	}
	return most
}
