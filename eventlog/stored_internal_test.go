package eventlog

import (
	"encoding/hex"
	"testing"
)

// The bytes on docs/format-commit.md, "A commit outside its log".
func TestStoredGolden(t *testing.T) {
	const golden = "01" + // version
		"ac02" + // sequence 300
		"1899de2d4b9e4000" + // time
		"0b" + "612e6e6f7465732e6b3031" + // subject
		"02" + // headers
		"0b" + "4e6174732d4d73672d4964" + "04" + "69642d31" +
		"07" + "546d2d54797065" + "05" + "6e6f746564" +
		"c0" // payload
	data, err := hex.DecodeString(golden)
	if err != nil {
		t.Fatal(err)
	}
	m, err := decodeStored(data)
	if err != nil {
		t.Fatal(err)
	}
	if m.seq != 300 || m.subject != "a.notes.k01" || m.get(headerID) != "id-1" || m.get(headerType) != "noted" || len(m.data) != 1 {
		t.Errorf("%+v", m)
	}
	c := Commit{msg: m}
	if got := hex.EncodeToString(c.AppendStored(nil)); got != golden {
		t.Errorf("encoded as\n%s, want\n%s", got, golden)
	}
}
