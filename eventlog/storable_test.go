package eventlog_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
)

// Fields that nothing but a codec looks at.
var (
	_ = secret{}.cents
	_ = onPurpose{}.cache
)

type (
	secret    struct{ cents int64 }
	orderLine struct{ Price secret }
	ordered   struct{ Lines []orderLine }
	doubled   struct {
		Named
		ID string
	}
	Named     struct{ ID string }
	onPurpose struct {
		Kept  int
		cache int `msgpack:"-"`
	}
	folder struct {
		Name string
		In   *folder
	}
	annotated struct{ Notes map[string]any }
)

// A feed isn't opened with a type that its codec would lose something of, and
// the error names the fields.
func TestFeedRefusesWhatIsLost(t *testing.T) {
	ctx := logtest.Context(t)
	log := logtest.Fresh(t)
	for _, c := range []struct {
		opts  []eventlog.FeedOption
		words []string
	}{
		{[]eventlog.FeedOption{eventlog.Type[ordered]("ordered"), eventlog.Type[doubled]("doubled")},
			[]string{`event "ordered": eventlog_test.ordered.Lines[].Price.cents is not exported`, "doubled.Named.ID does not come back"}},
		{[]eventlog.FeedOption{eventlog.Type[ordered]("ordered"), eventlog.WithCodec(eventlog.JSON)}, []string{"Price.cents", `json:"-"`}},
		{[]eventlog.FeedOption{eventlog.Type[string]("text"), eventlog.WithCodec(eventlog.Bytes)}, []string{"slices of bytes"}},
		{[]eventlog.FeedOption{eventlog.Type[error]("failed")}, []string{"is an interface"}},
	} {
		_, err := log.Feed(ctx, "lost", c.opts...)
		wantErr(t, err, eventlog.ErrInvalid, c.words...)
		_, err = eventlog.Offline("lost", c.opts...)
		wantErr(t, err, eventlog.ErrInvalid, c.words...)
	}
	if _, err := log.Feed(ctx, "fine", eventlog.Type[onPurpose]("on-purpose"), eventlog.Type[folder]("folder"), eventlog.Type[annotated]("annotated")); err != nil {
		t.Error(err)
	}
	if _, err := log.Feed(ctx, "own", eventlog.Type[secret]("secret"), eventlog.WithCodec(nilCodec{"own"})); err != nil {
		t.Errorf("a codec of the user's own: %v", err)
	}
}

// Of a stream that others write, a program may read what it likes.
func TestAdoptedTypesMayLose(t *testing.T) {
	ctx := logtest.Context(t)
	log := logtest.Fresh(t)
	theirs := log.App() + "_theirs" // deleted with what the test has stored
	logtest.CreateStream(t, log.JetStream(), jetstream.StreamConfig{Name: theirs, Subjects: []string{theirs + ".>"}})
	_, err := log.Adopt(ctx, "theirs", eventlog.Adoption{Stream: theirs, Layouts: []eventlog.Layout{{Subject: theirs + ".{key}.{type}"}}},
		eventlog.Type[ordered]("ordered"))
	if err != nil {
		t.Error(err)
	}
}

// A value that doesn't come back is an error of the append, which names the type
// and the field. One that contains itself doesn't end the process.
func TestAppendRefusesValues(t *testing.T) {
	ctx := logtest.Context(t)
	log := logtest.Fresh(t)
	cyclic := &folder{Name: "a"}
	cyclic.In = &folder{"b", cyclic}
	for _, codec := range []eventlog.Codec{eventlog.MsgPack, eventlog.JSON} {
		f, err := log.Feed(ctx, "values-"+codec.Name(), eventlog.Type[folder]("folder"), eventlog.Type[annotated]("annotated"), eventlog.WithCodec(codec))
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			event any
			words []string
		}{
			{*cyclic, []string{"eventlog_test.folder", "contains itself"}},
			{annotated{map[string]any{"n": []any{1}}}, []string{"eventlog_test.annotated.Notes[n][0] holds int"}},
		} {
			_, err = f.Append(ctx, "k", eventlog.ExpectAny, c.event)
			if _, ok := errors.AsType[*eventlog.TypeError](err); !ok {
				t.Errorf("%s: %v", codec.Name(), err)
			}
			wantErr(t, err, eventlog.ErrInvalidType, c.words...)
			if _, err = codec.Append(nil, &c.event); !errors.Is(err, eventlog.ErrInvalid) {
				t.Errorf("%s: %T in an interface: %v", codec.Name(), c.event, err)
			}
		}
		for _, event := range []any{folder{"a", &folder{Name: "b"}}, annotated{map[string]any{"n": []any{1.5, "b", nil, true}}}} {
			if _, err := f.Append(ctx, "k", eventlog.ExpectAny, event); err != nil {
				t.Errorf("%s: %v", codec.Name(), err)
			}
		}
	}
	_, err := eventlog.MsgPack.Append(nil, cyclic)
	if v, ok := errors.AsType[*eventlog.ValueError](err); !ok || v.Type != "eventlog_test.folder" || !errors.Is(err, eventlog.ErrInvalid) || !strings.Contains(err.Error(), "contains itself") {
		t.Errorf("the codec by itself: %v", err)
	}
}
