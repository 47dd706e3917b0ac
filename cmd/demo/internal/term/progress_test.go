package term

import (
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"
)

// clocked is a progress bar on a clock that the test moves.
type clocked struct {
	*Progress
	out strings.Builder
	now time.Time
}

func newClocked(m Mode, o ProgressOptions) *clocked {
	c := &clocked{now: time.Unix(1e9, 0)}
	o.Now = func() time.Time { return c.now }
	c.Progress = NewProgress(&c.out, m, o)
	return c
}

// after moves the clock, adds n, and gives what was written.
func (c *clocked) after(d time.Duration, n int64) string {
	c.now = c.now.Add(d)
	c.out.Reset()
	c.Add(n)
	return c.out.String()
}

var live = Mode{Terminal: true, Redraw: true, Width: 80}

func TestProgressOnTerminal(t *testing.T) {
	c := newClocked(live, ProgressOptions{Label: "importing", Unit: "commits", Total: 2000})
	if got := c.after(0, 1); got != "" {
		t.Errorf("at once: %q", got)
	}
	want := "\rimporting: 500 of 2,000 commits (25 %) ███████▌                      \x1b[K"
	if got := c.after(100*time.Millisecond, 499); got != want {
		t.Errorf("first: %q", got)
	}
	if got := c.after(99*time.Millisecond, 1); got != "" {
		t.Errorf("too early: %q", got)
	}
	want = "\rimporting: 1,000 of 2,000 commits (50 %), 500/s, 0:02 left ██████████          \x1b[K"
	if got := c.after(1801*time.Millisecond, 499); got != want {
		t.Errorf("later: %q", got)
	}
	c.out.Reset()
	c.Close()
	c.Close()
	if got := c.out.String(); got != "\r\x1b[K" {
		t.Errorf("closed: %q", got)
	}
	if got := c.after(time.Hour, 1); got != "" {
		t.Errorf("after the end: %q", got)
	}
}

// What was done before a restart isn't speed.
func TestProgressResumed(t *testing.T) {
	c := newClocked(live, ProgressOptions{Total: 10_000, Done: 9_000})
	if got := c.after(10*time.Second, 500); !strings.Contains(got, "9,500 of 10,000 (95 %), 50/s, 0:10 left") {
		t.Errorf("%q", got)
	}
	c.Set(20_000) // more than there were to be
	if got := c.after(10*time.Second, 0); !strings.Contains(got, "(100 %), 550/s ") {
		t.Errorf("%q", got)
	}
}

func TestProgressUnknownTotal(t *testing.T) {
	c := newClocked(live, ProgressOptions{Label: "reading\x1b", Unit: "events"})
	if got := c.after(4*time.Second, 10); got != "\rreading\\x1b: 10 events, 2.5/s\x1b[K" {
		t.Errorf("%q", got)
	}
}

func TestProgressFitsTheLine(t *testing.T) {
	for width := 2; width < 120; width++ {
		m := live
		m.Width = width
		c := newClocked(m, ProgressOptions{Label: "importing", Unit: "commits", Total: 1_000_000})
		got := strings.TrimSuffix(strings.TrimPrefix(c.after(time.Minute, 1), "\r"), "\x1b[K")
		if n := utf8.RuneCountInString(got); n >= width || n == 0 {
			t.Errorf("width %d: %d runes", width, n)
		}
	}
}

func TestProgressElsewhere(t *testing.T) {
	c := newClocked(Mode{}, ProgressOptions{Label: "importing", Unit: "commits", Total: 50_000})
	if got := c.after(9*time.Second, 9_000); got != "" {
		t.Errorf("too early: %q", got)
	}
	want := "importing: 10,000 of 50,000 commits (20 %), 1,000/s, 0:40 left\n"
	if got := c.after(time.Second, 1_000); got != want {
		t.Errorf("a line: %q", got)
	}
	c.out.Reset()
	c.Close()
	if got := c.out.String(); got != "" {
		t.Errorf("closed: %q", got)
	}
	silent := newClocked(Mode{}, ProgressOptions{Lines: -1})
	if got := silent.after(time.Hour, 1); got != "" {
		t.Errorf("silent: %q", got)
	}
}

func TestProgressNote(t *testing.T) {
	c := newClocked(live, ProgressOptions{Total: 4})
	c.Note("early")
	c.after(time.Millisecond, 1)
	c.after(time.Second, 1)
	c.out.Reset()
	c.Note("half\x1b")
	got := c.out.String()
	if !strings.HasPrefix(got, "\r\x1b[Khalf\\x1b\n2 of 4 (50 %), 2.0/s, 0:01 left ██") {
		t.Errorf("%q", got)
	}
	var none *Progress
	none.Add(1)
	none.Set(1)
	none.Note("")
	none.Close()
}

func TestProgressConcurrent(t *testing.T) {
	p := NewProgress(new(strings.Builder), live, ProgressOptions{Total: 4000})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 1000 {
				p.Add(1)
			}
			p.Note("done")
		})
	}
	wg.Wait()
	p.Close()
	if p.done != 4000 {
		t.Errorf("%d", p.done)
	}
}

func TestClock(t *testing.T) {
	for seconds, want := range map[float64]string{
		0: "0:00", 0.4: "0:00", 59.6: "1:00", 3599: "59:59", 3600: "1:00:00", 90061: "25:01:01", 1e12: "ages",
	} {
		if got := clock(seconds); got != want {
			t.Errorf("%v is %s, want %s", seconds, got, want)
		}
	}
}
