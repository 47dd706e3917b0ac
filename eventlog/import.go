package eventlog

import (
	"cmp"
	"context"
	"fmt"
	"github.com/tidemark-es/tidemark/internal/problem"
	"iter"
	"sync"
	"time"
)

// ImportOptions say how to import. The zero value works.
type ImportOptions struct {
	// After is a sequence up to which the feed is known to hold none of the
	// input's IDs, such as its last one before the first attempt: what comes
	// later is read once, when the first draft with an ID comes, and those
	// that it holds are passed over. Default 0: all of the feed is read.
	After uint64
	// Pack lets up to so many events of consecutive drafts of one key share a
	// commit (default 1: each draft is a commit of its own, at most
	// MaxEvents). Drafts are packed where their metadata are equal and either
	// all or none have an ID; a draft is never split. What was packed is read
	// as one commit: one position, one step of a timeframe. At most 65,536
	// events (or Pack, where that is more) wait for others of their key, none
	// for longer than about a second.
	Pack int
	// Window is how many commits may wait for the server's acknowledgement
	// (default 4,096). The server may ask for less.
	Window int
	// Progress is told how far the import is, at most ten times a second and
	// at the end, by one goroutine. It should return soon.
	Progress func(ImportProgress)

	ahead int // events that may wait for others of their key
}

// ImportResult counts drafts that were read from the input, that this import
// appended, and that it passed over since their ID is in the feed. After an
// error, what was read and is in neither was not appended, or nobody knows.
type ImportResult struct {
	Read, Appended, Skipped uint64
	Commits, Events         uint64   // appended
	Last                    Position // furthest commit that holds a draft of the input; zero for none
}

// ImportProgress is an ImportResult on the way: what is acknowledged.
type ImportProgress struct {
	ImportResult
	Elapsed time.Duration
}

// ImportError says which draft of the input an import ended with, counted
// from 0. It has the class of what was wrong with it.
type ImportError struct {
	Feed  string
	Index uint64
	Key   string // "" where the input itself failed
	ID    string
	Err   error
}

func (e *ImportError) Error() string {
	if e.Key == "" {
		return fmt.Sprintf("eventlog: import into %s: input %d: %v", e.Feed, e.Index, e.Err)
	}
	return fmt.Sprintf("eventlog: import into %s: input %d, key %q, ID %q: %v", e.Feed, e.Index, e.Key, e.ID, e.Err)
}

func (e *ImportError) Unwrap() error { return e.Err }

// Import appends what an iterator yields, faster than single appends: it goes
// through the server's fast ingest, encodes beside the iterator, and packs
// where it may. It returns when all is acknowledged.
//
// Order: the feed has the drafts of a key in the iterator's order, always,
// and all drafts in the iterator's order where nothing is packed and the server
// has fast ingest (2.14). Commits of others may come between. On older servers,
// and where the user may not update the stream, drafts go through the feed's
// writer, one commit of a key at a time.
//
// Drafts with an ID are appended once, however often the import was killed
// and started again, also when the input then has another order, more or
// fewer drafts, or is packed differently. The memory for it is about 100
// bytes for each ID in the input and in the feed behind After. Drafts without
// an ID are appended again by every run. Two imports of the same IDs must not
// run at the same time, unless neither packs; an import that starts makes one
// that runs on the same feed begin anew with what isn't acknowledged.
//
// Expectations, tags and Synced are refused (ErrInvalid); Draft.After is not
// used. An error of the iterator, or a draft that can't be appended, ends the
// import with an ImportError when all before it is acknowledged; a commit may
// have 128 bytes less than Append takes. Other errors: ErrRefused, ErrClosed,
// ErrAmbiguous (the server didn't answer for Options.ResolveTimeout: import
// again), those of reading, and the context's. ctx doesn't interrupt the
// iterator, which runs in the caller's goroutine and should heed it.
func (f *Feed) Import(ctx context.Context, drafts iter.Seq2[Draft, error], opts ImportOptions) (ImportResult, error) {
	if err := f.online(); err != nil {
		return ImportResult{}, err
	}
	if drafts == nil {
		return ImportResult{}, fmt.Errorf("eventlog: import into %s: %w: the iterator of drafts is nil", f.name, ErrInvalid)
	}
	opts, err := opts.withDefaults()
	if err != nil {
		return ImportResult{}, err
	}
	if err := f.usable(""); err != nil {
		return ImportResult{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	im, err := f.newImporter(ctx, opts)
	if err != nil {
		return ImportResult{}, err
	}
	if im.link != nil {
		defer im.link.close()
	}
	in := newInlet()
	var wg sync.WaitGroup
	wg.Go(func() {
		defer in.stop()
		err = im.run(ctx, in)
	})
	defer wg.Wait() // also when the iterator panics
	whole := false
	defer func() {
		if !whole {
			cancel()
		}
	}()
	for d, err := range drafts {
		if !in.put(d, err) {
			break
		}
	}
	whole = true
	in.close()
	wg.Wait()
	return im.res, err
}

func (o ImportOptions) withDefaults() (ImportOptions, error) {
	o.Pack = cmp.Or(o.Pack, 1)
	o.ahead = cmp.Or(o.ahead, max(64<<10, o.Pack))
	o.Window = cmp.Or(o.Window, 4096)
	var p problem.List
	if o.Pack < 1 || o.Pack > MaxEvents {
		p.Add("Pack: %d is not in 1..%d", o.Pack, MaxEvents)
	}
	if o.Window < 1 {
		p.Add("Window: %d is below 1", o.Window)
	}
	return o, p.Err("eventlog: import", ErrInvalid)
}

// inlet hands the input over from the caller's goroutine to the import's.
type inlet struct {
	mu     sync.Mutex
	buf    []importDraft
	n      uint64 // drafts that were put
	closed bool   // nothing more comes
	err    error  // of the iterator
	more   chan struct{}
	room   chan struct{}
	over   chan struct{} // nothing more is taken
}

// importDraft is a draft and its place in the input.
type importDraft struct {
	Draft
	index uint64
}

const inletSize = 1024

func newInlet() *inlet {
	return &inlet{more: make(chan struct{}, 1), room: make(chan struct{}, 1), over: make(chan struct{})}
}

// put waits for room, and is false when nothing more is wanted.
func (in *inlet) put(d Draft, err error) bool {
	for {
		in.mu.Lock()
		if err != nil {
			in.err = err
			in.mu.Unlock()
			return false
		}
		if len(in.buf) < inletSize {
			in.buf = append(in.buf, importDraft{d, in.n})
			in.n++
			wake := len(in.buf) == 1
			in.mu.Unlock()
			if wake {
				notify(in.more)
			}
			select {
			case <-in.over:
				return false
			default:
				return true
			}
		}
		in.mu.Unlock()
		select {
		case <-in.room:
		case <-in.over:
			return false
		}
	}
}

// take returns what has come, in exchange for a buffer that may be used
// again. done says that nothing more will.
func (in *inlet) take(spare []importDraft) (ds []importDraft, done bool, err error) {
	in.mu.Lock()
	ds, in.buf = in.buf, spare[:0]
	done, err = in.closed, in.err
	in.mu.Unlock()
	if len(ds) == inletSize {
		notify(in.room)
	}
	return ds, done, err
}

func (in *inlet) close() {
	in.mu.Lock()
	in.closed = true
	in.mu.Unlock()
	notify(in.more)
}

func (in *inlet) stop() { close(in.over) }

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
