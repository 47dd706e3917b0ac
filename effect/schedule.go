package effect

import (
	"container/heap"
	"time"
)

// schedule decides which effect is attempted when. It is a pure state machine.
//
// An effect is attempted once for each state that it is in (the sequence of
// its last outcome): behind an attempt, it waits for the table to show what
// was recorded.
type schedule struct {
	jobs map[string]*job // wanted and not yet attempted in this state
	heap jobHeap
	// tried is the state in which an effect was attempted, while the table
	// hasn't shown a later one.
	tried map[string]uint64
}

type job struct {
	id   string
	due  time.Time
	seq  uint64 // of the event, for the order
	last uint64
	at   int // in the heap
}

func newSchedule() *schedule {
	return &schedule{jobs: make(map[string]*job), tried: make(map[string]uint64)}
}

// want puts an effect in, or changes it.
func (s *schedule) want(id string, last, seq uint64, due time.Time) {
	if t, ok := s.tried[id]; ok {
		if t >= last {
			return
		}
		delete(s.tried, id)
	}
	if j := s.jobs[id]; j != nil {
		j.due, j.last, j.seq = due, last, seq
		heap.Fix(&s.heap, j.at)
		return
	}
	j := &job{id: id, due: due, seq: seq, last: last}
	s.jobs[id] = j
	heap.Push(&s.heap, j)
}

// drop takes an effect out that isn't wanted any more.
func (s *schedule) drop(id string) {
	delete(s.tried, id)
	if j := s.jobs[id]; j != nil {
		heap.Remove(&s.heap, j.at)
		delete(s.jobs, id)
	}
}

// next takes an effect that is due; else it says when the next one will be,
// zero for never.
func (s *schedule) next(now time.Time) (*job, time.Time) {
	if len(s.heap) == 0 {
		return nil, time.Time{}
	}
	j := s.heap[0]
	if j.due.After(now) {
		return nil, j.due
	}
	heap.Pop(&s.heap)
	delete(s.jobs, j.id)
	s.tried[j.id] = j.last
	return j, time.Time{}
}

// again puts an effect back whose attempt has left no outcome.
func (s *schedule) again(j *job, due time.Time) {
	if t, ok := s.tried[j.id]; ok && t == j.last {
		delete(s.tried, j.id)
		s.want(j.id, j.last, j.seq, due)
	}
}

type jobHeap []*job

func (h jobHeap) Len() int { return len(h) }
func (h jobHeap) Less(i, j int) bool {
	if h[i].due.Equal(h[j].due) {
		return h[i].seq < h[j].seq
	}
	return h[i].due.Before(h[j].due)
}
func (h jobHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}
func (h *jobHeap) Push(x any) {
	j := x.(*job)
	j.at = len(*h)
	*h = append(*h, j)
}
func (h *jobHeap) Pop() any {
	old := *h
	j := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return j
}
