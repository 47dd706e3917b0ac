package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tidemark-es/tidemark/cmd/demo/internal/term"
	"github.com/tidemark-es/tidemark/projection"
	"github.com/tidemark-es/tidemark/timeframe"
)

// report is what -json prints.
type report struct {
	Authors   map[string]work   `json:"authors"`
	Files     map[string]work   `json:"files"`
	Ownership map[string]owners `json:"ownership"`
	Activity  map[string]int64  `json:"activity"`
	Timeframe map[string]uint64 `json:"timeframe"`
	Recovery  recovery          `json:"recovery"`
	Imported  int64             `json:"imported"`
}

type recovery struct {
	Source   projection.Source `json:"source"`
	Replayed uint64            `json:"replayed"`
	Skipped  []string          `json:"skipped"`
}

// recovery folds what the projections of the unit say of their start.
func (s *session) recovery() recovery {
	r := recovery{Skipped: []string{}}
	for _, st := range s.status {
		if r.Source == "" || st.Recovery.Source == projection.FromReplay {
			r.Source = st.Recovery.Source
		}
		r.Replayed = max(r.Replayed, st.Recovery.Replayed)
		for _, why := range st.Recovery.Skipped {
			if !slices.Contains(r.Skipped, why) {
				r.Skipped = append(r.Skipped, why)
			}
		}
	}
	return r
}

func (s *session) printJSON(at timeframe.Timeframe) error {
	r := report{
		Authors:   textKeys(maps.Collect(s.views.authors.All())),
		Files:     textKeys(maps.Collect(s.views.files.All())),
		Ownership: textKeys(s.views.owned()),
		Activity:  maps.Collect(s.views.activity.All()),
		Timeframe: at.Map(),
		Recovery:  s.recovery(),
		Imported:  s.imported,
	}
	for _, o := range r.Ownership {
		for email, n := range o.Authors {
			if t := text(email); t != email {
				delete(o.Authors, email)
				o.Authors[t] = n
			}
		}
	}
	enc := json.NewEncoder(s.out)
	enc.SetEscapeHTML(false)
	return enc.Encode(r)
}

// text makes bytes that aren't UTF-8 printable without making two different
// ones the same, as the JSON encoder would.
func text(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			fmt.Fprintf(&b, `\x%02x`, s[i])
		} else {
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	return b.String()
}

func textKeys[V any](m map[string]V) map[string]V {
	for k, v := range m {
		if t := text(k); t != k {
			delete(m, k)
			m[t] = v
		}
	}
	return m
}

// printTables is for people.
func (s *session) printTables(at timeframe.Timeframe, full memory) error {
	mode := term.Detect(s.out)
	style := mode.Style()
	w := &sticky{w: s.out}
	s.printHead(w, style, at, full)
	section := func(title string, shown, of int) {
		if shown < of {
			title += style.Dim(fmt.Sprintf("  (%d of %s)", shown, term.Number(int64(of))))
		}
		fmt.Fprintf(w, "\n%s\n", style.Bold(title))
	}
	for _, t := range []struct {
		title, column string
		rows          map[string]work
		order         func(work) int64
	}{
		{"Authors", "author", maps.Collect(s.views.authors.All()), func(x work) int64 { return x.Commits }},
		{"Files", "path", maps.Collect(s.views.files.All()), func(x work) int64 { return x.Commits }},
	} {
		keys := top(t.rows, s.flags.top, t.order)
		section(t.title, len(keys), len(t.rows))
		table := term.NewTable(mode, term.Column{Title: t.column, Style: style.Cyan}, term.Column{Title: "commits", Kind: term.Num},
			term.Column{Title: "added", Kind: term.Num, Style: style.Green}, term.Column{Title: "removed", Kind: term.Num, Style: style.Red}, term.Column{Kind: term.Bars})
		for _, k := range keys {
			x := t.rows[k]
			table.Row(k, x.Commits, x.Added, x.Removed, x.Commits)
		}
		fmt.Fprint(w, table)
	}
	s.printOwnership(w, mode, section)
	section("Activity, in the authors' own time zones", 0, 0)
	fmt.Fprint(w, term.HeatMap(mode, s.heat()))
	return w.err
}

