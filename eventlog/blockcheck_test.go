package eventlog_test

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
)

// damagedCopy opens a copy of a closed log in whose block one bit is flipped.
func damagedCopy(t *testing.T, made eventlog.Options, flip func(block []byte)) *eventlog.Feed {
	t.Helper()
	o := eventlog.Options{App: made.App, Dir: t.TempDir()}
	if err := os.CopyFS(o.Dir, os.DirFS(made.Dir)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(streamDir(o, o.App+"_accounts"), "msgs", "1.blk")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	flip(b)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return accounts(t, logtest.Open(t, o))
}

// refused says whether an error is about damage.
func refused(err error) bool {
	return errors.Is(err, eventlog.ErrGap) || errors.Is(err, eventlog.ErrLostTail)
}

// The record of a key's last commit is damaged in what says whose it is: neither
// its head, nor an identity, nor an expectation is judged by the commit before it.
func TestDamagedHeads(t *testing.T) {
	made, fold := keysOf(t)
	const key = "k2"
	of := fold[key]
	last := of[len(of)-1]
	places := []int{4 * 8, 4*8 + 3, 20 * 8, 20*8 + 3} // of the sequence, and the subject's length
	for i := range len(made.App + ".accounts." + key) {
		places = append(places, (22+i)*8+i%8)
	}
	for i, bit := range places {
		if testing.Short() && i%6 > 0 && i != len(places)-1 {
			continue
		}
		f := damagedCopy(t, made, func(b []byte) {
			at := 0
			for binary.LittleEndian.Uint64(b[at+4:]) != last {
				at += int(binary.LittleEndian.Uint32(b[at:]) &^ (1 << 31))
			}
			b[at+bit/8] ^= 1 << (bit % 8)
		})
		ctx := logtest.Context(t)
		ask := []func(){
			func() {
				if c, ok, err := f.Head(ctx, key); !refused(err) {
					t.Errorf("bit %d: the head is %d (%v), %v", bit, c.Seq, ok, err)
				}
			},
			func() {
				_, err := f.Append(ctx, key, eventlog.ExpectSeq(of[len(of)-2]), deposited{1})
				if !refused(err) && !errors.Is(err, eventlog.ErrConflict) {
					t.Errorf("bit %d: appended behind the commit before the last one: %v", bit, err)
				}
			},
			func() {
				_, err := f.AppendTransaction(ctx, eventlog.Transaction{Drafts: []eventlog.Draft{
					{Key: key, Expect: eventlog.ExpectSeq(of[len(of)-2]), Events: []any{deposited{1}}},
				}})
				if !refused(err) && !errors.Is(err, eventlog.ErrConflict) {
					t.Errorf("bit %d: a transaction behind the commit before the last one: %v", bit, err)
				}
			},
			func() {
				if at, ok, err := f.Find(ctx, key, "id58", of[len(of)-2]); !refused(err) {
					t.Errorf("bit %d: the identity is at %d (%v), %v", bit, at.Seq, ok, err)
				}
			},
			func() {
				_, err := f.AppendTransaction(ctx, eventlog.Transaction{
					Drafts: []eventlog.Draft{{Key: "guarded", Events: []any{deposited{1}}}}, Guards: []eventlog.Guard{{Tag: "red", After: last}},
				})
				if !refused(err) {
					t.Errorf("bit %d: a guard: %v", bit, err)
				}
			},
		}
		for n := range ask { // each of them comes first once
			ask[(i+n)%len(ask)]()
		}
		if err := f.Check(ctx); !refused(err) {
			t.Errorf("bit %d: check: %v", bit, err)
		}
		if err := f.Log().Healthy(ctx); !refused(err) {
			t.Errorf("bit %d: healthy: %v", bit, err)
		}
		closeLog(t, f.Log())
	}
}

// A record that is damaged in its payload concerns its key alone, until it is
// registered as lost.
func TestDamagedPayloadConcernsItsKey(t *testing.T) {
	ctx := logtest.Context(t)
	made, fold := keysOf(t)
	f := damagedCopy(t, made, func(b []byte) { b[strings.Index(string(b), "id21")] ^= 4 })
	for key, of := range fold {
		head := of[len(of)-1]
		if c, ok, err := f.Head(ctx, key); err != nil || !ok || c.Seq != head {
			t.Errorf("head of %s: %d, %v, %v", key, c.Seq, ok, err)
		}
		_, err := f.Append(ctx, key, eventlog.ExpectSeq(head), deposited{1})
		if damaged := slices.Contains(of, 21); damaged != errors.Is(err, eventlog.ErrGap) || !damaged && err != nil {
			t.Errorf("append to %s: %v", key, err)
		}
	}
	gaps, ok := errors.AsType[*eventlog.GapsError](f.Check(ctx))
	if !ok || gaps.Missing != 1 || !slices.Equal(gaps.Where, []eventlog.SeqRange{{First: 21, Last: 21}}) {
		t.Errorf("check: %v", gaps)
	}
	if _, err := f.AcceptGap(ctx, eventlog.Note{Reason: "damaged", By: "test"}, 21, 21); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Append(ctx, "k0", eventlog.ExpectSeq(56), deposited{1}); err != nil {
		t.Errorf("after it was registered: %v", err)
	}
	if err := f.Check(ctx); err != nil {
		t.Errorf("after it was registered: check: %v", err)
	}
}

// What is missing right before the end of what is read is missed, too.
func TestReadUpToWhatIsDamaged(t *testing.T) {
	made, _ := keysOf(t)
	f := damagedCopy(t, made, func(b []byte) { b[strings.Index(string(b), "id30")] ^= 4 })
	for name, c := range map[string]struct {
		opts []eventlog.ReadOption
		want []uint64
		err  error
	}{
		"before it":             {[]eventlog.ReadOption{eventlog.Until(29)}, span(1, 29), nil},
		"up to it":              {[]eventlog.ReadOption{eventlog.Until(30)}, span(1, 29), eventlog.ErrGap},
		"it alone":              {[]eventlog.ReadOption{eventlog.After(29), eventlog.Until(30)}, nil, eventlog.ErrGap},
		"it alone, or trimmed":  {[]eventlog.ReadOption{eventlog.After(29), eventlog.Until(30), eventlog.AllowTrimmed()}, nil, eventlog.ErrGap},
		"up to it, following":   {[]eventlog.ReadOption{eventlog.After(20), eventlog.Until(30), eventlog.Follow()}, span(21, 29), eventlog.ErrGap},
		"up to what follows it": {[]eventlog.ReadOption{eventlog.After(20), eventlog.Until(31)}, span(21, 29), eventlog.ErrGap},
	} {
		got, err := seqs(logtest.Context(t), f, c.opts...)
		if !slices.Equal(got, c.want) || !errors.Is(err, c.err) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}
