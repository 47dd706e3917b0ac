package snapshot

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"iter"
	"sync"
)

const (
	// batchEntries and batchBytes bound what is handed over at once: enough
	// for the handing over not to matter, few enough to stay in cache.
	batchEntries = 512
	batchBytes   = 64 << 10
	// batches is how many there are: one that is filled, one that is read, and
	// enough on their way for neither side to wake the other often.
	batches = 8
)

// batch holds entries, and the bytes that they refer to.
type batch struct {
	entries []Change
	bytes   []byte
	err     error // behind the entries
}

// add copies a lent entry, in the form that is hashed. The bytes may move when
// they grow: the entries before still refer to the old ones, which stay as they
// are.
func (b *batch) add(c Change) {
	begin := len(b.bytes)
	b.bytes = binary.AppendUvarint(b.bytes, uint64(len(c.Key)))
	from := len(b.bytes)
	b.bytes = append(append(b.bytes, c.Key...), c.Value...)
	mid, end := from+len(c.Key), len(b.bytes)
	b.entries = append(b.entries, Change{
		Key: b.bytes[from:mid:mid], Value: b.bytes[mid:end:end], Deleted: c.Deleted, Digest: sumOf(sha256.Sum256(b.bytes[begin:end])),
	})
}

func (b *batch) full() bool { return len(b.entries) >= batchEntries || len(b.bytes) >= batchBytes }

// beside runs through changes on another goroutine, which hashes each entry,
// so that decompressing and checking go on while the caller decodes. The
// goroutine ends with the sequence or with ctx; wg waits for it. What is
// yielded is lent until the next step; an error is the last one.
func beside(ctx context.Context, wg *sync.WaitGroup, changes iter.Seq2[Change, error]) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		full, empty := make(chan *batch, batches), make(chan *batch, batches)
		for range batches {
			empty <- &batch{}
		}
		wg.Go(func() {
			defer close(full)
			fill(ctx, changes, full, empty)
		})
		for b := range full {
			for _, c := range b.entries {
				if !yield(c, nil) {
					return
				}
			}
			if b.err != nil {
				yield(Change{}, b.err)
				return
			}
			clear(b.entries)
			b.entries, b.bytes = b.entries[:0], b.bytes[:0]
			empty <- b
		}
		if err := context.Cause(ctx); err != nil {
			yield(Change{}, err)
		}
	}
}

// fill moves changes into batches until they end, or until ctx does.
func fill(ctx context.Context, changes iter.Seq2[Change, error], full chan<- *batch, empty <-chan *batch) {
	var b *batch
	next := func() bool {
		select {
		case b = <-empty:
			return true
		case <-ctx.Done():
			return false
		}
	}
	if !next() {
		return
	}
	for c, err := range changes {
		if err != nil {
			b.err = err
			break
		}
		b.add(c)
		if b.full() {
			full <- b // has room for all there are
			if !next() {
				return
			}
		}
	}
	full <- b
}
