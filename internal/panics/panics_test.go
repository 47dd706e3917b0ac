package panics

import (
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// here is file and line of its caller, so many lines further.
func here(further int) string {
	_, file, line, _ := runtime.Caller(1)
	return fmt.Sprintf("%s:%d", file, line+further)
}

func placeOf(f func()) (place string) {
	defer func() {
		if recover() != nil {
			place = Place()
		}
	}()
	f()
	return ""
}

type marshals struct{}

func (marshals) MarshalJSON() ([]byte, error) { panic("no") }

func TestPlace(t *testing.T) {
	var none map[string]int
	var null *struct{ x [1 << 20]int }
	negative := -1
	for name, c := range map[string]struct {
		want string
		do   func()
	}{
		"panic":           {here(0), func() { panic("x") }},
		"nil map":         {here(0), func() { none["a"] = 1 }},
		"nil pointer":     {here(0), func() { null.x[0]++ }},
		"index":           {here(0), func() { _ = []int{}[len(none)] }},
		"inside of std":   {here(0), func() { _ = strings.Repeat("a", negative) }},
		"called by std":   {here(0), func() { slices.SortFunc([]int{1, 2}, func(a, b int) int { panic("x") }) }},
		"behind a second": {here(0), func() { defer func() { panic("second") }(); panic("first") }},
	} {
		if got := placeOf(c.do); got != c.want {
			t.Errorf("%s: at %q, want %q", name, got, c.want)
		}
	}
	if got := placeOf(func() { _, _ = json.Marshal(marshals{}) }); !strings.Contains(got, "panics_test.go:") {
		t.Errorf("in a method that is called by reflection: %q", got)
	}
	if got := Place(); got != "" {
		t.Errorf("without a panic: %q", got)
	}
}

func TestUsers(t *testing.T) {
	for function, want := range map[string]bool{
		"main.main":                       true,
		"main.(*shop).place":              true,
		"example.com/shop.Place":          true,
		"example.com/shop/orders.On[...]": true,
		"strings.Repeat":                  false,
		"encoding/json.Marshal":           false,
		"net/http.(*conn).serve":          false,
		"github.com/tidemark-es/tidemark/projection.On[...].func1":            false,
		"github.com/tidemark-es/tidemark/cmd/demo/internal/history.(*x).step": true,
		"github.com/tidemark-es/tidemark-user/shop.Place":                     true,
	} {
		if got := users(function, "/src/file.go"); got != want {
			t.Errorf("%s: %v", function, got)
		}
	}
	if !users("github.com/tidemark-es/tidemark/projection_test.handler", "/src/a_test.go") {
		t.Error("a test isn't the user's")
	}
}
