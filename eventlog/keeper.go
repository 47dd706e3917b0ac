package eventlog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// keepEvery is how often an open feed's stream is looked at.
const keepEvery = 10 * time.Second

// keeper looks after the stream of an open feed: whether it is still the one
// that was opened, and still has safe settings. It looks at every answer of
// State, every keepEvery, after each reconnect, and at once when the server
// acknowledges a sequence that isn't above the last one. Where the stream is
// gone, or another, it closes the feed to appends: until then they are taken
// by the new stream, and only an exact expectation keeps them out.
type keeper struct {
	f    *Feed
	kick chan struct{} // look now
	end  context.Context
	stop context.CancelFunc
	wg   sync.WaitGroup

	barred atomic.Pointer[error] // why nothing can be appended
	failed atomic.Pointer[error] // the server can't write the stream any more
	top    atomic.Uint64         // last sequence that was acknowledged

	mu    sync.Mutex
	drift []Drift
}

func newKeeper() *keeper {
	k := &keeper{kick: make(chan struct{}, 1)}
	k.end, k.stop = context.WithCancel(context.Background())
	return k
}

func (k *keeper) start() { k.wg.Go(k.run) }

func (k *keeper) close() {
	k.stop()
	k.wg.Wait()
}

func (k *keeper) run() {
	nc := k.f.log.nc
	back := nc.StatusChanged(nats.CONNECTED)
	defer nc.RemoveStatusListener(back)
	tick := time.NewTicker(keepEvery)
	defer tick.Stop()
	var mark <-chan time.Time // nil: the feed has no mark
	if k.f.water.store != nil {
		t := time.NewTicker(k.f.water.every())
		defer t.Stop()
		mark = t.C
	}
	for {
		select {
		case <-k.end.Done():
			return
		case _, open := <-back:
			if !open {
				back = nil // closed for good; nil: never ready
			}
		case <-k.kick:
		case <-tick.C:
		case <-mark:
			if k.f.water.moved() && nc.IsConnected() {
				k.within(k.f.water.advance)
			}
			continue
		}
		if nc.IsConnected() {
			k.within(k.inspect)
		}
	}
}

// within runs something for as long as a request to the server may take.
func (k *keeper) within(do func(context.Context)) {
	ctx, cancel := context.WithTimeout(k.end, k.f.log.opts.RequestTimeout)
	defer cancel()
	do(ctx)
}

// inspect looks at the stream, and whether it goes as far as it surely went.
func (k *keeper) inspect(ctx context.Context) {
	if _, err := k.f.State(ctx); err == nil { // which shows its answer to look
		_ = k.f.water.check(ctx, true) // it logs, and bars the feed
	}
}

// acked takes the sequence of each acknowledgement. It costs a comparison: a
// stream that gives out a sequence again is another, or lost its tail.
func (k *keeper) acked(seq uint64) {
	if top := k.top.Load(); seq > top {
		k.top.Store(seq) // called under the writer's lock
		return
	}
	select {
	case k.kick <- struct{}{}:
	default:
	}
}

// look takes what the server says about the stream.
func (k *keeper) look(c jetstream.StreamConfig) {
	f := k.f
	if f.incarnation == "" {
		return // not open yet
	}
	if inc := c.Metadata[metaIncarnation]; inc != f.incarnation {
		k.bar(&RecreatedError{Feed: f.name, Stream: f.stream, Known: f.incarnation, Found: inc})
		return
	}
	f.learn(c)
	k.barred.Store(nil) // a backup was restored meanwhile
	ds := driftOf(c, f.streamConfig(f.incarnation))
	k.mu.Lock()
	changed := !slices.Equal(ds, k.drift)
	k.drift = ds
	k.mu.Unlock()
	if !changed {
		return
	}
	for _, d := range ds {
		e := f.log.opts.Logger.Warn()
		if d.Refused {
			e = f.log.opts.Logger.Error()
		}
		e.Str("feed", f.name).Str("setting", d.Setting).Str("have", d.Have).Str("want", d.Want).Msg("eventlog: stream settings: " + d.Consequence)
	}
}

