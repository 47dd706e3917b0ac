package timeframe

import (
	"strconv"
	"strings"
)

// EmptyText is the text form of the empty timeframe. It can't be taken for an
// entry, since it has no '='; and it isn't the empty string, so that a header
// or a column that was left out isn't taken for a timeframe.
const EmptyText = "empty"

const textForm = "timeframe text"

// String returns the text form: "accounts=12,orders=3", the feeds in ascending
// order, or [EmptyText].
func (t Timeframe) String() string {
	b, _ := t.AppendText(nil) // never fails
	return string(b)
}

// AppendText appends the text form to b. The error is always nil.
func (t Timeframe) AppendText(b []byte) ([]byte, error) {
	if len(t.entries) == 0 {
		return append(b, EmptyText...), nil
	}
	for i, e := range t.entries {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, e.Feed...)
		b = append(b, '=')
		b = strconv.AppendUint(b, e.Seq, 10)
	}
	return b, nil
}

// MarshalText returns the text form, which is how JSON holds a timeframe, as a
// value and as an object's key. The error is always nil.
func (t Timeframe) MarshalText() ([]byte, error) { return t.AppendText(nil) }

// UnmarshalText sets t to what [Parse] makes of text; t is unchanged on error.
func (t *Timeframe) UnmarshalText(text []byte) error {
	parsed, err := Parse(string(text))
	if err == nil {
		*t = parsed
	}
	return err
}

// Parse is the exact inverse of [Timeframe.String]. It takes the canonical form
// only: feeds strictly ascending, decimal sequences without sign or leading
// zeros, no blanks. So equal timeframes have equal texts, and texts may be
// compared. The error is a *[FormatError].
func Parse(text string) (Timeframe, error) {
	if text == EmptyText {
		return Timeframe{}, nil
	}
	entries := make([]Entry, 0, strings.Count(text, ",")+1)
	for offset := 0; ; {
		part, _, more := strings.Cut(text[offset:], ",")
		e, err := parseEntry(part, offset)
		if err != nil {
			return Timeframe{}, err
		}
		if n := len(entries); n > 0 && entries[n-1].Feed >= e.Feed {
			return Timeframe{}, formatError(textForm, offset, "feeds must ascend without repeats", nil)
		}
		entries = append(entries, e)
		if !more {
			return Timeframe{entries: entries}, nil
		}
		offset += len(part) + 1
	}
}

// parseEntry parses "feed=seq"; offset is where it stands in the whole text.
func parseEntry(part string, offset int) (Entry, error) {
	feed, digits, ok := strings.Cut(part, "=")
	if !ok {
		return Entry{}, formatError(textForm, offset, "want feed=sequence, or "+EmptyText+" alone", nil)
	}
	if err := ValidName(feed); err != nil {
		return Entry{}, formatError(textForm, offset, err.Error(), err)
	}
	offset += len(feed) + 1
	seq, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		return Entry{}, formatError(textForm, offset, "the sequence isn't a decimal number of 64 bits", err)
	}
	if len(digits) > 1 && digits[0] == '0' {
		return Entry{}, formatError(textForm, offset, "the sequence has a leading zero", nil)
	}
	return Entry{Feed: strings.Clone(feed), Seq: seq}, nil
}

func formatError(form string, offset int, reason string, cause error) error {
	return &FormatError{Form: form, Offset: offset, Reason: reason, Err: cause}
}
