package githist

import (
	"bufio"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"
)

var hashA, hashB = strings.Repeat("a", 40), strings.Repeat("b", 40)

// two is the output for two commits.
var two = mark + hashA + "\x00\x00a@x\x00A\x000 +0100\x00first\x00\n1\t2\tf\n\tg\x00-\t-\tb\x00" +
	mark + hashB + "\x00" + hashA + "\x00\x00\x00\x00\x00\n0\t3\tf\x00"

func parseText(size int, text string) ([]Commit, error) {
	p := newParser(bufio.NewReaderSize(strings.NewReader(text), size))
	var all []Commit
	for {
		c, err := p.next()
		if c.Hash != "" {
			all = append(all, c)
		}
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
	}
}

func TestParse(t *testing.T) {
	want := []Commit{
		{
			Hash: hashA, Parents: []string{}, Email: "a@x", Name: "A", Subject: "first",
			When:    time.Unix(0, 0).In(time.FixedZone("", 3600)),
			Changes: []Change{{Path: "f\n\tg", Added: 1, Removed: 2}, {Path: "b", Binary: true}},
		},
		{Hash: hashB, Parents: []string{hashA}, Changes: []Change{{Path: "f", Removed: 3}}},
	}
	for _, size := range []int{16, 40, 4096} { // tokens longer than the buffer too
		if got, err := parseText(size, two); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("buffer of %d: %+v, %v", size, got, err)
		}
	}
	if got, err := parseText(16, ""); len(got) != 0 || err != nil {
		t.Errorf("nothing: %v, %v", got, err)
	}
}

// Output that was cut short never passes for a whole history, but at the ends
// of fields that may also be a commit's end.
func TestParseCutShort(t *testing.T) {
	whole, err := parseText(16, two)
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(two) {
		got, err := parseText(16, two[:n])
		if end := n == 0 || two[n-1] == 0 || two[n-1] == '\n'; err == nil && !end {
			t.Errorf("cut at %d: no error", n)
		}
		if len(got) > len(whole) {
			t.Errorf("cut at %d: %d commits", n, len(got))
		}
	}
}

func TestParseRefuses(t *testing.T) {
	head := mark + hashA + "\x00\x00\x00\x00\x00\x00"
	for _, text := range []string{
		"gpg: Signature made\x00", mark + "short\x00\x00\x00\x00\x00\x00", mark + hashA + "\x00\x00",
		head + "\n1\tf\x00", head + "\n1\t2\t\x00", head + "\nx\t2\tf\x00", head + "\n-1\t2\tf\x00",
		head + "\n-\t2\tf\x00", head + "\n99999999999999999999\t2\tf\x00", head + "\n1\t2\tf",
	} {
		if got, err := parseText(16, text); err == nil {
			t.Errorf("%q: %+v", text, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(two)
	f.Add(two[:100])
	f.Fuzz(func(t *testing.T, text string) {
		small, err1 := parseText(16, text)
		large, err2 := parseText(1<<16, text)
		if (err1 == nil) != (err2 == nil) || !reflect.DeepEqual(small, large) {
			t.Errorf("the buffer's size decides: %v, %v", err1, err2)
		}
		for _, c := range small {
			for _, ch := range c.Changes {
				if ch.Path == "" || ch.Added < 0 || ch.Removed < 0 {
					t.Errorf("%+v", ch)
				}
			}
			if _, err := c.When.MarshalJSON(); err != nil {
				t.Error(err)
			}
		}
	})
}
