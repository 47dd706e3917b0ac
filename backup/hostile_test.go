package backup_test

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/s2"
	"github.com/nats-io/nats-server/v2/server/archive"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tidemark-es/tidemark/backup"
	"github.com/tidemark-es/tidemark/eventlog"
)

// forge copies a backup, and changes the copy so that its checksums are right.
func forge(t *testing.T, dir string, change func(dir string, m *backup.Manifest)) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "forged")
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	m := must(backup.Open(to))(t)
	change(to, m)
	for name, f := range m.Files {
		data, err := os.ReadFile(filepath.Join(to, filepath.FromSlash(name)))
		if err == nil {
			f.Size, f.SHA256 = int64(len(data)), sum(data)
			m.Files[name] = f
		}
	}
	line := must(json.Marshal(m))(t)
	if err := os.WriteFile(filepath.Join(to, "backup.json"), fmt.Appendf(line, "\n%s\n", sum(line)), 0o600); err != nil {
		t.Fatal(err)
	}
	return to
}

func sum(data []byte) string {
	h := sha256.Sum256(data)
	return hex.EncodeToString(h[:])
}

// configOf changes a saved stream's settings.
func configOf(t *testing.T, s *backup.Stream, change func(*jetstream.StreamConfig)) {
	t.Helper()
	var c jetstream.StreamConfig
	if err := json.Unmarshal(s.Config, &c); err != nil {
		t.Fatal(err)
	}
	change(&c)
	s.Config = must(json.Marshal(c))(t)
}

// feedOf is a saved feed.
func feedOf(m *backup.Manifest) *backup.Stream {
	return &m.Streams[slices.IndexFunc(m.Streams, func(s backup.Stream) bool { return strings.HasSuffix(s.Name, "_accounts") })]
}

// repack writes a stream's archive anew, as change says of each entry; last adds
// entries before its end.
func repack(t *testing.T, path string, change func(h *archive.Header), last ...archive.Header) {
	t.Helper()
	data := must(os.ReadFile(path))(t)
	r := archive.NewReader(s2.NewReader(bytes.NewReader(data)))
	var out bytes.Buffer
	z := s2.NewWriter(&out)
	w := archive.NewWriter(z)
	write := func(h archive.Header, body []byte) {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(body); err != nil {
			t.Fatal(err)
		}
	}
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		body := must(io.ReadAll(r))(t)
		if err != nil {
			t.Fatal(err)
		}
		if h.Name == "" && h.Sequence == 0 {
			for _, more := range last {
				write(more, make([]byte, more.HeaderSize+more.PayloadSize))
			}
		} else if change != nil {
			change(h)
		}
		write(*h, body)
	}
	if err := errors.Join(w.Close(), z.Close(), os.WriteFile(path, out.Bytes(), 0o600)); err != nil {
		t.Fatal(err)
	}
}

// refused restores, and fails unless that is refused with the words, and wrote
// nothing.
func refused(t *testing.T, log *eventlog.Log, dir, what string, words ...string) {
	t.Helper()
	_, err := backup.Restore(t.Context(), log, dir)
	e, ok := errors.AsType[*backup.RefusedError](err)
	if !ok || !errors.Is(err, backup.ErrRefused) || e.App != log.App() {
		t.Errorf("%s: %v", what, err)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%s: %v says nothing of %q", what, err, w)
		}
	}
	for name := range log.JetStream().StreamNames(t.Context()).Name() {
		t.Errorf("%s: stream %s was made", what, name)
	}
}

// settings that a restored stream may have as they were saved.
var harmless = []string{
	"Description", "MaxMsgs", "MaxBytes", "MaxMsgSize", "MaxConsumers", "Duplicates", "Compression", "FirstSeq", "DenyDelete", "AllowDirect",
	"MirrorDirect", "ConsumerLimits", "Metadata", "Storage", "Replicas", "AllowAtomicPublish", "AllowBatchPublish",
}

// Every setting that a stream can have is compared: also those that are new.
func TestRestoreRefusesSettings(t *testing.T) {
	b := filled(t, 3)
	dir := t.TempDir()
	must(backup.Save(t.Context(), b.log, dir))(t)
	log := fresh(t, b.log.App())
	fields := reflect.TypeFor[jetstream.StreamConfig]()
	for i := range fields.NumField() {
		f := fields.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if slices.Contains(harmless, f.Name) {
			continue
		}
		for k := range 2 { // a feed and a register
			if k == 0 && f.Name == "Discard" || k == 1 && f.Name == "MaxMsgsPerSubject" {
				continue // means nothing without a limit; the history of a bucket
			}
			forged := forge(t, dir, func(_ string, m *backup.Manifest) {
				s := feedOf(m)
				if k == 1 {
					s = &m.Streams[0]
				}
				configOf(t, s, func(c *jetstream.StreamConfig) { other(t, reflect.ValueOf(c).Elem().Field(i)) })
			})
			refused(t, log, forged, f.Name, cmp.Or(name, f.Name))
		}
	}
	for what, change := range map[string]func(*jetstream.StreamConfig){
		"a limit that drops events": func(c *jetstream.StreamConfig) { c.Discard, c.MaxMsgs = jetstream.DiscardOld, 1 },
		"metadata":                  func(c *jetstream.StreamConfig) { c.Metadata["tidemark-format"] = "2" },
	} {
		refused(t, log, forge(t, dir, func(_ string, m *backup.Manifest) { configOf(t, feedOf(m), change) }), what)
	}
	unknown := forge(t, dir, func(_ string, m *backup.Manifest) {
		s := feedOf(m)
		s.Config = append(bytes.TrimSuffix(s.Config, []byte("}")), `,"a_later_setting":true}`...)
	})
	refused(t, log, unknown, "an unknown setting", "a_later_setting")
}

