package eventlog

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidemark-es/tidemark/internal/gaps"
)

// blockCheck looks once through the block files of an embedded log's feed, and
// compares every record with its checksum.
//
// The problem: after a clean end the server believes its index, and reads
// records only when they are asked for. One whose subject or sequence is damaged
// belongs to no key any more, or to another one. The server then takes the commit
// before it for its key's last one, and nothing that it can be asked says
// otherwise.
//
//	begins   with the first question about a key's last commit, or the first
//	         append that expects one: who only follows reads every message anyway
//	until    it is done such calls wait for it, but none longer than checkPatience
//	         after it began
//	finds    records that aren't as they were written, and that the leader can't
//	         read either: what the files alone say is not believed
//	then     nothing is concluded about the keys that they may be of: ErrGap, until
//	         they are registered as lost
//
// A damaged record of which the subject is right, since its subject has as many
// records as the leader counts, concerns that key alone: the server finds out
// itself when it is asked for it, so only expectations of that key are refused.
//
// Rejected: the check when the feed is opened (a start would wait for it that asks
// for no key), one for each question (it costs as much as reading all that
// follows), the server's own check (it cuts the block off at the damage).
type blockCheck struct {
	f     *Feed
	once  sync.Once
	late  time.Time     // calls don't wait beyond it; set by once
	done  chan struct{} // closed when found is set
	found atomic.Pointer[damage]
}

// damage is what a check found. It doesn't change.
type damage struct {
	bad   gaps.Ranges            // damaged, and not registered then
	any   gaps.Ranges            // of bad, those that may be of any key
	keyed map[string]gaps.Ranges // of bad, those of a subject
}

// checkPatience is how long calls wait for the check: it is done meanwhile,
// unless the feed has more than two million small commits (0.4 µs of a core each),
// or some gigabytes of large ones.
const checkPatience = time.Second

// suspectMost bounds how many records the leader is asked about. Many are either a
// form of files that isn't known here, or damage, of which a part says enough.
const suspectMost = 256

func newBlockCheck(f *Feed) *blockCheck { return &blockCheck{f: f, done: make(chan struct{})} }

// head is an error where nothing may be concluded about any key's last commit.
func (c *blockCheck) head(ctx context.Context) error { return c.ask(ctx, "") }

// expect is an error where the server can't judge an expectation on a subject.
func (c *blockCheck) expect(ctx context.Context, subject string) error { return c.ask(ctx, subject) }

func (c *blockCheck) ask(ctx context.Context, subject string) error {
	d := c.found.Load()
	if d == nil {
		if !c.applies() {
			return nil
		}
		if err := c.wait(ctx); err != nil {
			return err
		}
		if d = c.found.Load(); d == nil {
			return nil // it takes longer than one may wait for it
		}
	}
	if len(d.bad) == 0 {
		return nil
	}
	return c.lost(ctx, d.any.Union(d.keyed[subject]))
}

// applies says whether there are files: of an embedded log that is on the disk.
func (c *blockCheck) applies() bool {
	return c.f.log != nil && c.f.log.embedded != nil && !c.f.log.opts.Memory && c.f.adopted == nil
}

// wait starts the check, and waits for it as long as one may.
func (c *blockCheck) wait(ctx context.Context) error {
	c.once.Do(func() {
		c.late = time.Now().Add(checkPatience)
		go c.run()
	})
	timer := time.NewTimer(time.Until(c.late))
	defer timer.Stop()
	select {
	case <-c.done:
	case <-timer.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// lost is a GapsError for those positions that nobody has registered.
func (c *blockCheck) lost(ctx context.Context, bad gaps.Ranges) error {
	if len(bad) == 0 {
		return nil
	}
	if err := c.f.gaps.refreshOld(ctx); err != nil && !errors.Is(err, ErrDenied) {
		return err
	}
	bad = bad.Without(c.f.gaps.now.Load().reg.Gone())
	if len(bad) == 0 {
		return nil
	}
	return &GapsError{Feed: c.f.name, Missing: bad.Len(), Where: publicRanges(bad[:min(len(bad), gapsShown)])}
}

// err is what Feed.Check says of it; it waits for nothing.
func (c *blockCheck) err(ctx context.Context) error {
	if d := c.found.Load(); d != nil {
		return c.lost(ctx, d.bad)
	}
	return nil
}

// run does the check. One that can't be done, as of a feed that is being closed,
// finds nothing.
func (c *blockCheck) run() {
	defer close(c.done)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-c.f.closing:
			cancel()
		case <-ctx.Done():
		}
	}()
	begun := time.Now()
	d, err := c.look(ctx)
	log := c.f.log.opts.Logger
	switch {
	case ctx.Err() != nil: // nobody asks any more
	case err != nil:
		log.Info().Err(err).Str("feed", c.f.name).Msg("eventlog: the block files can't be checked")
	case len(d.bad) > 0:
		log.Error().Err(c.lost(ctx, d.bad)).Str("feed", c.f.name).Msg("eventlog: records of the feed are damaged")
	default:
		log.Debug().Str("feed", c.f.name).Dur("took", time.Since(begun)).Msg("eventlog: the block files are as they were written")
	}
	c.found.Store(&d)
}

