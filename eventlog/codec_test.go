package eventlog_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tinylib/msgp/msgp"
	"github.com/vmihailenco/msgpack/v5"
)

// generated has the methods that tinylib/msgp generates.
type generated struct {
	Owner string
	Cents int64
}

func (g *generated) MarshalMsg(b []byte) ([]byte, error) {
	b = msgp.AppendMapHeader(b, 2)
	b = msgp.AppendString(b, "Owner")
	b = msgp.AppendString(b, g.Owner)
	b = msgp.AppendString(b, "Cents")
	return msgp.AppendInt64(b, g.Cents), nil
}

func (g *generated) UnmarshalMsg(b []byte) ([]byte, error) {
	n, b, err := msgp.ReadMapHeaderBytes(b)
	for ; n > 0 && err == nil; n-- {
		var name []byte
		if name, b, err = msgp.ReadMapKeyZC(b); err != nil {
			break
		}
		switch string(name) {
		case "Owner":
			g.Owner, b, err = msgp.ReadStringBytes(b)
		case "Cents":
			g.Cents, b, err = msgp.ReadInt64Bytes(b)
		default:
			b, err = msgp.Skip(b)
		}
	}
	return b, err
}

// reflected is the same type without the methods.
type reflected struct {
	Owner string
	Cents int64
}

