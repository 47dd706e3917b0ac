package term

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

const (
	redrawEvery = 100 * time.Millisecond // on a terminal
	linesEvery  = 10 * time.Second       // elsewhere, by default
	settle      = time.Second            // before this the rate means nothing
	clearLine   = "\r\x1b[K"
)

// ProgressOptions describes a progress bar. All of it may be left out.
type ProgressOptions struct {
	Label string           // what is going on, such as "importing"
	Unit  string           // what is counted, such as "commits"
	Total int64            // how many there are; 0 is unknown: no bar, no estimate
	Done  int64            // how many of them were done before; not in the rate
	Lines time.Duration    // time between lines where nothing can be redrawn; default 10 s, negative: no lines
	Now   func() time.Time // default time.Now
}

// Progress shows how far something has come. On a terminal that is one line,
// drawn again at most ten times a second and erased by Close; elsewhere it is a
// line from time to time. It draws when it is told of progress, and has no
// goroutine of its own. Errors of the writer are ignored: this is decoration.
//
// All methods are safe for concurrent use; on a nil *Progress they do nothing.
type Progress struct {
	w    io.Writer
	mode Mode
	opt  ProgressOptions

	mu     sync.Mutex
	start  time.Time
	last   time.Time // of the last line or drawing; first the start
	done   int64
	drawn  bool // the terminal's line shows it
	closed bool
}

// NewProgress starts the clock. Nothing is shown yet.
func NewProgress(w io.Writer, m Mode, o ProgressOptions) *Progress {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Lines == 0 {
		o.Lines = linesEvery
	}
	o.Label, o.Unit = Escape(o.Label), Escape(o.Unit)
	start := o.Now()
	return &Progress{w: w, mode: m, opt: o, start: start, last: start, done: o.Done}
}

// Add says that n more are done.
func (p *Progress) Add(n int64) {
	p.update(func() { p.done += n })
}

// Set says that n are done in all, those of ProgressOptions.Done included.
func (p *Progress) Set(n int64) {
	p.update(func() { p.done = n })
}

func (p *Progress) update(change func()) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	every := redrawEvery
	if !p.mode.Redraw {
		every = p.opt.Lines
	}
	now := p.opt.Now()
	if p.closed || every < 0 || now.Sub(p.last) < every {
		return
	}
	p.last = now
	if !p.mode.Redraw {
		p.print(p.text(now) + "\n")
		return
	}
	p.print("\r" + p.line(now, p.mode.columns()) + "\x1b[K")
	p.drawn = true
}

// Note writes a line of its own, escaped, above the bar, after Close too.
func (p *Progress) Note(line string) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.drawn {
		p.print(Escape(line) + "\n")
		return
	}
	p.print(clearLine + Escape(line) + "\n" + p.line(p.last, p.mode.columns()))
}

// Close erases the bar; nothing is shown afterwards. It may be called twice.
func (p *Progress) Close() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	if p.drawn {
		p.drawn = false
		p.print(clearLine)
	}
}

// print writes in one call, so that lines of others don't get in between.
func (p *Progress) print(s string) { _, _ = io.WriteString(p.w, s) }

// line is the figures and the bar, on less than a line of the terminal: in the
// last column the cursor may wrap. The bar goes first where there is no room.
func (p *Progress) line(now time.Time, columns int) string {
	const most, least = 30, 8
	text, room := p.text(now), most
	if columns > 0 {
		text = Shorten(text, max(columns-1, 1))
		room = min(most, columns-1-utf8.RuneCountInString(text)-1)
	}
	if p.opt.Total > 0 && room >= least {
		text += " " + p.mode.Style().Cyan(pad(p.mode.Bar(p.done, p.opt.Total, room), room, false))
	}
	return text
}

// text is "importing: 12,345 of 29,000 commits (42 %), 1,151/s, 0:14 left",
// with the parts that are known.
func (p *Progress) text(now time.Time) string {
	var b strings.Builder
	if p.opt.Label != "" {
		b.WriteString(p.opt.Label + ": ")
	}
	b.WriteString(Number(p.done))
	if p.opt.Total > 0 {
		b.WriteString(" of " + Number(p.opt.Total))
	}
	if p.opt.Unit != "" {
		b.WriteString(" " + p.opt.Unit)
	}
	if p.opt.Total > 0 {
		fmt.Fprintf(&b, " (%d %%)", int(100*min(1, max(0, float64(p.done)/float64(p.opt.Total)))))
	}
	elapsed := now.Sub(p.start)
	rate := float64(p.done-p.opt.Done) / elapsed.Seconds()
	if elapsed < settle || rate <= 0 {
		return b.String()
	}
	if rate < 10 {
		fmt.Fprintf(&b, ", %.1f/s", rate)
	} else {
		fmt.Fprintf(&b, ", %s/s", Number(int64(rate+0.5)))
	}
	if rest := p.opt.Total - p.done; rest > 0 {
		b.WriteString(", " + clock(float64(rest)/rate) + " left")
	}
	return b.String()
}

// clock is m:ss, or h:mm:ss from an hour on.
func clock(seconds float64) string {
	const tooLong = 1000 * 60 * 60
	if seconds >= tooLong {
		return "ages"
	}
	s := int(seconds + 0.5)
	if s >= 3600 {
		return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
	}
	return fmt.Sprintf("%d:%02d", s/60, s%60)
}
