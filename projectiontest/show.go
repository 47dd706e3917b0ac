package projectiontest

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/tidemark-es/tidemark/internal/utc"
)

// alike says whether two values are equal, with times that are the same instant
// in whatever zone: rows and events have theirs in UTC.
func alike[T any](a, b T) bool {
	if reflect.DeepEqual(a, b) {
		return true
	}
	x := utc.Of(reflect.TypeFor[T]())
	if x == nil {
		return false
	}
	x.Own(&a)
	x.Own(&b)
	return reflect.DeepEqual(a, b)
}

// texts are those of two values that aren't equal; where they look alike, with
// their types.
func texts(got, want any) (g, w string) {
	if g, w = fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want); g != w {
		return g, w
	}
	return fmt.Sprintf("%#v", got), fmt.Sprintf("%#v", want)
}

// eventTexts are those of two lists of events that aren't equal. Their types
// are told, which are most of what an event says.
func eventTexts(got, want []any) (g, w string) {
	if g, w = eventText(got), eventText(want); g != w {
		return g, w
	}
	return fmt.Sprintf("%#v", got), fmt.Sprintf("%#v", want)
}

func eventText(events []any) string {
	var s strings.Builder
	for i, e := range events {
		if i > 0 {
			s.WriteByte(' ')
		}
		fmt.Fprintf(&s, "%T%+v", e, e)
	}
	return "[" + s.String() + "]"
}
