package eventlog_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
)

// T1.10, R1.21: applications and feeds whose names begin alike never touch
// each other's data.
func TestScopesAreSeparate(t *testing.T) {
	ctx := logtest.Context(t)
	o := logtest.Options(t)
	if o.URL == "" {
		o.Listen = "127.0.0.1:-1"
	}
	base := o.App
	first := logtest.Open(t, o)
	url := o.URL
	if url == "" {
		url = first.ClientURL()
	}
	logs := map[string]*eventlog.Log{base: first}
	for _, app := range []string{base + "b", base + "-b", base + "-b-c"} {
		logs[app] = logtest.Open(t, eventlog.Options{App: app, URL: url})
	}
	names := []string{"b", "c", "b-c", "bc"}
	feeds := make(map[string]*eventlog.Feed)
	for app, log := range logs {
		for _, name := range names {
			f, err := log.Feed(ctx, name, eventlog.Type[opened]("opened"))
			if err != nil {
				t.Fatal(err)
			}
			feeds[app+"/"+name] = f
			for _, key := range []string{"k", "b.k", "c", ">", "*"} {
				if _, err := f.Append(ctx, key, eventlog.ExpectNew, opened{app + "/" + name + "/" + key}); err != nil {
					t.Fatalf("%s/%s: %v", app, name, err)
				}
			}
		}
	}
	for full, f := range feeds {
		n := 0
		for e, err := range f.Read(ctx) {
			if err != nil {
				t.Fatal(err)
			}
			if v, err := e.Value(); err != nil || v.(opened).Owner != full+"/"+e.Key {
				t.Errorf("%s has %v, %v", full, v, err)
			}
			n++
		}
		if n != 5 {
			t.Errorf("%s has %d events, want 5", full, n)
		}
	}
}

func TestFeedAgain(t *testing.T) {
	ctx := logtest.Context(t)
	log := logtest.Fresh(t)
	f := accounts(t, log)
	if g := accounts(t, log); g != f {
		t.Error("opened twice: another handle")
	}
	if g, err := log.Feed(ctx, "accounts"); err != nil || g != f {
		t.Errorf("opened without options: %v", err)
	}
	if g, err := log.Opened("accounts"); err != nil || g != f {
		t.Errorf("opened: %v", err)
	}
	_, err := log.Opened("others")
	wantErr(t, err, eventlog.ErrUnknownFeed, "others")
	for _, opts := range [][]eventlog.FeedOption{
		{eventlog.Type[opened]("opened")},
		{eventlog.Type[opened]("opened"), eventlog.Type[unregistered]("deposited")},
		{eventlog.Type[opened]("opened"), eventlog.Type[deposited]("deposited"), eventlog.WithCodec(eventlog.JSON)},
	} {
		_, err := log.Feed(ctx, "accounts", opts...)
		wantErr(t, err, eventlog.ErrInvalid, "open already")
	}
	if fs := log.Feeds(); len(fs) != 1 || fs[0] != f {
		t.Errorf("feeds %v", fs)
	}
}

type nilCodec struct{ name string }

func (c nilCodec) Name() string                         { return c.name }
func (nilCodec) Append(b []byte, _ any) ([]byte, error) { return b, nil }
func (nilCodec) Decode([]byte, any) error               { return nil }

func TestFeedOptions(t *testing.T) {
	ctx := logtest.Context(t)
	log := logtest.Fresh(t)
	for _, name := range []string{"", "A", "a_b", "a.b", "a b", "ä", "*", strings.Repeat("a", 65)} {
		_, err := log.Feed(ctx, name)
		wantErr(t, err, eventlog.ErrInvalid)
	}
	for words, opts := range map[string][]eventlog.FeedOption{
		"is a pointer":         {eventlog.Type[*opened]("opened")},
		"is an interface":      {eventlog.Type[error]("error")},
		"can't be stored":      {eventlog.Type[func()]("func")},
		"a nil option":         {nil},
		"a nil codec":          {eventlog.WithCodec(nil)},
		"event name \"\"":      {eventlog.Type[opened]("")},
		"event name \"a,b\"":   {eventlog.Type[opened]("a,b")},
		"event name \"a\\nb\"": {eventlog.Type[opened]("a\nb")},
		"is registered for":    {eventlog.Type[opened]("x"), eventlog.Type[deposited]("x")},
		"is registered as":     {eventlog.Type[opened]("x"), eventlog.Type[opened]("y")},
		"codec name \"Bad\"":   {eventlog.WithCodec(nilCodec{"Bad"})},
		"is taken by":          {eventlog.ReadCodecs(nilCodec{"json"})},
		"\"msgpack\" is taken": {eventlog.WithCodec(nilCodec{"msgpack"})},
	} {
		_, err := log.Feed(ctx, "f", opts...)
		wantErr(t, err, eventlog.ErrInvalid, words)
	}
	_, err := log.Feed(ctx, "f", eventlog.Type[*opened]("a"), eventlog.Type[opened](""), eventlog.WithCodec(nil))
	wantErr(t, err, eventlog.ErrInvalid, "is a pointer", "event name", "nil codec")
}

