package eventlog

import (
	"cmp"
	"context"
	"math"
	"sync"

	"github.com/tidemark-es/tidemark/timeframe"
)

const (
	hubMessages = 8192     // that the window of a hub holds at most
	hubBytes    = 16 << 20 // and their bytes
	hubChunk    = 64       // messages that are allocated, and dropped, together
)

// hub is the source that all followers of a feed in this process share. One
// goroutine reads the log's end, and keeps the last messages in a window; a
// follower takes what it hasn't had yet from there. It blocks nobody: who is
// too slow falls out of the window, and goes on with a source of its own
// until it is near the end again (follower). The hub begins with the first
// follower that is at the log's end, and ends with the last one.
type hub struct {
	f *Feed

	// catching are the consumers of followers that are catching up. Who finds
	// no place reads without a consumer: a server has few of them, and who has
	// one may keep it for long.
	catching chan struct{}

	mu  sync.Mutex
	now *hubRun // nil while nobody follows
}

// hubCatching is the number of those consumers at most.
const hubCatching = 16

func newHub(f *Feed) *hub { return &hub{f: f, catching: make(chan struct{}, hubCatching)} }

// hubRun is one life of the hub, from its first follower to its last, or to
// an error. The hub's mutex guards it.
type hubRun struct {
	h      *hub
	cancel context.CancelFunc
	ready  chan struct{} // closed when reading has begun, or failed to
	ended  chan struct{} // closed when nothing more comes
	err    error         // why; set before ended is closed

	known  mark        // of the message behind which reading began
	floor  uint64      // the window holds all that follows on it
	upto   uint64      // inclusively: floor <= upto
	chunks [][]message // by sequence; what is in one stays where it is
	count  int         // of messages in the chunks
	bytes  int

	auditor  *auditor // nil where a replica can't differ from its leader
	unlooked int      // messages since the auditor was woken

	all   map[*member]struct{}            // followers of the whole feed
	keyed map[string]map[*member]struct{} // followers of a key, by subject
	// bounded are those of a key that end somewhere.
	bounded map[*member]struct{}
}

// member is a follower as the hub sees it.
type member struct {
	subject string // of its key, "" for all
	end     uint64 // it wants to know when nothing comes up to here
	wake    chan struct{}

	pos     uint64 // all up to it was taken
	known   mark   // of the message there, where it is still to be compared
	pending uint64 // the first message of its key that came since; 0: none
	idle    bool   // nothing comes for the moment
	out     []message
}

// mark identifies a message that was read; seq 0 is none.
type mark struct {
	seq   uint64
	print timeframe.Fingerprint
}

func markOf(m *message) mark { return mark{seq: m.seq, print: m.fingerprint()} }

// open says whether a follower of all that is at a sequence can join; near,
// that it has seen the log's end.
func (h *hub) open(at uint64, near bool) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return (h.now == nil && near) || (h.now != nil && h.now.near(at))
}

// join makes m a member behind m.pos, and begins where there is no hub.
func (h *hub) join(ctx context.Context, m *member) (*hubRun, error) {
	h.mu.Lock()
	r := h.now
	if r == nil {
		r = h.begin(m.pos, m.known)
	}
	r.add(m)
	h.mu.Unlock()
	select {
	case <-r.ready:
	case <-ctx.Done():
		r.leave(m)
		return nil, context.Cause(ctx)
	}
	if err := r.failure(); err != nil {
		r.leave(m)
		return nil, err
	}
	return r, nil
}

// skip says that m has all up to a sequence.
func (r *hubRun) skip(m *member, upto uint64) (at uint64) {
	r.h.mu.Lock()
	defer r.h.mu.Unlock()
	m.pos = max(m.pos, upto)
	return m.pos
}

// near says whether a follower of all that is at a sequence may join. One at
// the window's old end would fall out again at once.
func (r *hubRun) near(at uint64) bool {
	return at >= r.floor+(r.upto-r.floor)/2
}

