package eventlog

import (
	"context"
	"sync"
	"time"
)

// sharedState asks for the stream's state once for all that ask at the same
// time. Who comes while a question is on its way waits for the next one, so
// that the answer is never older than the question. Thousands of readers that
// start together would flood the server otherwise, which drops what it can't
// take.
type sharedState struct {
	ask func(ctx context.Context) (State, error)

	mu      sync.Mutex
	asking  bool
	waiting *stateCall // the next question's; nil while nobody waits
}

type stateCall struct {
	done chan struct{}
	st   State
	err  error
}

func (s *sharedState) get(ctx context.Context) (State, error) {
	if ctx.Err() != nil {
		return State{}, context.Cause(ctx)
	}
	s.mu.Lock()
	if s.waiting == nil {
		s.waiting = &stateCall{done: make(chan struct{})}
		if !s.asking {
			s.asking = true
			go s.run()
		}
	}
	call := s.waiting
	s.mu.Unlock()
	select {
	case <-call.done:
		return call.st, call.err
	case <-ctx.Done():
		return State{}, context.Cause(ctx)
	}
}

// run asks for as long as somebody waits. Each question has the time limit
// that every request has, and not that of one of those who wait for it.
func (s *sharedState) run() {
	for {
		s.mu.Lock()
		call := s.waiting
		s.waiting = nil
		s.asking = call != nil
		s.mu.Unlock()
		if call == nil {
			return
		}
		call.st, call.err = s.ask(context.Background())
		close(call.done)
	}
}

// readsAtOnce is the number of questions for messages that a feed's readers
// have on their way to the server at most.
const readsAtOnce = 64

// turn waits until the server may be asked for one more; done is called when
// it has answered.
func (f *Feed) turn(ctx context.Context) (done func(), err error) {
	select {
	case f.reads <- struct{}{}:
		return func() { <-f.reads }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-f.closing:
		return nil, f.closedRead()
	}
}

// lastOf is a key's last message, as the leader has it.
func (f *Feed) lastOf(ctx context.Context, subject string) (m message, ok bool, err error) {
	done, err := f.turn(ctx)
	if err != nil {
		return m, false, err
	}
	defer done()
	return f.headOf(ctx, subject)
}

// await waits for a moment, or for the context.
func await(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
