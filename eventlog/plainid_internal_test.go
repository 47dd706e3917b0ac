package eventlog

import "testing"

// An ID that an expectation makes superfluous for the server is the commit's
// all the same: it is read, and an append that is sent again with it, as after
// an ErrAmbiguous, is answered with the first one's position (T1.1).
func TestPlainID(t *testing.T) {
	f, _ := deaf(t, 0)
	ctx := t.Context()
	for _, d := range []Draft{
		{Key: "k", Expect: ExpectNew},
		{Key: "k", Expect: ExpectSeq(1)},
		{Key: "k", Expect: ExpectSeq(2), ID: "me/1"},
		{Key: "k", Expect: ExpectSeq(3), Tags: []string{"t"}},
	} {
		d.Events = []any{goldenOpened{"Ada"}}
		if _, err := f.AppendDraft(ctx, d); err != nil {
			t.Fatal(err)
		}
	}
	var second string
	for c, err := range f.Commits(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		plain := c.Seq == 2
		if c.ID == "" || c.ID != c.msg.id() || (c.msg.get(headerPlainID) == c.ID) != plain || (c.msg.get(headerID) == "") != plain {
			t.Errorf("commit %d has ID %q, and the headers %q", c.Seq, c.ID, c.msg.header)
		}
		if plain {
			second = c.ID
		}
	}
	for _, expect := range []Expectation{ExpectAny, ExpectSeq(1)} {
		at, err := f.AppendDraft(ctx, Draft{Key: "k", Expect: expect, ID: second, Events: []any{goldenOpened{"Ada"}}})
		if err != nil || at.Seq != 2 {
			t.Errorf("%v: sent again, it is at %d, %v", expect, at.Seq, err)
		}
	}
	if at, ok, err := f.Find(ctx, "k", second, 1); err != nil || !ok || at.Seq != 2 {
		t.Errorf("found at %v, %v, %v", at, ok, err)
	}
}