// other gives a field another valid value.
func other(t *testing.T, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(1 - min(1, max(0, v.Int())))
	case reflect.Uint8:
		v.SetUint(1)
	case reflect.Uint64:
		v.SetUint(7)
	case reflect.String:
		v.SetString("x")
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		if e := v.Index(0); e.Kind() == reflect.Pointer {
			e.Set(reflect.New(e.Type().Elem()))
		}
	default:
		t.Fatalf("no other value of a %s", v.Type())
	}
}

// Names of streams and files that aren't the application's, and what lies
// outside of the directory.
func TestRestoreRefusesNames(t *testing.T) {
	b := filled(t, 3)
	dir := t.TempDir()
	must(backup.Save(t.Context(), b.log, dir))(t)
	log := fresh(t, b.log.App())
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if data, err := os.ReadFile(outside); err != nil || string(data) != "secret" {
			t.Errorf("outside: %q, %v", data, err)
		}
	}()
	rename := func(m *backup.Manifest, s *backup.Stream, name string) {
		m.Files["streams/"+name] = m.Files[s.File]
		s.Name, s.File = name, "streams/"+name
	}
	for what, change := range map[string]func(dir string, m *backup.Manifest){
		"a file beside the directory": func(_ string, m *backup.Manifest) { m.Files["../outside"] = backup.File{} },
		"a file with a whole path": func(_ string, m *backup.Manifest) {
			m.Files[outside] = backup.File{Size: 6, SHA256: sum([]byte("secret"))}
		},
		"a file of no kind":               func(_ string, m *backup.Manifest) { m.Files["other/x"] = backup.File{} },
		"a stream's file elsewhere":       func(_ string, m *backup.Manifest) { feedOf(m).File = "../outside" },
		"a stream's file of a whole path": func(_ string, m *backup.Manifest) { feedOf(m).File = outside },
		"another stream's file":           func(_ string, m *backup.Manifest) { feedOf(m).File = m.Streams[0].File },
		"a stream of another application": func(dir string, m *backup.Manifest) {
			s := feedOf(m)
			if err := os.Rename(filepath.Join(dir, s.File), filepath.Join(dir, "streams", "other_accounts")); err != nil {
				t.Fatal(err)
			}
			delete(m.Files, s.File)
			rename(m, s, "other_accounts")
		},
		"a bucket that is no register": func(dir string, m *backup.Manifest) {
			s := m.Streams[0]
			if err := os.Link(filepath.Join(dir, s.File), filepath.Join(dir, "streams", "KV_"+m.App+"_evil")); err != nil {
				t.Fatal(err)
			}
			rename(m, &s, "KV_"+m.App+"_evil")
			m.Streams = append(m.Streams, s)
		},
		"a register called a feed":  func(_ string, m *backup.Manifest) { m.Streams[0].Feed = true },
		"a feed called a register":  func(_ string, m *backup.Manifest) { feedOf(m).Feed = false },
		"a stream twice":            func(_ string, m *backup.Manifest) { m.Streams = append(m.Streams, *feedOf(m)) },
		"a unit that is a path":     func(_ string, m *backup.Manifest) { m.Snapshots[0].Unit = "../x" },
		"a snapshot that is a path": func(_ string, m *backup.Manifest) { m.Snapshots[0].ID = "../x" },
		"another feed's metadata": func(_ string, m *backup.Manifest) {
			configOf(t, feedOf(m), func(c *jetstream.StreamConfig) { c.Metadata["tidemark-feed"] = "x" })
		},
		"another application's subjects": func(_ string, m *backup.Manifest) {
			configOf(t, feedOf(m), func(c *jetstream.StreamConfig) { c.Subjects = []string{"other.accounts.>"} })
		},
		"a consumer in a stream's file": func(dir string, m *backup.Manifest) {
			repack(t, filepath.Join(dir, feedOf(m).File), nil, archive.Header{Name: "consumers/x/meta.inf", PayloadSize: 4})
		},
		"another application's message": func(dir string, m *backup.Manifest) {
			repack(t, filepath.Join(dir, feedOf(m).File), func(h *archive.Header) {
				if h.Sequence == 2 {
					h.Name = "other.accounts.k"
				}
			})
		},
		"more messages than are said": func(dir string, m *backup.Manifest) {
			s := feedOf(m)
			repack(t, filepath.Join(dir, s.File), nil, archive.Header{Name: m.App + ".accounts.k", Sequence: s.State.LastSeq + 1, PayloadSize: 4})
		},
		"messages out of order": func(dir string, m *backup.Manifest) {
			repack(t, filepath.Join(dir, feedOf(m).File), func(h *archive.Header) {
				if h.Sequence == 2 {
					h.Sequence = 1
				}
			})
		},
		"a state that isn't the file's": func(_ string, m *backup.Manifest) { feedOf(m).State.LastSeq = 1 << 60 },
		"names with lines of their own": func(_ string, m *backup.Manifest) { m.Streams[0].Name = "x\nERR forged\x1b[31m" },
	} {
		t.Run(what, func(t *testing.T) {
			forged := forge(t, dir, change)
			refused(t, log, forged, what)
			_, err := backup.Restore(t.Context(), log, forged)
			if strings.ContainsAny(fmt.Sprint(err), "\n\x1b") {
				t.Errorf("control characters in %q", err)
			}
		})
	}
	must(backup.Restore(t.Context(), log, forge(t, dir, func(string, *backup.Manifest) {})))(t)
}

