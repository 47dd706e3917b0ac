package timeframe

import (
	"bytes"
	"testing"
)

func FuzzParse(f *testing.F) {
	for _, text := range []string{"empty", "a=0", "accounts=12,orders=3", "a=18446744073709551615", "a=01", "b=1,a=1", ""} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := Parse(text)
		if err != nil {
			if !got.IsEmpty() {
				t.Fatalf("%q: failed with %s", text, got)
			}
			return
		}
		if got.String() != text {
			t.Fatalf("%q is accepted and reads as %q", text, got)
		}
		sound(t, got)
	})
}

func FuzzTimeframeUnmarshalBinary(f *testing.F) {
	for _, text := range []string{"empty", "a=0", "accounts=12,orders=300"} {
		data, _ := tf(f, text).MarshalBinary()
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var got Timeframe
		if got.UnmarshalBinary(data) != nil {
			return
		}
		if again, _ := got.MarshalBinary(); !bytes.Equal(again, data) {
			t.Fatalf("%x is accepted and written as %x", data, again)
		}
		sound(t, got)
	})
}

func FuzzTagUnmarshalBinary(f *testing.F) {
	tag := goldenTag(f)
	data, err := tag.MarshalBinary()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte{1, 0})
	f.Add([]byte{1, 1, 1, 'a', 0, 1, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		var got Tag
		if got.UnmarshalBinary(data) != nil {
			return
		}
		again, err := got.MarshalBinary()
		if err != nil || !bytes.Equal(again, data) {
			t.Fatalf("%x is accepted and written as %x, %v", data, again, err)
		}
		sound(t, got.At)
	})
}

// sound checks the invariant of a timeframe's entries.
func sound(t *testing.T, got Timeframe) {
	t.Helper()
	rebuilt, err := FromMap(got.Map())
	if err != nil || !rebuilt.Equal(got) {
		t.Fatalf("decoded %s isn't sound: %v", got, err)
	}
}