// look compares the files with what the leader has.
func (c *blockCheck) look(ctx context.Context) (d damage, err error) {
	f := c.f
	st, err := f.State(ctx)
	if err != nil || st.First > st.Last {
		return d, err
	}
	w := &blockWalk{stream: f.stream, files: blockFiles{dir: f.log.embedded.streamDir(f.stream)}, closing: f.closing}
	intact, broken, err := w.sort(st)
	if err != nil {
		return d, err
	}
	all := gaps.Ranges{{First: st.First, Last: st.Last}}
	if d.bad, err = c.confirm(ctx, all.Without(intact)); err != nil || len(d.bad) == 0 {
		return d, err
	}
	d.keyed, err = c.attribute(ctx, w, broken, d.bad)
	d.any = d.bad
	for _, rs := range d.keyed {
		d.any = d.any.Without(rs)
	}
	return d, err
}

// confirm asks the leader about records that weren't found as they should be:
// those that it can't read either are damaged, unless they were removed on
// purpose, or meanwhile. A server that is asked may find out that it lost its
// log's end, which is compared with the mark then.
func (c *blockCheck) confirm(ctx context.Context, suspect gaps.Ranges) (bad gaps.Ranges, err error) {
	f := c.f
	suspect = suspect.Without(f.gaps.now.Load().reg.Gone())
	asked := uint64(0)
	for _, r := range suspect {
		if asked >= suspectMost {
			break
		}
		r.Last = min(r.Last, r.First+suspectMost-1)
		asked += r.Last - r.First + 1
		found, err := f.damaged(ctx, r, nil)
		if err != nil {
			return nil, err
		}
		bad = bad.Union(found)
	}
	if len(bad) == 0 {
		return nil, nil
	}
	if err := f.water.check(ctx, false); err != nil && !errors.Is(err, ErrLostTail) && !errors.Is(err, ErrGap) {
		return nil, err
	}
	st, err := f.State(ctx)
	if err != nil {
		return nil, err
	}
	// What isn't counted any more was removed, or the server let go of it just
	// now, for the damage: that is missing, and nobody has registered it.
	_, missing, err := f.gaps.unregistered(ctx, st)
	if err != nil {
		return nil, err
	}
	gone, _, err := f.gone(ctx)
	if err != nil {
		return nil, err
	}
	return bad.Without(gone).Union(missing), nil
}

// attribute finds the damaged records whose subjects are right: as many records
// have the subject as the leader counts, by an index of its own.
func (c *blockCheck) attribute(ctx context.Context, w *blockWalk, broken map[uint64]string, bad gaps.Ranges) (keyed map[string]gaps.Ranges, err error) {
	keyed = make(map[string]gaps.Ranges)
	have := make(map[string]int)
	for seq, subject := range broken {
		if bad.Covers(seq) {
			have[subject] = 0
		}
	}
	st, err := c.f.State(ctx)
	if err != nil {
		return nil, err
	}
	if err := w.all(func(r record) {
		if n, ok := have[string(r.subject)]; ok && r.seq >= st.First && r.seq <= st.Last {
			have[string(r.subject)] = n + 1
		}
	}); err != nil {
		return nil, err
	}
	for seq, subject := range broken {
		if !bad.Covers(seq) || !c.f.stores(subject) {
			continue
		}
		n, err := c.f.countOf(ctx, subject)
		if err != nil {
			return nil, err
		}
		if n > 0 && n == have[subject] {
			keyed[subject] = keyed[subject].Union(gaps.RangesOf(seq))
		}
	}
	return keyed, nil
}

