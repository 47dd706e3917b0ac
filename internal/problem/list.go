// Package problem collects what is wrong with an argument, so that a call
// reports all of it at once and not the first thing that it came across.
//
// It knows no classes of errors: each package says its own when it reports.
package problem

import (
	"fmt"
	"strings"
)

// List is what is wrong, in the order in which it was found. The zero value is
// an argument with which nothing is wrong.
type List []error

// Add notes a problem.
func (l *List) Add(format string, args ...any) { *l = append(*l, fmt.Errorf(format, args...)) }

// Check notes err unless it is nil.
func (l *List) Check(err error) {
	if err != nil {
		*l = append(*l, err)
	}
}

// String is all problems in one line.
func (l List) String() string {
	texts := make([]string, len(l))
	for i, err := range l {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}

// Err is nil for an empty list; else an error of the class class whose text
// says what the list is about, the class, and all problems.
func (l List) Err(about string, class error) error {
	if len(l) == 0 {
		return nil
	}
	return fmt.Errorf("%s: %w: %s", about, class, l)
}
