package eventlog_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/fastcodec"
	"github.com/tidemark-es/tidemark/internal/logtest"
)

type (
	paidLong  struct{ Cents int64 }
	paidShort struct{ Cents int32 }
	paidUint  struct{ Cents uint64 }
	paidFloat struct{ Cents float32 }
	bulkItem  struct{ Space [1 << 12]byte }
	bulk      struct {
		Items []bulkItem
		More  any
	}
)

// A field that became narrower: what doesn't fit is an error that names the
// field, with both codecs, and what fits is read.
func TestNarrowFields(t *testing.T) {
	ctx := logtest.Context(t)
	log := logtest.Fresh(t)
	for _, c := range []eventlog.Codec{eventlog.MsgPack, eventlog.JSON} {
		feed, err := log.Feed(ctx, "paid-"+c.Name(), eventlog.Type[paidLong]("paid"), eventlog.WithCodec(c))
		if err != nil {
			t.Fatal(err)
		}
		for _, cents := range []int64{7, 5_000_000_000, -1} {
			if _, err := feed.Append(ctx, "a", eventlog.ExpectAny, paidLong{cents}); err != nil {
				t.Fatal(err)
			}
		}
		var got []string
		for e, err := range feed.Read(ctx) {
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range []any{&paidLong{}, &paidShort{}, &paidUint{}} {
				switch err := e.Decode(v); {
				case err == nil:
					got = append(got, "ok")
				default:
					wantErr(t, err, eventlog.ErrCorrupt, "Cents")
					got = append(got, "error")
				}
			}
		}
		if s := strings.Join(got, " "); s != "ok ok ok ok error ok ok ok error" {
			t.Errorf("%s: %s", c.Name(), s)
		}
	}
	var f paidFloat
	data, err := eventlog.MsgPack.Append(nil, &paidLong{1<<24 + 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := eventlog.MsgPack.Decode(data, &f); err == nil {
		t.Errorf("an integer that is no float32: %v", f)
	}
}

// Whatever a payload says of itself, it is an error within bounded memory: by the
// codec alone, by a feed with a limit of its own, for a type with generated
// methods, and for one that doesn't have the field.
func TestHostileBytes(t *testing.T) {
	ctx := logtest.Context(t)
	o := logtest.Options(t)
	o.MaxDecoded = 1 << 20
	log := logtest.Open(t, o)
	items := append([]byte{0x81, 0xa5, 'I', 't', 'e', 'm', 's'}, append([]byte{0xdc, 0x10, 0x00}, bytes.Repeat([]byte{0x80}, 0x1000)...)...)
	for name, data := range map[string][]byte{
		"length":  {0x81, 0xa5, 'I', 't', 'e', 'm', 's', 0xdd, 0xff, 0xff, 0xff, 0xff},
		"map":     {0x81, 0xa4, 'M', 'o', 'r', 'e', 0xdf, 0xff, 0xff, 0xff, 0xff},
		"nesting": append([]byte{0x81, 0xa4, 'M', 'o', 'r', 'e'}, bytes.Repeat([]byte{0x91}, 1<<20)...),
		"unknown": append([]byte{0x81, 0xa4, 'G', 'o', 'n', 'e'}, bytes.Repeat([]byte{0x91}, 1<<20)...),
	} {
		for _, v := range []any{&bulk{}, &fastcodec.Posted{}, new(any), &map[string]any{}} {
			if err := eventlog.MsgPack.Decode(data, v); err == nil {
				t.Errorf("%s: %T has no error", name, v)
			}
		}
	}
	if err := eventlog.MsgPack.Decode(items, &bulk{}); err != nil {
		t.Errorf("16 MiB, within the default: %v", err)
	}
	if err := log.Bounded(eventlog.MsgPack).Decode(items, &bulk{}); err == nil || !strings.Contains(err.Error(), "MaxDecoded") {
		t.Errorf("16 MiB, where 1 is allowed: %v", err)
	}
	if err := log.Bounded(eventlog.JSON).Decode(make([]byte, 2<<20), &bulk{}); err == nil || !strings.Contains(err.Error(), "MaxDecoded") {
		t.Errorf("2 MiB of JSON, where 1 is allowed: %v", err)
	}
	if err := log.Bounded(nilCodec{"own"}).Decode(make([]byte, 2<<20), &bulk{}); err == nil || !strings.Contains(err.Error(), "MaxDecoded") {
		t.Errorf("2 MiB of another codec, where 1 is allowed: %v", err)
	}
	// What can't be read again isn't written.
	feed, err := log.Feed(ctx, "bulks", eventlog.Type[bulk]("bulk"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = feed.Append(ctx, "a", eventlog.ExpectAny, bulk{More: deepList(maxNesting + 1)})
	wantErr(t, err, eventlog.ErrInvalidType, "nested")
}

const maxNesting = 10_000

func deepList(depth int) any {
	var v any
	for range depth {
		v = []any{v}
	}
	return v
}