// begin starts to read behind a sequence; h.mu is held.
func (h *hub) begin(after uint64, known mark) *hubRun {
	ctx, cancel := context.WithCancel(context.Background())
	r := &hubRun{
		h: h, cancel: cancel, ready: make(chan struct{}), ended: make(chan struct{}),
		floor: after, upto: after,
		all: make(map[*member]struct{}), keyed: make(map[string]map[*member]struct{}), bounded: make(map[*member]struct{}),
	}
	h.now = r
	go r.read(ctx, after, known)
	return r
}

// read is the hub's goroutine.
func (r *hubRun) read(ctx context.Context, after uint64, known mark) {
	src, err := r.h.f.openEnd(ctx, after, known)
	if err == nil {
		defer src.close()
		// Before anybody looks: ready isn't closed yet. What is trimmed can't be
		// looked at, and goes by what the first one has read.
		r.known = cmp.Or(src.mark(), known)
		if p, ok := src.(*provenTail); ok {
			r.audits(ctx, p, r.known)
		}
		close(r.ready)
		err = r.pump(ctx, src)
	}
	r.h.mu.Lock()
	if r.err == nil { // else the auditor has said why
		r.err = err
	}
	if r.h.now == r {
		r.h.now = nil
	}
	r.h.mu.Unlock()
	close(r.ended)
	if src == nil {
		close(r.ready)
	}
}

func (r *hubRun) pump(ctx context.Context, src source) error {
	for {
		msgs, err := src.next(ctx)
		if err != nil {
			return err
		}
		own := cloneMessages(msgs) // they are lent
		r.h.mu.Lock()
		for _, m := range own {
			r.put(m)
		}
		r.tell(msgs)
		if r.auditor != nil {
			r.auditor.came(len(msgs))
		}
		r.h.mu.Unlock()
	}
}

// tell wakes who waits for one of the messages, or wants to know that nothing
// comes.
func (r *hubRun) tell(msgs []message) {
	idle := len(msgs) == 0
	for m := range r.all {
		m.tell(idle)
	}
	for i := range msgs {
		for m := range r.keyed[msgs[i].subject] {
			if m.pending == 0 && msgs[i].seq > m.pos {
				m.pending = msgs[i].seq
				m.tell(false)
			}
		}
	}
	for m := range r.bounded {
		if idle || r.upto >= m.end {
			m.tell(true)
		}
	}
}

func (m *member) tell(idle bool) {
	if idle && m.end == math.MaxUint64 {
		return
	}
	m.idle = m.idle || idle
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

func (r *hubRun) failure() error {
	r.h.mu.Lock()
	defer r.h.mu.Unlock()
	return r.err
}

// add makes m a member; h.mu is held. One of a key counts on the hub for what
// comes behind both m.pos and upto, and has to find out what came before: a hub
// that lags would else tell it what it has.
func (r *hubRun) add(m *member) {
	m.pending = 0
	if m.subject == "" {
		r.all[m] = struct{}{}
		return
	}
	m.pos = max(m.pos, r.upto)
	if m.end != math.MaxUint64 {
		r.bounded[m] = struct{}{}
	}
	ms := r.keyed[m.subject]
	if ms == nil {
		ms = make(map[*member]struct{}, 1)
		r.keyed[m.subject] = ms
	}
	ms[m] = struct{}{}
}

// leave ends a membership, and the hub with the last one; then it waits until
// the hub's consumer is given up.
func (r *hubRun) leave(m *member) {
	r.h.mu.Lock()
	delete(r.all, m)
	delete(r.bounded, m)
	if ms := r.keyed[m.subject]; ms != nil {
		delete(ms, m)
		if len(ms) == 0 {
			delete(r.keyed, m.subject)
		}
	}
	last := len(r.all) == 0 && len(r.keyed) == 0
	if last && r.h.now == r {
		r.h.now = nil
	}
	r.h.mu.Unlock()
	if last {
		r.cancel()
		<-r.ended
	}
}
