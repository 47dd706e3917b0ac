package projection_test

import (
	"os"
	"strings"
	"testing"
)

// The README's program is the one that Example runs: every line of it that
// does something stands there too.
func TestReadmeProgram(t *testing.T) {
	readme := string(must(os.ReadFile("../README.md"))(t))
	example := string(must(os.ReadFile("example_test.go"))(t))
	_, block, ok := strings.Cut(readme, "```go\n")
	block, _, ok2 := strings.Cut(block, "```")
	if !ok || !ok2 {
		t.Fatal("the README has no Go program")
	}
	squeeze := strings.NewReplacer(" ", "", "\t", "", ":=", "=", ",err=", "=", "err=", "").Replace
	have := squeeze(example)
	n := 0
	for line := range strings.Lines(block) {
		line, _, _ = strings.Cut(strings.TrimSpace(line), "//")
		if line = squeeze(line); len(line) > 1 {
			if n++; !strings.Contains(have, line) {
				t.Errorf("the example doesn't have %q", line)
			}
		}
	}
	if n < 10 {
		t.Errorf("only %d lines were compared", n)
	}
}
