//go:build integration

package integration

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/internal/natstest"
)

// flipShape is a kind of store that is damaged.
type flipShape struct {
	how      string // whole or trimmed
	end      string // closed or killed
	separate bool   // a server of its own
}

func (s flipShape) String() string {
	where := "embedded"
	if s.separate {
		where = "separate"
	}
	return where + "/" + s.how + "/" + s.end
}

func flipShapes() (all []flipShape) {
	for _, separate := range []bool{false, true} {
		for _, how := range []string{"whole", "trimmed"} {
			for _, end := range []string{"closed", "killed"} {
				all = append(all, flipShape{how, end, separate})
			}
		}
	}
	return all
}

// flipTemplate is a store of a shape, and what is in it.
type flipTemplate struct {
	flipShape
	dir, want string
	files     map[string][]string // by what they are
}

// prepareFlips makes a store of a shape.
func prepareFlips(t *testing.T, s flipShape) flipTemplate {
	t.Helper()
	tmp := t.TempDir()
	f := flipTemplate{flipShape: s, dir: filepath.Join(tmp, "store"), want: filepath.Join(tmp, "want.json"), files: map[string][]string{}}
	at, kill := f.dir, func() {}
	if s.separate {
		server, url := flipServer(t, f.dir)
		at, kill = url, func() {
			if s.end == "killed" {
				server.p.Kill()
			} else if err := server.p.Stop(); err != nil {
				t.Fatal(err)
			}
		}
	}
	p, out := child(t, "flip-prepare", at, s.how, f.want, s.end)
	out.awaitBegun(limited(t, 2*time.Minute), t, p)
	kill()
	p.Kill()
	err := filepath.WalkDir(f.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Size() > 0 {
			rel := must(filepath.Rel(f.dir, path))(t)
			what := flipWhat(rel)
			f.files[what] = append(f.files[what], rel)
		}
		return err
	})
	if err != nil || len(f.files) < 10 {
		t.Fatalf("%v: %d kinds of files, %v", s, len(f.files), err)
	}
	return f
}

// flipWhat says what a file is: the stream's name and the file's, without
// what only numbers it.
func flipWhat(rel string) string {
	parts := strings.Split(filepath.ToSlash(rel), "/")
	name := parts[len(parts)-1]
	if ext := filepath.Ext(name); ext == ".blk" || ext == ".idx" {
		name = "*" + ext
	}
	for i, p := range parts {
		if p == "streams" && i+1 < len(parts) {
			if slices.Contains(parts, "obs") {
				name = "consumer " + name
			}
			return parts[i+1] + " " + name
		}
	}
	return name
}

// flipFilesVariable chooses files by a part of what they are, as "KV_" or
// "accounts *.blk".
const flipFilesVariable = "TIDEMARK_FLIP_FILES"

// flip is one flipped bit.
type flip struct {
	seed     uint64
	template int
	shape    flipShape
	what     string
	file     string
	at       int64 // byte
	bit      int
	whose    bool // it is where a record says whose it is: sequence or subject
}

func (f flip) String() string {
	return fmt.Sprintf("seed %d: %v: %s, bit %d of byte %d of %s", f.seed, f.shape, f.what, f.bit, f.at, f.file)
}

// chooseFlip chooses a bit: block files, which hold the records, come more
// often than what is beside them, and each stream's as often as another's.
func chooseFlip(t *testing.T, templates []flipTemplate, seed uint64) flip {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 0x71de))
	f := flip{seed: seed, template: int(seed) % len(templates)}
	tm := templates[f.template]
	f.shape = tm.flipShape
	var whats []string
	for _, what := range slices.Sorted(maps.Keys(tm.files)) {
		if !strings.Contains(what, os.Getenv(flipFilesVariable)) {
			continue
		}
		n := 1
		if strings.HasSuffix(what, ".blk") {
			n = 4
		}
		whats = append(whats, slices.Repeat([]string{what}, n)...)
	}
	f.what = whats[r.IntN(len(whats))]
	files := tm.files[f.what]
	f.file = files[r.IntN(len(files))]
	info := must(os.Stat(filepath.Join(tm.dir, f.file)))(t)
	f.at, f.bit = r.Int64N(info.Size()), r.IntN(8)
	if strings.HasSuffix(f.file, ".blk") {
		f.whose = saysWhose(must(os.ReadFile(filepath.Join(tm.dir, f.file)))(t), f.at)
	}
	return f
}

// saysWhose says whether a byte of a block file is in a record's sequence or
// subject. A record begins with its length (4 bytes), sequence (8), time (8),
// and the subject's length (2).
func saysWhose(block []byte, at int64) bool {
	for begin := int64(0); begin+22 <= int64(len(block)); {
		size := int64(binary.LittleEndian.Uint32(block[begin:]) &^ (1 << 31))
		if off := at - begin; off < size {
			subject := int64(binary.LittleEndian.Uint16(block[begin+20:]))
			return off >= 4 && off < 12 || off >= 20 && off < 22+subject
		}
		begin += size
	}
	return false
}

// damage copies the store to dir, and flips the bit there.
func (f flip) damage(t *testing.T, from flipTemplate, dir string) {
	t.Helper()
	if err := os.CopyFS(dir, os.DirFS(from.dir)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, f.file)
	b := must(os.ReadFile(path))(t)
	b[f.at] ^= 1 << f.bit
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// flipProcess is a child with what it wrote to its standard error.
type flipProcess struct {
	p      *natstest.Process
	stdout *output
	stderr *output
}

// runFlip starts a command with bounded memory.
func runFlip(t testing.TB, env []string, name string, args ...string) flipProcess {
	t.Helper()
	p := flipProcess{stdout: newOutput(), stderr: newOutput()}
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = p.stdout, p.stderr
	p.p = natstest.Run(t, cmd)
	return p
}

// flipServer starts a nats-server on a store that may be damaged, and waits
// until it is ready, or for some seconds: then it is for its client to find
// out.
func flipServer(t *testing.T, store string) (flipProcess, string) {
	t.Helper()
	ports := t.TempDir()
	script := fmt.Sprintf("ulimit -v %d; exec \"$@\"", flipMemory>>10)
	p := runFlip(t, nil, "/bin/sh", "-c", script, "sh", natstest.Binary(t),
		"-a", "127.0.0.1", "-p", "-1", "-js", "-sd", store, "--ports_file_dir", ports)
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if url := readPorts(ports); url != "" {
			return p, url
		}
		select {
		case <-tick.C:
		case <-deadline:
			return p, "nats://127.0.0.1:1" // nobody is there
		case <-p.p.Done():
			return p, "nats://127.0.0.1:1"
		}
	}
}

// readPorts is where the server listens, which it writes down when it is
// ready.
func readPorts(dir string) string {
	files, _ := filepath.Glob(filepath.Join(dir, "*.ports"))
	if len(files) == 0 {
		return ""
	}
	b, err := os.ReadFile(files[0])
	var ports struct {
		Nats []string `json:"nats"`
	}
	if err != nil || json.Unmarshal(b, &ports) != nil || len(ports.Nats) == 0 {
		return ""
	}
	return ports.Nats[0]
}
