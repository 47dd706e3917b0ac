package githist

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// Paths may hold every byte but NUL, and come through as they are.
func TestHistoryOddPaths(t *testing.T) {
	t.Parallel()
	paths := []string{
		"new\nline", "tab\tin it", "\t", " lead", "trail ", `"quoted"`, `back\slash`, "\xff\xfe", "ü", "-dash",
		"commit " + strings.Repeat("a", 40), "\ncommit " + strings.Repeat("a", 40), "1\t2\tthree", "{a => b}",
		"esc\x1b[31m", "\r", "a/\n/b", ":(top)x",
	}
	s, f := newSandbox(t), new(stream)
	for i, p := range paths {
		f.commit("A <a@x> 1 +0000", "", file(p, strings.Repeat("x\n", i+1)))
	}
	s.imported(f)
	for i, c := range s.equalsGit() {
		if len(c.Changes) != 1 || c.Changes[0].Path != paths[i] || c.Changes[0].Added != int64(i+1) {
			t.Errorf("path %q: %+v", paths[i], c.Changes)
		}
	}
}

// Authors as they stand in old and converted histories.
func TestHistoryOddAuthors(t *testing.T) {
	t.Parallel()
	s, f := newSandbox(t), new(stream)
	for _, author := range []string{
		"A <a@x>", "<a@x>", "A <>", "<>", "A <no at sign>", "A < spaces@x >", "A <A@X>", "A <ü@x>", "A <\xff@x>",
		"A \" <q\"'@x>", "A <tab\t@x>", "A <esc\x1b[1m@x>", "commit  <1\t2\tthree>", "A <%ae>", "A <a@x, b@y>", "A <cr\r@x>",
	} {
		f.commit(author+" 1 +0000", "  subject\r\nof "+author+"\n\nbody", "")
	}
	s.imported(f)
	s.equalsGit()
}

// Commit objects that no command writes; git log still shows them.
func TestHistoryBrokenObjects(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	tree := strings.TrimSpace(s.feed("", "hash-object", "-t", "tree", "-w", "--stdin"))
	for name, rest := range map[string]string{
		"no author":      "committer C <c@x> 1 +0000\n\nsubject\n",
		"no brackets":    "author A\ncommitter C <c@x> 1 +0000\n\nsubject\n",
		"two addresses":  "author A <a@x> <b@x> 1 +0000\ncommitter C <c@x> 1 +0000\n\nsubject\n",
		"open bracket":   "author A <a@x 1 +0000\ncommitter C <c@x> 1 +0000\n\nsubject\n",
		"no date":        "author A <a@x>\ncommitter C <c@x> 1 +0000\n\nsubject\n",
		"no message":     "author A <a@x> 1 +0000\ncommitter C <c@x> 1 +0000\n",
		"NUL in subject": "author A <a@x> 1 +0000\ncommitter C <c@x> 1 +0000\n\nsub\x00ject\n",
		"NUL in author":  "author A\x00 <a@x> 1 +0000\ncommitter C <c@x> 1 +0000\n\nsubject\n",
		"latin-1":        "author \xc4 <\xe4@x> 1 +0000\ncommitter C <c@x> 1 +0000\nencoding ISO-8859-1\n\n\xe4\n",
		"UTF-7 with NUL": "author A <a@x> 1 +0000\ncommitter C <c@x> 1 +0000\nencoding UTF-7\n\nx+AAA-y\n",
		"no encoding":    "author A <\xe4@x> 1 +0000\ncommitter C <c@x> 1 +0000\nencoding nonsense\n\n\xe4\n",
	} {
		s.raw("tree " + tree + "\n" + rest)
		if all := s.equalsGit(); len(all) != 1 {
			t.Errorf("%s: %d commits", name, len(all))
		}
	}
}

func TestHistoryDates(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"0 +0000":                   "1970-01-01T00:00:00Z",
		"1700000000 +0545":          "2023-11-15T03:58:20+05:45",
		"1700000000 -0330":          "2023-11-14T18:43:20-03:30",
		"1700000000 -0030":          "2023-11-14T21:43:20-00:30",
		"1700000000 +1400":          "2023-11-15T12:13:20+14:00",
		"1700000000 +5130":          "2023-11-14T22:13:20Z", // no such zone
		"4102444800 +0000":          "2100-01-01T00:00:00Z",
		"-1 +0000":                  "0001-01-01T00:00:00Z", // git reads no sign
		"99999999999999 +0000":      "0001-01-01T00:00:00Z", // the year 3170843
		"9223372036854775807 +0000": "0001-01-01T00:00:00Z",
	} {
		s := newSandbox(t)
		tree := strings.TrimSpace(s.feed("", "hash-object", "-t", "tree", "-w", "--stdin"))
		s.raw("tree " + tree + "\nauthor A <a@x> " + raw + "\ncommitter C <c@x> 1 +0000\n\n")
		when := s.equalsGit()[0].When
		if got := when.Format(time.RFC3339); got != want {
			t.Errorf("%s is %s, want %s", raw, got, want)
		}
		if _, err := when.MarshalJSON(); err != nil {
			t.Errorf("%s: %v", raw, err)
		}
	}
}

// Random histories with branches and merges, against plain git.
func TestHistoryRandom(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			s := newSandbox(t)
			s.imported(randomHistory(rand.New(rand.NewPCG(seed, 7)), 300))
			s.equalsGit()
		})
	}
}

// randomHistory is a graph of n marked commits; each has the one before as its
// first parent, or an older one, and sometimes others to merge.
func randomHistory(r *rand.Rand, n int) *stream {
	f := new(stream)
	pick := func(from string) byte { return from[r.IntN(len(from))] }
	for i := 1; i <= n; i++ {
		author := fmt.Sprintf("%c <%c%c@x> %d %+05d", pick("AB"), pick("ab\xe4"), pick("xy\t'"), r.Uint32(), r.IntN(2400)-1200)
		fmt.Fprintf(f, "commit refs/heads/main\nmark :%d\nauthor %s\ncommitter C <c@x> %d +0000\ndata 1\n%c\n",
			i, author, r.Uint32(), pick("s\n\t"))
		if i > 1 {
			fmt.Fprintf(f, "from :%d\n", i-1-r.IntN(min(i-1, 3)))
			for range max(0, r.IntN(6)-3) {
				fmt.Fprintf(f, "merge :%d\n", 1+r.IntN(i-1))
			}
		}
		for range r.IntN(4) {
			path := fmt.Sprintf("%c/%c", pick("de"), pick("a\n\t \x80"))
			content := strings.Repeat(fmt.Sprintf("%d\n", r.IntN(3)), r.IntN(9))
			if r.IntN(5) == 0 {
				content += "\x00"
			}
			f.WriteString(file(path, content))
		}
	}
	return f
}
