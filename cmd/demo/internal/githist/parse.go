package githist

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// mark begins the first field of every commit.
const mark = "commit "

// parser reads the output of git log in the format of logArgs.
//
// A commit is six fields that end in NUL (mark and hash, parents, e-mail, name,
// date, subject), then, if it changed something, a newline and its changes,
// each "added TAB removed TAB path NUL". With -z and without renames git quotes
// nothing and a path is never split.
type parser struct {
	in   *bufio.Reader
	long []byte // a token that is longer than the buffer of in
	head []byte // a commit's first field, already read; nil where there is none
}

func newParser(in *bufio.Reader) *parser { return &parser{in: in} }

// next gives the next commit. At the end of the input it gives the last commit
// together with io.EOF, since what follows it doesn't; an empty commit with
// io.EOF means that there was none. io.ErrUnexpectedEOF is an end in the middle.
func (p *parser) next() (Commit, error) {
	if p.head == nil {
		if err := p.first(); err != nil {
			return Commit{}, err
		}
	}
	c, err := p.header()
	if err != nil {
		return Commit{}, err
	}
	for {
		token, err := p.token()
		if err != nil {
			return atEnd(c, err)
		}
		token = bytes.TrimPrefix(token, []byte("\n"))
		if bytes.HasPrefix(token, []byte(mark)) {
			p.head = append(p.head[:0], token...)
			return c, nil
		}
		change, err := parseChange(token)
		if err != nil {
			return Commit{}, err
		}
		c.Changes = append(c.Changes, change)
	}
}

// atEnd keeps the commit at a clean end of the input only.
func atEnd(c Commit, err error) (Commit, error) {
	if errors.Is(err, io.EOF) {
		return c, io.EOF
	}
	return Commit{}, err
}

// first reads the field that begins the very first commit.
func (p *parser) first() error {
	token, err := p.token()
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(token, []byte(mark)) {
		return fmt.Errorf("it begins with %q", cut(token))
	}
	p.head = append(p.head, token...)
	return nil
}

// header reads the fields that follow p.head.
func (p *parser) header() (Commit, error) {
	hash := string(p.head[len(mark):])
	if err := checkHashes(hash); err != nil {
		return Commit{}, err
	}
	var fields [5]string
	for i := range fields {
		token, err := p.token()
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return Commit{}, err
		}
		fields[i] = string(token)
	}
	return Commit{
		Hash:    hash,
		Parents: strings.Fields(fields[0]),
		Email:   fields[1],
		Name:    fields[2],
		When:    parseDate(fields[3]),
		Subject: fields[4],
	}, nil
}

// token reads up to the next NUL and leaves that out. The bytes are good until
// the next call. An end of the input before the NUL is io.ErrUnexpectedEOF,
// unless nothing was left, or git's empty line: that is io.EOF.
func (p *parser) token() ([]byte, error) {
	token, err := p.in.ReadSlice(0)
	if errors.Is(err, bufio.ErrBufferFull) {
		p.long = append(p.long[:0], token...)
		for errors.Is(err, bufio.ErrBufferFull) {
			token, err = p.in.ReadSlice(0)
			p.long = append(p.long, token...)
		}
		token = p.long
	}
	if err != nil {
		if errors.Is(err, io.EOF) && len(bytes.TrimSpace(token)) > 0 {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return token[:len(token)-1], nil
}

// parseChange reads "added TAB removed TAB path". The path may hold anything
// but NUL; a "-" for each number is a binary file.
func parseChange(token []byte) (Change, error) {
	added, rest, ok1 := bytes.Cut(token, []byte("\t"))
	removed, path, ok2 := bytes.Cut(rest, []byte("\t"))
	if !ok1 || !ok2 || len(path) == 0 {
		return Change{}, fmt.Errorf("not a change: %q", cut(token))
	}
	if string(added) == "-" && string(removed) == "-" {
		return Change{Path: string(path), Binary: true}, nil
	}
	a, err1 := strconv.ParseUint(string(added), 10, 63)
	r, err2 := strconv.ParseUint(string(removed), 10, 63)
	if err := errors.Join(err1, err2); err != nil {
		return Change{}, fmt.Errorf("not a change: %q: %w", cut(token), err)
	}
	return Change{Path: string(path), Added: int64(a), Removed: int64(r)}, nil
}

// parseDate reads "seconds zone", where zone is ±hhmm. A date that is missing
// or beyond the year 9999, which Go couldn't write as JSON, is the zero time; a
// zone that can't be is UTC.
func parseDate(raw string) time.Time {
	seconds, zone, _ := strings.Cut(raw, " ")
	n, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil || n < firstSecond || n > lastSecond {
		return time.Time{}
	}
	hhmm, err := strconv.Atoi(zone)
	hours, minutes := hhmm/100, hhmm%100 // both with the sign of hhmm
	if err != nil || max(hours, -hours) > 23 || max(minutes, -minutes) > 59 || hhmm == 0 {
		return time.Unix(n, 0).UTC()
	}
	return time.Unix(n, 0).In(time.FixedZone("", (hours*60+minutes)*60))
}

// The bounds of a date leave room for any zone within the years 1 to 9999.
var (
	firstSecond = time.Date(1, 1, 3, 0, 0, 0, 0, time.UTC).Unix()
	lastSecond  = time.Date(9999, 12, 30, 0, 0, 0, 0, time.UTC).Unix()
)

// cut shortens what goes into an error's text.
func cut(b []byte) []byte { return b[:min(len(b), 80)] }
