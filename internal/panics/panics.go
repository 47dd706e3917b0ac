// Package panics says where a panic came from, so that one line of a log is
// enough to find it.
package panics

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
)

const ours = "github.com/tidemark-es/tidemark/"

// most is how many frames are looked at. The user's is among the first, since
// it is looked for from the panic outward.
const most = 256

// Place is file and line of the user's code that panicked, "file.go:12": of the
// innermost frame that is neither the standard library's nor Tidemark's. Where
// there is none, it is where the panic was raised. It is called by the deferred
// function that recovers, or below it; elsewhere it is "".
func Place() string {
	pcs := make([]uintptr, most)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	raised, panicked := "", false
	for {
		f, more := frames.Next()
		switch {
		case f.Function == "runtime.gopanic": // again for one that was recovered and raised anew, as encoding/json does
			panicked = true
		case !panicked || strings.HasPrefix(f.Function, "runtime."):
		case users(f.Function, f.File):
			return at(f)
		case raised == "":
			raised = at(f)
		}
		if !more {
			return raised
		}
	}
}

func at(f runtime.Frame) string { return fmt.Sprintf("%s:%d", f.File, f.Line) }

// users says whether a function belongs to the program that uses Tidemark.
// Tidemark's own tests and programs count as such.
func users(function, file string) bool {
	if rest, ok := strings.CutPrefix(function, ours); ok {
		top, _, _ := strings.Cut(rest, "/")
		return strings.HasSuffix(file, "_test.go") || top == "cmd" || top == "bench" || top == "integration"
	}
	if main := mainModule(); main != "" && strings.HasPrefix(function, main+"/") {
		return true
	}
	first, _, _ := strings.Cut(function, "/")
	if first == function { // as "strings.Repeat", and "main.main"
		return strings.HasPrefix(function, "main.")
	}
	return strings.Contains(first, ".") // as no package of the standard library
}

// mainModule is the path of the program's module, which may be one without a
// dot; "" where it isn't known.
var mainModule = sync.OnceValue(func() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Path
	}
	return ""
})
