package eventlog

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	scanBuffer  = 256 << 10 // stays in a core's cache
	scanWorkers = 4         // blocks that are read at a time, at most

	// scanPatience is how many blocks are looked through for each message of
	// the key, before the server is asked for all. It loads and indexes a block
	// for each message that isn't in the same one as the last, which takes some
	// five times as long as looking through one: so at worst, where few messages
	// are far apart, the time is doubled.
	scanPatience = 4
)

// keyFromBlocks reads all of a key's history from the embedded server's block
// files. Whatever is asked of the server there makes it load and index every
// block that has a message of the key, hundreds of times as much as is wanted;
// looking through the files needs no index.
//
// The files say nothing about what is valid in them, so the leader does: st is
// the stream's state, of which nothing is missing inside, head the key's last
// message, and want how many it has. What is found is returned only if each record has its checksum, there are as many as that, ascending,
// from st.First on, and the last one is head. Everything else (what isn't
// written yet, trimmed or replaced meanwhile, encrypted, compressed, damaged,
// of another version of the server) is nil, and the server is asked.
func (f *Feed) keyFromBlocks(ctx context.Context, head *message, want int, st State) []message {
	if f.log.embedded == nil || f.adopted != nil {
		return nil
	}
	if want == 1 {
		return []message{head.clone()}
	}
	found, err := f.scanBlocks(ctx, head.subject, want, st.First)
	if err != nil {
		f.log.opts.Logger.Debug().Err(err).Str("feed", f.name).Str("subject", head.subject).Msg("eventlog: the server is asked for a key's history")
		return nil
	}
	// What came behind the head meanwhile isn't asked for.
	for len(found) > 0 && found[len(found)-1].seq > head.seq {
		found = found[:len(found)-1]
	}
	// Where there was some, older ones weren't looked for.
	if len(found) != want || markOf(&found[len(found)-1]) != markOf(head) {
		return nil
	}
	return found
}

// countOf asks the leader how many messages a subject has.
func (f *Feed) countOf(ctx context.Context, subject string) (int, error) {
	var resp struct {
		Error *jetstream.APIError `json:"error"`
		State struct {
			Subjects map[string]int `json:"subjects"`
		} `json:"state"`
	}
	req := map[string]string{"subjects_filter": subject}
	if err := f.ask(ctx, "STREAM.INFO."+f.stream, req, &resp); err != nil {
		return 0, f.serverError(ctx, "state", err)
	}
	if resp.Error != nil {
		return 0, f.serverError(ctx, "state", resp.Error)
	}
	return resp.State.Subjects[subject], nil
}

// scanBlocks looks through the blocks from the newest to older ones, until it
// has found so many messages. It returns exactly those, ascending.
func (f *Feed) scanBlocks(ctx context.Context, subject string, want int, first uint64) ([]message, error) {
	files := &blockFiles{dir: f.log.embedded.streamDir(f.stream)}
	blocks, err := files.list(0)
	if err != nil {
		return nil, err
	}
	s := &blockScan{stream: f.stream, subject: []byte(subject), first: first}
	workers := min(runtime.GOMAXPROCS(0), scanWorkers)
	bufs := make([][]byte, workers)
	for i := range bufs {
		bufs[i] = make([]byte, scanBuffer)
	}
	var waves [][]message // newest first
	n, size, patience := 0, 0, scanPatience*want
	for left := len(blocks); left > 0 && n < want && patience > 0; {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		wave := blocks[max(0, left-workers):left]
		newest := left == len(blocks)
		left, patience = left-len(wave), patience-len(wave)
		msgs, err := s.wave(files, wave, newest, bufs)
		if err != nil {
			return nil, err
		}
		for i := range msgs {
			size += msgs[i].size()
		}
		if n += len(msgs); n > want || size > keyCacheEntry {
			break
		}
		waves = append(waves, msgs)
	}
	if n != want || size > keyCacheEntry {
		return nil, fmt.Errorf("%d of %d messages found in the block files, %d bytes", n, want, size)
	}
	slices.Reverse(waves)
	all := slices.Concat(waves...)
	if !slices.IsSortedFunc(all, func(a, b message) int { return cmp.Compare(a.seq, b.seq) }) {
		return nil, fmt.Errorf("%w: blocks overlap", errBlockForm)
	}
	return all, nil
}

// wave looks through some blocks at a time.
func (s *blockScan) wave(files *blockFiles, blocks []uint64, newest bool, bufs [][]byte) ([]message, error) {
	found, errs := make([][]message, len(blocks)), make([]error, len(blocks))
	var all sync.WaitGroup
	for i, index := range blocks {
		all.Go(func() {
			found[i], errs[i] = s.file(files.path(index), index, newest && i == len(blocks)-1, bufs[i])
		})
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return slices.Concat(found...), nil
}

func (s *blockScan) file(path string, index uint64, newest bool, buf []byte) ([]message, error) {
	r, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }() // it was only read
	return s.block(index, newest, r, buf)
}