// stores says whether commits of a key, or markers of a tag, have a subject.
func (f *Feed) stores(subject string) bool {
	rest, ok := strings.CutPrefix(subject, f.prefix)
	_, err := decodeKey(strings.TrimPrefix(rest, tagToken))
	return ok && err == nil
}

// record is one of a block file. The subject is valid during the visit.
type record struct {
	seq     uint64
	subject []byte
	intact  bool
}

// blockWalk visits the records of a stream's block files, but for tombstones and
// what was erased. It goes on with the next file where one isn't of the form that
// is known.
type blockWalk struct {
	stream  string
	files   blockFiles
	closing <-chan struct{}
}

// all visits them in their order.
func (w *blockWalk) all(visit func(record)) error {
	blocks, err := w.files.list(0)
	if err != nil {
		return err
	}
	buf := make([]byte, scanBuffer)
	for _, index := range blocks {
		if err := w.known(index, &buf, visit); err != nil {
			return err
		}
	}
	return nil
}

// sort returns the sequences of the records that are as they were written, and of
// the damaged ones those within the stream, with their subjects as the records say.
// It uses all processors: somebody waits for it, and each record is hashed.
func (w *blockWalk) sort(st State) (intact gaps.Ranges, broken map[uint64]string, err error) {
	blocks, err := w.files.list(0)
	if err != nil {
		return nil, nil, err
	}
	broken = make(map[uint64]string)
	var next atomic.Int64
	var mu sync.Mutex // of intact, broken, err
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(blocks)) {
		wg.Go(func() {
			buf := make([]byte, scanBuffer)
			for {
				at := int(next.Add(1)) - 1
				if at >= len(blocks) {
					return
				}
				var mine gaps.Ranges
				failed := w.known(blocks[at], &buf, func(r record) {
					switch n := len(mine); {
					case !r.intact && r.seq >= st.First && r.seq <= st.Last:
						mu.Lock()
						broken[r.seq] = string(r.subject)
						mu.Unlock()
					case !r.intact:
					case n > 0 && mine[n-1].Last+1 == r.seq:
						mine[n-1].Last = r.seq
					default:
						mine = append(mine, gaps.Range{First: r.seq, Last: r.seq})
					}
				})
				mu.Lock()
				intact = append(intact, mine...)
				err = cmp.Or(err, failed)
				mu.Unlock()
				if failed != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	return intact.Union(nil), broken, err
}

// known visits a block's records, if it has the form that is known. buf is memory
// for what is read, and is replaced where a record is larger.
func (w *blockWalk) known(index uint64, buf *[]byte, visit func(record)) error {
	err := w.block(index, buf, visit)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, errBlockForm) {
		return nil
	}
	return err
}

func (w *blockWalk) block(index uint64, buf *[]byte, visit func(record)) error {
	file, err := os.Open(w.files.path(index))
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // it was only read
	sum, err := newBlockHash(w.stream, index)
	if err != nil {
		return err
	}
	for off := int64(0); ; {
		select {
		case <-w.closing:
			return ErrClosed
		default:
		}
		n, err := file.ReadAt(*buf, off)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		used, want, form := visitRecords((*buf)[:n], sum, visit)
		off += int64(used)
		switch {
		case form != nil:
			return form
		case want > len(*buf) && reaches(file, off+int64(want)):
			*buf = make([]byte, want)
		case n < len(*buf) || want > len(*buf):
			return nil // what is left of it is being written, or cut off
		}
	}
}

// visitRecords visits the whole records of b. want is the length of the one that
// doesn't fit, 0 where there is none.
func visitRecords(b []byte, sum *blockHash, visit func(record)) (used, want int, err error) {
	for used+recordHead <= len(b) {
		size := int(binary.LittleEndian.Uint32(b[used:]) &^ recordHeader)
		subject := int(binary.LittleEndian.Uint16(b[used+20:]))
		if size > recordLongest || size < recordHead+recordHash {
			return used, 0, fmt.Errorf("%w: block %d", errBlockForm, sum.index)
		}
		if used+size > len(b) {
			return used, size, nil
		}
		r := b[used : used+size : used+size]
		used += size
		seq := binary.LittleEndian.Uint64(r[4:])
		if seq&(recordTomb|recordErased) != 0 {
			continue
		}
		_, err := decodeRecord(r, sum)
		visit(record{seq: seq, subject: r[recordHead:min(recordHead+subject, size-recordHash)], intact: err == nil})
	}
	return used, 0, nil
}