func (s *session) printHead(w io.Writer, style term.Style, at timeframe.Timeframe, full memory) {
	fmt.Fprintf(w, "%s %s\n", style.Bold("Repository"), term.Escape(s.repo.Path()))
	commits, _ := at.Get("commits")
	changes, _ := at.Get("changes")
	fmt.Fprintf(w, "%s %s commits and %s changes in the log, %s imported now\n", style.Bold("Events    "),
		term.Number(int64(commits)), term.Number(int64(changes)), term.Number(s.imported))
	r := s.recovery()
	var took time.Duration
	var from timeframe.Timeframe
	for _, st := range s.status {
		took = max(took, st.Recovery.Took)
		from = timeframe.Merge(from, st.Recovery.From)
	}
	label := style.Bold("Start     ")
	switch r.Source {
	case projection.FromSnapshot:
		fmt.Fprintf(w, "%s restored from the snapshot at %s, %s events replayed, in %s\n", label, style.Green(from.String()), term.Number(int64(r.Replayed)), round(took))
		fmt.Fprintf(w, "%s a full replay of %s events took %s%s\n", style.Bold("          "), term.Number(int64(full.ReplayEvents)), round(full.Replay), times(full.Replay, took))
	case projection.FromReplay:
		fmt.Fprintf(w, "%s %s events replayed, without a snapshot, in %s\n", label, term.Number(int64(r.Replayed)), round(took))
	default:
		fmt.Fprintf(w, "%s the log was empty; run it again to see it restore (a full replay takes %s)\n", label, round(full.Replay))
	}
	for _, why := range r.Skipped {
		fmt.Fprintf(w, "%s %s\n", style.Yellow("Skipped   "), term.Escape(why))
	}
	fmt.Fprintf(w, "%s server opened in %s\n", style.Bold("Log       "), round(s.opening))
}

// times says how much longer a full replay took, where that is worth saying.
func times(full, took time.Duration) string {
	if took <= 0 || full < 2*took {
		return ""
	}
	return fmt.Sprintf(": %.0f times as long", float64(full)/float64(took))
}

func (s *session) printOwnership(w io.Writer, mode term.Mode, section func(string, int, int)) {
	style := mode.Style()
	dirs := s.views.owned()
	keys := top(dirs, s.flags.top, owners.lines)
	section("Ownership: who wrote more than half of a directory's lines", len(keys), len(dirs))
	table := term.NewTable(mode, term.Column{Title: "directory", Style: style.Cyan}, term.Column{Title: "bus factor", Kind: term.Num},
		term.Column{Title: "authors", Kind: term.Num}, term.Column{Title: "lines added", Kind: term.Num}, term.Column{Title: "most by"})
	for _, k := range keys {
		o := dirs[k]
		most := top(o.Authors, 1, func(n int64) int64 { return n })
		table.Row(k, o.BusFactor, len(o.Authors), o.lines(), strings.Join(most, ""))
	}
	fmt.Fprint(w, table)
}

func (s *session) heat() (h [7][24]int64) {
	for slot, n := range s.views.activity.All() {
		day, hour, _ := strings.Cut(slot, "-")
		d, err1 := strconv.Atoi(day)
		hr, err2 := strconv.Atoi(hour)
		if err1 == nil && err2 == nil && d >= 0 && d < 7 && hr >= 0 && hr < 24 {
			h[d][hr] = n
		}
	}
	return h
}

// top returns the keys with the greatest values, equal ones by name.
func top[V any](m map[string]V, n int, value func(V) int64) []string {
	keys := slices.SortedFunc(maps.Keys(m), func(a, b string) int {
		return cmp.Or(cmp.Compare(value(m[b]), value(m[a])), cmp.Compare(a, b))
	})
	return keys[:min(n, len(keys))]
}

func round(d time.Duration) time.Duration {
	switch {
	case d > time.Second:
		return d.Round(10 * time.Millisecond)
	case d > 10*time.Millisecond:
		return d.Round(time.Millisecond)
	}
	return d.Round(10 * time.Microsecond)
}

// sticky remembers the first error of a writer.
type sticky struct {
	w   io.Writer
	err error
}

func (s *sticky) Write(b []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.w.Write(b)
	s.err = err
	return n, err
}