func TestGeneratedMethods(t *testing.T) {
	for _, cents := range []int64{0, 1, -1, 127, 128, -33, 1 << 20, -1 << 40, 1 << 62} {
		fast, err1 := eventlog.MsgPack.Append(nil, &generated{"Ada", cents})
		slow, err2 := eventlog.MsgPack.Append(nil, reflected{"Ada", cents})
		if err := errors.Join(err1, err2); err != nil {
			t.Fatalf("%d: %x and %x, %v", cents, fast, slow, err)
		}
		// msgp writes signed numbers as such, reflection prefers the unsigned
		// forms: the same bytes below 128, and both read both.
		if cents < 128 && !bytes.Equal(fast, slow) {
			t.Errorf("%d: %x and %x", cents, fast, slow)
		}
		var g generated
		var r reflected
		err1, err2 = eventlog.MsgPack.Decode(slow, &g), eventlog.MsgPack.Decode(fast, &r)
		if err := errors.Join(err1, err2); err != nil || reflected(g) != r || r.Cents != cents {
			t.Fatalf("%d: %+v and %+v, %v", cents, g, r, err)
		}
	}
	ctx := logtest.Context(t)
	f, err := logtest.Fresh(t).Feed(ctx, "f", eventlog.Type[generated]("g"), eventlog.Type[reflected]("r"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Append(ctx, "k", eventlog.ExpectAny, generated{"Ada", 7}, reflected{"Ada", 7}); err != nil {
		t.Fatal(err)
	}
	c, _, err := f.Lookup(ctx, 1)
	if err != nil || c.Len() != 2 || !bytes.Equal(c.Event(0).Data(), c.Event(1).Data()) {
		t.Fatalf("commit %+v, %v", c, err)
	}
	if v, err := c.Event(0).Value(); err != nil || v != (generated{"Ada", 7}) {
		t.Errorf("value %v, %v", v, err)
	}
}

// varint is a codec of somebody's own, for one type.
type varint struct{}

func (varint) Name() string { return "varint" }

func (varint) Append(dst []byte, v any) ([]byte, error) {
	d, ok := v.(*deposited)
	if !ok {
		return dst, fmt.Errorf("can't encode %T", v)
	}
	return binary.AppendVarint(dst, d.Cents), nil
}

func (varint) Decode(data []byte, v any) error {
	n, size := binary.Varint(data)
	if size != len(data) {
		return errors.New("not one varint")
	}
	v.(*deposited).Cents = n
	return nil
}

// A feed whose codec changes reads what it wrote before.
func TestCodecChanges(t *testing.T) {
	ctx := logtest.Context(t)
	o := eventlog.Options{App: "a", Dir: t.TempDir()}
	codecs := []eventlog.Codec{eventlog.MsgPack, eventlog.JSON, varint{}, eventlog.MsgPack}
	for i, c := range codecs {
		log, err := eventlog.Open(ctx, o)
		if err != nil {
			t.Fatal(err)
		}
		f, err := log.Feed(ctx, "f", eventlog.Type[deposited]("d"), eventlog.WithCodec(c), eventlog.ReadCodecs(varint{}))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Append(ctx, "k", eventlog.ExpectAny, deposited{int64(i)}); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Append(ctx, "k", eventlog.ExpectAny, deposited{int64(i)}, deposited{int64(i)}); err != nil {
			t.Fatal(err)
		}
		n := 0
		for e, err := range f.Read(ctx) {
			if err != nil {
				t.Fatal(err)
			}
			if v, err := e.Value(); err != nil || v != (deposited{int64(n / 3)}) {
				t.Errorf("event %d: %v, %v", n, v, err)
			}
			var d deposited
			if err := e.Decode(&d); err != nil || d.Cents != int64(n/3) {
				t.Errorf("event %d decoded: %v, %v", n, d, err)
			}
			n++
		}
		if n != 3*(i+1) {
			t.Errorf("%d events", n)
		}
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
	}
	log := logtest.Open(t, o)
	f, err := log.Feed(ctx, "f", eventlog.Type[deposited]("d"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := seqs(ctx, f)
	if len(got) != 4 {
		t.Errorf("read %v before the unknown codec", got)
	}
	wantErr(t, err, eventlog.ErrCorrupt, "ReadCodecs", "varint")
}

type bomb struct{ When string }

func (b bomb) check(when string) {
	if b.When == when {
		panic("boom at " + when)
	}
}

func (b *bomb) EncodeMsgpack(e *msgpack.Encoder) error {
	b.check("encoding")
	return e.EncodeString(b.When)
}

func (b *bomb) DecodeMsgpack(d *msgpack.Decoder) (err error) {
	b.When, err = d.DecodeString()
	b.check("decoding")
	return err
}

// A panic of a user's method is an error of that event.
func TestCodecPanics(t *testing.T) {
	ctx := logtest.Context(t)
	f, err := logtest.Fresh(t).Feed(ctx, "f", eventlog.Type[bomb]("bomb"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Append(ctx, "k", eventlog.ExpectAny, bomb{"encoding"})
	wantErr(t, err, eventlog.ErrInvalidType, "boom at encoding", "codec_test.go:")
	for _, when := range []string{"decoding", "never"} {
		if _, err := f.Append(ctx, "k", eventlog.ExpectAny, bomb{when}); err != nil {
			t.Fatal(err)
		}
	}
	for e, err := range f.Read(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		v, err := e.Value()
		derr := e.Decode(&bomb{})
		if e.Seq == 2 {
			if err != nil || derr != nil || v != (bomb{"never"}) {
				t.Errorf("%v, %v, %v", v, err, derr)
			}
			continue
		}
		wantErr(t, err, eventlog.ErrCorrupt, "boom at decoding", "f@1", "codec_test.go:")
		wantErr(t, derr, eventlog.ErrCorrupt, "boom at decoding")
	}
	if _, err := (eventlog.Event{}).Value(); !errors.Is(err, eventlog.ErrInvalid) {
		t.Errorf("the zero event: %v", err)
	}
}

// Bytes that are left over, and types that nobody registered, are errors.
func TestDecodeStrictly(t *testing.T) {
	for _, c := range []eventlog.Codec{eventlog.MsgPack, eventlog.JSON} {
		b, err := c.Append(nil, reflected{"Ada", 1})
		if err != nil {
			t.Fatal(err)
		}
		var r reflected
		if c.Decode(append(b, '0'), &r) == nil || c.Decode(b[:len(b)-1], &r) == nil || c.Decode(nil, &r) == nil {
			t.Errorf("%s takes more or less than a value", c.Name())
		}
		if err := c.Decode(b, &r); err != nil || r.Owner != "Ada" {
			t.Errorf("%s: %v, %v", c.Name(), r, err)
		}
	}
	ctx := logtest.Context(t)
	o := eventlog.Options{App: "a", Dir: t.TempDir()}
	log := logtest.Open(t, o)
	put(t, accounts(t, log), "k", 1)
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := logtest.Open(t, o).Feed(ctx, "accounts", eventlog.Type[opened]("opened"))
	if err != nil {
		t.Fatal(err)
	}
	c, _, err := f.Lookup(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Event(0).Value()
	wantErr(t, err, eventlog.ErrUnknownType, "accounts@1", `"deposited"`)
}