// gone is called when the server says that there is no stream.
func (k *keeper) gone() {
	if f := k.f; f.incarnation != "" {
		k.bar(&MissingError{Feed: f.name, Stream: f.stream, Incarnation: f.incarnation})
	}
}

func (k *keeper) bar(err error) {
	if k.barred.CompareAndSwap(nil, &err) {
		k.f.log.opts.Logger.Error().Err(err).Str("feed", k.f.name).Msg("eventlog: nothing more is appended to the feed")
	}
}

// foreign closes the feed to appends whose publishes another domain's stream
// takes as well, or instead.
func (k *keeper) foreign(a ack) {
	var err error = &DomainError{Feed: k.f.name, Stream: k.f.stream, Domain: k.f.acks.domain, Found: a.Domain}
	if k.failed.CompareAndSwap(nil, &err) {
		k.f.log.opts.Logger.Error().Err(err).Str("feed", k.f.name).Msg("eventlog: nothing more is appended to the feed")
	}
}

// refusal says why nothing can be appended; nil almost always.
func (k *keeper) refusal() error {
	if err := k.barred.Load(); err != nil {
		return *err
	}
	if err := k.failed.Load(); err != nil {
		return *err
	}
	return k.f.intact()
}

// heedFailures closes feeds to appends whose streams the embedded server can't
// write any more. It ends with the log.
func (l *Log) heedFailures() {
	for {
		select {
		case fail := <-l.embedded.failed:
			for _, f := range l.Feeds() {
				if f.stream == fail.stream {
					var err error = &StorageError{Feed: f.name, Stream: f.stream, Reason: fail.why}
					f.keeper.failed.CompareAndSwap(nil, &err)
				}
			}
		case <-l.ended:
			return
		}
	}
}

// usable says whether the feed takes appends.
func (f *Feed) usable(key string) error {
	if f.adopted != nil {
		return &ReadOnlyError{Feed: f.name, Stream: f.stream}
	}
	if f.closed.Load() {
		return fmt.Errorf("eventlog: append to %s/%.200q: %w", f.name, key, ErrClosed)
	}
	return f.keeper.refusal()
}

// Drift is how the stream's settings differ from those that the feed would be
// created with; of an adopted feed, those by which its owner lets go of
// messages. It is as the server said last: when the feed was opened, and since
// then at least every 10 s. It asks nothing. The slice is the caller's.
func (f *Feed) Drift() []Drift {
	f.keeper.mu.Lock()
	defer f.keeper.mu.Unlock()
	return slices.Clone(f.keeper.drift)
}

// Check asks the server whether the feed's stream is still the one that was
// opened, with settings that keep its events. Errors: ErrMissing,
// ErrRecreated, ErrUnsafe or ErrForeign (somebody changed its settings),
// ErrLostTail (it ends below a commit that this handle was acknowledged,
// or, as a LossError, lost what it surely had),
// ErrReplica (readers have found a server that keeps another history), ErrGap (a
// *GapsError: messages are missing inside, and aren't registered), ErrCorrupt (a
// *CorruptError for each message that a reader of this process has met, that
// can't be decoded, and isn't passed over; or the register of gaps is damaged),
// and those of State.
func (f *Feed) Check(ctx context.Context) error {
	if err := f.online(); err != nil {
		return err
	}
	acked := f.keeper.top.Load()
	st, err := f.State(ctx)
	if f.adopted != nil && err == nil && st.Incarnation != f.incarnation {
		return &RecreatedError{Feed: f.name, Stream: f.stream, Known: f.incarnation, Found: st.Incarnation}
	}
	lost := error(nil)
	if err == nil {
		lost = f.water.check(ctx, false)
	}
	if barred := f.keeper.refusal(); barred != nil {
		return barred
	}
	if err = errors.Join(err, lost); err != nil {
		return err
	}
	err = errors.Join(refusalOf(f, f.Drift()), f.replicas.err(), f.gaps.check(ctx, st), f.records.err(ctx))
	if acked > st.Last {
		err = errors.Join(err, &RangeError{Feed: f.name, Want: acked, First: st.First, Last: st.Last, class: ErrLostTail})
	}
	return err
}
