package timeframe

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestTagBinaryIsExactInverse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tag := tags().Draw(t, "tag")
		data, err := tag.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		var got Tag
		if err := got.UnmarshalBinary(data); err != nil || !reflect.DeepEqual(got, tag) {
			t.Fatalf("%+v became %+v, %v", tag, got, err)
		}
		for n := range data {
			if got.UnmarshalBinary(data[:n]) == nil {
				t.Fatalf("accepted %d of %d bytes", n, len(data))
			}
		}
	})
}

func TestTagValidate(t *testing.T) {
	anchors := func(seqs ...uint64) Lineage {
		var l Lineage
		for _, s := range seqs {
			l.Anchors = append(l.Anchors, Anchor{Seq: s})
		}
		return l
	}
	for name, c := range map[string]struct {
		at       string
		lineages map[string]Lineage
		want     string // a part of the error, empty for none
	}{
		"empty":                   {"empty", nil, ""},
		"at 0 without":            {"a=0", nil, ""},
		"at 0 with incarnation":   {"a=0", map[string]Lineage{"a": {Incarnation: "i"}}, ""},
		"anchored":                {"a=7,b=0", map[string]Lineage{"a": anchors(7, 3)}, ""},
		"no lineage":              {"a=7", nil, `feed "a" at 7: no anchor`},
		"no anchor":               {"a=7", map[string]Lineage{"a": {Incarnation: "i"}}, "no anchor"},
		"anchor is older":         {"a=7", map[string]Lineage{"a": anchors(6)}, "newest anchor is at 6"},
		"anchor is newer":         {"a=7", map[string]Lineage{"a": anchors(8, 7)}, "newest anchor is at 8"},
		"anchor of a feed at 0":   {"a=0", map[string]Lineage{"a": anchors(3)}, "newest anchor is at 3"},
		"anchor at 0":             {"a=0", map[string]Lineage{"a": anchors(0)}, "an anchor is at 0"},
		"older anchor at 0":       {"a=7", map[string]Lineage{"a": anchors(7, 0)}, "an anchor is at 0"},
		"anchors repeat":          {"a=7", map[string]Lineage{"a": anchors(7, 7)}, "anchor 7 doesn't lie before anchor 7"},
		"anchors ascend":          {"a=7", map[string]Lineage{"a": anchors(7, 2, 3)}, "anchor 3 doesn't lie before anchor 2"},
		"lineage of another feed": {"a=0", map[string]Lineage{"b": {}}, `feed "b" has a lineage`},
		"long incarnation":        {"a=0", map[string]Lineage{"a": {Incarnation: strings.Repeat("i", MaxIncarnation+1)}}, "128 bytes"},
	} {
		tag := Tag{At: tf(t, c.at), Lineages: c.lineages}
		err := tag.Validate()
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v", name, err)
		}
		data, merr := tag.MarshalBinary()
		if (merr == nil) != (err == nil) || err != nil && data != nil {
			t.Errorf("%s: written as %x, %v", name, data, merr)
		}
	}
	both := Tag{At: tf(t, "a=1,b=1"), Lineages: map[string]Lineage{"c": {}}}.Validate()
	for _, feed := range []string{`"a"`, `"b"`, `"c"`} {
		if !strings.Contains(both.Error(), feed) {
			t.Errorf("not all problems are reported: %v", both)
		}
	}
}

func TestTagUnmarshalRefuses(t *testing.T) {
	one := "01 01 0161 05 01 0169 01 05" + strings.Repeat("ee", 16)
	var tag Tag
	if err := tag.UnmarshalBinary(unhex(t, one)); err != nil {
		t.Fatal(err)
	}
	before, _ := tag.MarshalBinary()
	for name, data := range map[string]string{
		"flag of 2":           strings.Replace(one, "05 01 0169", "05 02 0169", 1),
		"no lineage":          "01 01 0161 05 00",
		"anchor elsewhere":    strings.Replace(one, "01 05ee", "01 04ee", 1),
		"data after the end":  one + "00",
		"hostile anchors":     strings.Replace(one, "01 05ee", "ffffffff0f 05ee", 1),
		"long incarnation":    "01 01 0161 00 01 80" + strings.Repeat("69", 128) + "00",
		"descending":          "01 02 0162 00 00 0161 00 00",
		"count beyond data":   "01 02 0161 00 00",
		"sequence is padded":  "01 01 0161 8000 00",
		"nothing":             "",
		"unknown version":     "02 00",
		"timeframe's version": "00 00",
	} {
		err := tag.UnmarshalBinary(unhex(t, data))
		now, _ := tag.MarshalBinary()
		if err == nil || !bytes.Equal(now, before) {
			t.Errorf("%s: got %+v, %v", name, tag, err)
		}
	}
	err := tag.UnmarshalBinary([]byte{9, 0})
	if v, ok := errors.AsType[*VersionError](err); !ok || v.Got != 9 || err.Error() != "tag binary: unknown version 9, this code reads version 1" {
		t.Errorf("T3.12, unknown version: %v", err)
	}
}
