package permissions

import (
	"flag"
	"os"
	"strings"
	"testing"
)

var write = flag.Bool("write", false, "write the table into docs/operations.md")

// The page is made of the table: go test ./internal/permissions -write.
func TestPage(t *testing.T) {
	const path, begin, end = "../../docs/operations.md", "<!-- permissions: made of internal/permissions -->\n", "<!-- end of permissions -->\n"
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(page), begin)
	have, tail, ended := strings.Cut(rest, end)
	if !ok || !ended {
		t.Fatalf("%s has no marks of the table", path)
	}
	if have == Page() {
		return
	}
	if !*write {
		t.Fatalf("%s isn't what the table says: go test ./internal/permissions -write", path)
	}
	if err := os.WriteFile(path, []byte(head+begin+Page()+end+tail), 0o644); err != nil {
		t.Fatal(err)
	}
}
