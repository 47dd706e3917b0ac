package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/snapshot"
)

// digestEntry is a row as a table keeps it: what it adds to the digest is
// beside its value.
type digestEntry struct {
	key    string
	value  account
	digest snapshot.Digest
}

// snapshotDigest does what a cut does to the digest for each changed key.
func snapshotDigest() *benchCase {
	return &benchCase{
		name: "snapshot/digest", about: "what the digest of a state of 1,000,000 keys costs at a cut, a changed key: the new entry's hash, and two sums; against encoding and hashing the old value too, which tables that don't keep each row's digest would have to",
		unit: unitNanos, limit: 400,
		ours: func(_ context.Context, e *env, c *clock) (sample, error) { return digests(e, c, true) },
		base: func(_ context.Context, e *env, c *clock) (sample, error) { return digests(e, c, false) },
		note: func() string { return "no digest in the rows" },
	}
}

func digests(e *env, c *clock, kept bool) (s sample, err error) {
	rows := make([]digestEntry, e.rows)
	var total snapshot.Digest
	var buf []byte
	encode := func(r *digestEntry) snapshot.Digest {
		if buf, err = eventlog.MsgPack.Append(buf[:0], &r.value); err != nil {
			return snapshot.Digest{}
		}
		return snapshot.DigestOf([]byte(r.key), buf)
	}
	for i := range rows {
		rows[i] = digestEntry{key: keyOf(i, e.rows), value: account{Count: 1, Cents: centsAt(i)}}
		rows[i].digest = encode(&rows[i])
		total = total.Plus(rows[i].digest)
	}
	const stride = 7919 // as the changes of the other cases
	values := make([][]byte, e.changed)
	for i := range values { // the save encodes the new value in any case
		if values[i], err = eventlog.MsgPack.Append(nil, &account{Count: 2, Cents: centsAt(i)}); err != nil {
			return s, err
		}
	}
	if err := c.start(); err != nil {
		return s, err
	}
	for i := range e.rows {
		r := &rows[i*stride%e.rows]
		old := r.digest
		if !kept {
			old = encode(r)
		}
		r.digest = snapshot.DigestOf([]byte(r.key), values[i%e.changed])
		total = total.Minus(old).Plus(r.digest)
		s.count++
	}
	if err := errors.Join(err, c.stop()); err != nil {
		return s, err
	}
	var want snapshot.Digest
	for i := range rows {
		want = want.Plus(rows[i].digest)
	}
	if total != want {
		return s, fmt.Errorf("the digest is %s, not %s", total, want)
	}
	s.values = []float64{float64(c.elapsed.Nanoseconds()) / float64(s.count)}
	return s, nil
}