// A stream's file that isn't a file of the backup's own is refused, and nothing
// outside is written.
func TestRestoreRefusesLinks(t *testing.T) {
	b := filled(t, 3)
	dir := t.TempDir()
	must(backup.Save(t.Context(), b.log, dir))(t)
	log := fresh(t, b.log.App())
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for what, make := range map[string]func(path string) error{
		"a link": func(path string) error { return os.Symlink(outside, path) }, "a directory": func(path string) error { return os.Mkdir(path, 0o700) },
	} {
		forged := forge(t, dir, func(dir string, m *backup.Manifest) {
			path := filepath.Join(dir, feedOf(m).File)
			if err := errors.Join(os.Remove(path), make(path)); err != nil {
				t.Fatal(err)
			}
			m.Files[feedOf(m).File] = backup.File{Size: 6, SHA256: sum([]byte("secret"))}
		})
		if _, err := backup.Restore(t.Context(), log, forged); !errors.Is(err, backup.ErrDamaged) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if data, err := os.ReadFile(outside); err != nil || string(data) != "secret" {
		t.Errorf("outside: %q, %v", data, err)
	}
	must(backup.Restore(t.Context(), log, forge(t, dir, func(string, *backup.Manifest) {})))(t)
}

// Plain restores what is the application's, with Tidemark's own settings.
func TestRestorePlain(t *testing.T) {
	ctx := t.Context()
	b := filled(t, 10)
	js := b.log.JetStream()
	mine := b.log.App() + "_own" // a stream of somebody's, with the application's prefix
	must(js.CreateStream(ctx, jetstream.StreamConfig{Name: mine, Subjects: []string{"own"}}))(t)
	feed := b.accounts.Stream()
	info := must(must(js.Stream(ctx, feed))(t).Info(ctx))(t)
	info.Config.RePublish = &jetstream.RePublish{Source: ">", Destination: "elsewhere.>"}
	info.Config.MaxMsgs = 1000
	must(js.UpdateStream(ctx, info.Config))(t)
	dir := t.TempDir()
	m := must(backup.Save(ctx, b.log, dir))(t)
	log := fresh(t, b.log.App())
	if notes := strings.Join(m.Notes, "\n"); len(m.Notes) != 2 || !strings.Contains(notes, mine) || !strings.Contains(notes, "republish") {
		t.Errorf("notes %q", m.Notes)
	}
	dir = forge(t, dir, func(dir string, m *backup.Manifest) { // as a backup of before has it
		s := *feedOf(m)
		s.Name, s.File = mine, "streams/"+mine
		m.Streams = append(m.Streams, s)
		m.Files[s.File] = backup.File{}
		if err := os.WriteFile(filepath.Join(dir, s.File), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	})
	refused(t, log, dir, "as it is", "republish", mine)
	must(backup.RestoreOptions{Plain: true}.Restore(ctx, log, dir))(t)
	got := must(must(log.JetStream().Stream(ctx, feed))(t).Info(ctx))(t)
	if got.Config.RePublish != nil || got.Config.MaxMsgs != 1000 || got.State.LastSeq != m.Feeds()[feed] {
		t.Errorf("%+v", got)
	}
	if _, err := log.JetStream().Stream(ctx, mine); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("%s: %v", mine, err)
	}
	started(t, b, log, m)
}
