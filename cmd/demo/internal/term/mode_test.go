package term

import (
	"os"
	"path/filepath"
	"testing"
)

func TestDetectFile(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if m := Detect(f); m != (Mode{}) || IsTerminal(f) {
		t.Errorf("a file: %+v", m)
	}
	if m := Detect(nil); m != (Mode{}) {
		t.Errorf("nil: %+v", m)
	}
	if f.Close(); IsTerminal(f) {
		t.Error("a closed file")
	}
}

func TestOnTerminal(t *testing.T) {
	for _, c := range []struct {
		env  map[string]string
		want Mode
	}{
		{nil, Mode{Terminal: true, Color: true, Redraw: true, Width: 80}},
		{map[string]string{"NO_COLOR": "1"}, Mode{Terminal: true, Redraw: true, Width: 80}},
		{map[string]string{"NO_COLOR": ""}, Mode{Terminal: true, Color: true, Redraw: true, Width: 80}},
		{map[string]string{"TERM": "dumb"}, Mode{Terminal: true, Width: 80}},
	} {
		if got := onTerminal(func(name string) string { return c.env[name] }); got != c.want {
			t.Errorf("%v: %+v", c.env, got)
		}
	}
}

func TestStyle(t *testing.T) {
	if got := (Mode{Color: true}).Style().Red("no"); got != "\x1b[31mno\x1b[0m" {
		t.Errorf("%q", got)
	}
	if got := (Mode{Color: true}).Style().Bold(""); got != "" {
		t.Errorf("nothing to colour: %q", got)
	}
	plain := Mode{Terminal: true}.Style()
	for _, f := range []func(string) string{plain.Bold, plain.Dim, plain.Red, plain.Green, plain.Yellow, plain.Cyan} {
		if got := f("x"); got != "x" {
			t.Errorf("%q", got)
		}
	}
}
