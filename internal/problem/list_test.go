package problem

import (
	"errors"
	"testing"
)

func TestList(t *testing.T) {
	class := errors.New("invalid")
	var l List
	if l.Check(nil); l.Err("shop", class) != nil {
		t.Fatalf("an empty list is an error: %v", l)
	}
	l.Add("%d rows", 0)
	l.Check(errors.New("no name"))
	err := l.Err("shop", class)
	if !errors.Is(err, class) || err.Error() != "shop: invalid: 0 rows; no name" {
		t.Fatal(err)
	}
}
