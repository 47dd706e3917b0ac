package eventlog

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
)

// ErrReplica: a server keeps another history of a feed than the stream's
// leader does. The ReplicaError says which.
var ErrReplica = errors.New("replica differs from its leader")

// ReplicaError is an ErrReplica. Nothing of what that server has was handed
// out: reading goes on by the leader's word. Log.Healthy and Feed.Check report
// it until the feed is opened again.
type ReplicaError struct {
	Feed   string
	Stream string
	Server string // by the name that its configuration gives it; "" where it isn't known
	Seq    uint64 // where the server has another message than the leader, or the leader has none
}

func (e *ReplicaError) Error() string {
	server := e.Server
	if server == "" {
		server = "a server"
	}
	return fmt.Sprintf("eventlog: feed %q: %v: %s has a message %d that the stream's leader doesn't have: it kept the end of a log that the others have lost. Nothing of it was used. Remove its replica of stream %s (nats stream cluster peer-remove), so that it is copied anew from the leader", e.Feed, ErrReplica, server, e.Seq, e.Stream)
}

func (e *ReplicaError) Unwrap() error { return ErrReplica }

// replicaFaults are a feed's replicas that were found to differ. Its zero
// value is ready for use, by any number of goroutines.
type replicaFaults struct {
	mu     sync.Mutex
	byName map[string]*ReplicaError
}

// add says whether it is the first of that server.
func (r *replicaFaults) add(e *ReplicaError) (first bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byName[e.Server] != nil {
		return false
	}
	if r.byName == nil {
		r.byName = make(map[string]*ReplicaError)
	}
	r.byName[e.Server] = e
	return true
}

// err is all of them.
func (r *replicaFaults) err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(r.byName)) {
		errs = append(errs, r.byName[name])
	}
	return errors.Join(errs...)
}