// A stream that isn't the feed's is left alone.
func TestForeignStream(t *testing.T) {
	ctx := logtest.Context(t)
	log := logtest.Fresh(t)
	js := log.JetStream()
	meta := func(app, feed, format, inc string) map[string]string {
		return map[string]string{"tidemark-app": app, "tidemark-feed": feed, "tidemark-format": format, "tidemark-incarnation": inc}
	}
	good := func(name string) jetstream.StreamConfig {
		return jetstream.StreamConfig{
			Name: log.App() + "_" + name, Subjects: []string{log.App() + "." + name + ".>"}, Metadata: meta(log.App(), name, "1", "x"),
		}
	}
	i := 0
	for words, change := range map[string]func(c *jetstream.StreamConfig){
		"not made by Tidemark":     func(c *jetstream.StreamConfig) { c.Metadata = nil },
		"tidemark-format is \"9\"": func(c *jetstream.StreamConfig) { c.Metadata["tidemark-format"] = "9" },
		"another application":      func(c *jetstream.StreamConfig) { c.Metadata["tidemark-app"] = "other" },
		"another feed":             func(c *jetstream.StreamConfig) { c.Metadata["tidemark-feed"] = "other" },
		"incarnation":              func(c *jetstream.StreamConfig) { delete(c.Metadata, "tidemark-incarnation") },
		"subjects is":              func(c *jetstream.StreamConfig) { c.Subjects = []string{c.Subjects[0][:len(c.Subjects[0])-1] + "x"} },
		"subject_transform is set": func(c *jetstream.StreamConfig) {
			c.SubjectTransform = &jetstream.SubjectTransformConfig{Source: ">", Destination: "x.>"}
		},
		"takes its subjects": func(c *jetstream.StreamConfig) { c.Name += "-else" },
	} {
		name := fmt.Sprintf("f%d", i)
		i++
		cfg := good(name)
		change(&cfg)
		s, err := js.CreateStream(ctx, cfg)
		if err != nil {
			t.Fatalf("%s: %v", words, err)
		}
		_, err = log.Feed(ctx, name)
		wantErr(t, err, eventlog.ErrForeign, words)
		if info, err := s.Info(ctx); err != nil || fmt.Sprint(info.Config.Subjects) != fmt.Sprint(cfg.Subjects) {
			t.Errorf("%s: the stream was changed: %v", words, err)
		}
	}
	if _, err := js.CreateStream(ctx, good("fine")); err != nil {
		t.Fatal(err)
	}
	if f, err := log.Feed(ctx, "fine"); err != nil || f.Incarnation() != "x" {
		t.Errorf("a stream of ours: %v", err)
	}
}

// Keys that other encodings get wrong come back from the server as they were.
func TestOddKeysThroughTheServer(t *testing.T) {
	ctx := logtest.Context(t)
	f := accounts(t, logtest.Fresh(t))
	keys := []string{
		"*", ">", "a.*", "a.>", "a", ".", "..", " ", "\x00", "$x", "😀", "\xff\xfe", `"`, `\`, "<&>", "%41", "A",
		"eu.42", "eu.42.x", strings.Repeat("k", eventlog.MaxKeyBytes), strings.TrimSuffix(strings.Repeat("a.", eventlog.MaxKeyBytes/2), "."),
	}
	for i, key := range keys {
		if at, err := f.Append(ctx, key, eventlog.ExpectNew, opened{key}); err != nil || at.Seq != uint64(i+1) {
			t.Fatalf("key %.20q: %v, %v", key, at, err)
		}
	}
	i := 0
	for e, err := range f.Read(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Key != keys[i] {
			t.Errorf("key %q, want %q", e.Key, keys[i])
		}
		i++
	}
	for i, key := range keys {
		got, err := seqs(ctx, f, eventlog.OfKey(key))
		if err != nil || len(got) != 1 || got[0] != uint64(i+1) {
			t.Errorf("key %.20q alone: %v, %v", key, got, err)
		}
		if c, ok, err := f.Head(ctx, key); err != nil || !ok || c.Key != key || c.Seq != uint64(i+1) {
			t.Errorf("head of %.20q: %v, %v, %v", key, c.Seq, ok, err)
		}
	}
	if _, ok, err := f.Head(ctx, "none"); ok || err != nil {
		t.Errorf("head of no key: %v, %v", ok, err)
	}
	if _, ok, err := f.Lookup(ctx, 999); ok || err != nil {
		t.Errorf("lookup beyond the end: %v, %v", ok, err)
	}
	_, err := seqs(ctx, f, eventlog.OfKey(""))
	if _, ok := errors.AsType[*eventlog.KeyError](err); !ok {
		t.Errorf("reading the empty key: %v", err)
	}
}
