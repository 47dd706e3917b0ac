package timeframe

import (
	"bytes"
	"encoding"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/vmihailenco/msgpack/v5"
	"pgregory.net/rapid"
)

var (
	_ encoding.TextAppender      = Timeframe{}
	_ encoding.BinaryAppender    = Timeframe{}
	_ encoding.BinaryMarshaler   = Tag{}
	_ encoding.BinaryUnmarshaler = (*Tag)(nil)
	_ encoding.TextMarshaler     = Fingerprint{}
)

func TestFormsAreExactInverses(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := timeframes().Draw(t, "a"), timeframes().Draw(t, "b")
		fromText, err := Parse(a.String())
		if err != nil || !fromText.Equal(a) {
			t.Fatalf("text: %s became %s, %v", a, fromText, err)
		}
		data, _ := a.MarshalBinary()
		fromBinary := b // what was there before must not matter
		if err := fromBinary.UnmarshalBinary(data); err != nil || !fromBinary.Equal(a) {
			t.Fatalf("binary: %s became %s, %v", a, fromBinary, err)
		}
		other, _ := b.MarshalBinary()
		if a.Equal(b) != (a.String() == b.String()) || a.Equal(b) != bytes.Equal(data, other) {
			t.Fatalf("not canonical: %s and %s", a, b)
		}
	})
}

func TestParseRefuses(t *testing.T) {
	for text, offset := range map[string]int{
		"": 0, "Empty": 0, " empty": 0, "empty,a=1": 0, "a": 0, "a=1,": 4, ",a=1": 0,
		"a=": 2, "a=-1": 2, "a=+1": 2, "a=01": 2, "a=00": 2, "a=1 ": 2, "a=0x1": 2, "a=1_0": 2, "a=1=2": 2,
		"a=18446744073709551616": 2, "=1": 0, "A=1": 0, "a=1, b=1": 4,
		"a=1,a=1": 4, "b=1,a=1": 4, strings.Repeat("a", MaxName+1) + "=1": 0,
	} {
		got, err := Parse(text)
		bad, ok := errors.AsType[*FormatError](err)
		if !ok || bad.Offset != offset || bad.Form != "timeframe text" || !got.IsEmpty() {
			t.Errorf("%q: got %s, %v", text, got, err)
		}
	}
	if _, err := Parse("A=1"); !isNameError(err) {
		t.Errorf("the cause is lost: %v", err)
	}
	before := tf(t, "a=1")
	if err := before.UnmarshalText([]byte("b")); err == nil || before.String() != "a=1" {
		t.Errorf("after a failure: %s, %v", before, err)
	}
}

func TestUnmarshalBinaryRefuses(t *testing.T) {
	good, _ := tf(t, "a=1,b=300").MarshalBinary() // 01 02 01'a' 01 01'b' ac02
	for n := range good {
		refused(t, "cut short", good[:n])
	}
	for name, data := range map[string]string{
		"data after the end":   "010201610101 62ac0200",
		"long number":          "01 01 0161 8100",
		"long count":           "01 8100 0161 01",
		"66-bit number":        "01 01 0161 ffffffffffffffffff02",
		"descending":           "01 02 0162 01 0161 01",
		"repeated":             "01 02 0161 01 0161 01",
		"empty name":           "01 01 00 01 00",
		"upper case":           "01 01 0141 01",
		"name of 65 bytes":     "01 01 41" + strings.Repeat("61", 65) + "01",
		"count beyond data":    "01 02 0161 01",
		"count of 2^64-1":      "01 ffffffffffffffffff01 0161 01",
		"name beyond the data": "01 01 4061 01",
	} {
		refused(t, name, unhex(t, data))
	}
	var got Timeframe
	err := got.UnmarshalBinary([]byte{2, 0})
	if v, ok := errors.AsType[*VersionError](err); !ok || *v != (VersionError{"timeframe binary", 2, 1}) {
		t.Errorf("T3.12, unknown version: %v", err)
	}
}

func refused(t *testing.T, name string, data []byte) {
	t.Helper()
	got := tf(t, "x=1")
	err := got.UnmarshalBinary(data)
	bad, ok := errors.AsType[*FormatError](err)
	if !ok || got.String() != "x=1" {
		t.Errorf("%s: got %s, %v", name, got, err)
	} else if bad.Offset > len(data) {
		t.Errorf("%s: %v is beyond %d bytes", name, err, len(data))
	}
}

func TestHostileCountAllocatesLittle(t *testing.T) {
	data := []byte{1, 0xff, 0xff, 0xff, 0xff, 0x0f, 1, 'a', 1}
	var tf Timeframe
	var tag Tag
	n := testing.AllocsPerRun(10, func() {
		if tf.UnmarshalBinary(data) == nil || tag.UnmarshalBinary(data) == nil {
			t.Error("accepted")
		}
	})
	if n > 10 { // the errors
		t.Errorf("%v allocations", n)
	}
}

// Codecs by reflection find the canonical forms: text in JSON, binary in msgpack.
func TestOtherCodecs(t *testing.T) {
	type record struct {
		At  Timeframe
		Tag Tag
	}
	rapid.Check(t, func(rt *rapid.T) {
		in := record{timeframes().Draw(rt, "at"), tags().Draw(rt, "tag")}
		data, err := msgpack.Marshal(in)
		if err != nil {
			rt.Fatal(err)
		}
		var out record
		if err := msgpack.Unmarshal(data, &out); err != nil || !out.At.Equal(in.At) || !out.Tag.Equal(in.Tag) {
			rt.Fatalf("msgpack: %+v became %+v, %v", in, out, err)
		}
		raw, _ := in.Tag.MarshalBinary()
		if !bytes.Contains(data, raw) {
			rt.Fatal("msgpack doesn't use the binary form")
		}
	})

	data, err := json.Marshal(map[string]any{"at": tf(t, "a=1,b=2"), "print": fingerprintOf(0xab)})
	if want := `{"at":"a=1,b=2","print":"ab000000000000000000000000000000"}`; err != nil || string(data) != want {
		t.Errorf("JSON: got %s, %v", data, err)
	}
	in := Tag{At: tf(t, "a=7,b=0"), Lineages: map[string]Lineage{
		"a": {Incarnation: "x", Anchors: []Anchor{{7, fingerprintOf(7)}, {3, fingerprintOf(3)}}},
	}}
	var out Tag
	if data, err = json.Marshal(in); err == nil {
		err = json.Unmarshal(data, &out)
	}
	if err != nil || !out.Equal(in) {
		t.Errorf("JSON: %+v became %+v, %v", in, out, err)
	}
}

func unhex(t *testing.T, text string) []byte {
	t.Helper()
	data, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return data
}
