package snapshot

import (
	"context"
	"fmt"
	"strings"

	"github.com/tidemark-es/tidemark/timeframe"
)

// Peer is somebody else's snapshots, to import from: a directory ([Dir], [FS]),
// a running process ([HTTP]), another store ([Store.Peer]), or one of your own.
// It is safe for concurrent use.
type Peer interface {
	// Get returns what is stored under a name: "head/<unit>",
	// "manifest/<unit>/<id>" or "chunk/<id>". The error is an ErrNotFound where
	// there is nothing. What it returns needn't be whole or true: whoever asks
	// checks it.
	Get(ctx context.Context, name string) ([]byte, error)
}

// Target is where Export writes. It is safe for concurrent use.
type Target interface {
	Peer
	// Put stores data under a name, in the place of what was there. After a
	// crash the name holds either, whole.
	Put(ctx context.Context, name string, data []byte) error
}

// nameOf is the name among peers of a key of the bucket.
func nameOf(key string) string { return strings.ReplaceAll(key, ".", "/") }

// keyOf is the inverse of nameOf. Every other name is an *InvalidError: it may
// have come over the network.
func keyOf(name string) (string, error) {
	key := strings.ReplaceAll(name, "/", ".")
	unit, isHead := strings.CutPrefix(key, headPrefix)
	_, isChunk := chunkOf(key)
	_, _, isManifest := manifestOf(key)
	if strings.Contains(name, ".") || !isChunk && !isManifest && (!isHead || timeframe.ValidName(unit) != nil) {
		return "", &InvalidError{What: "name", Problems: []error{
			fmt.Errorf("%.200q is neither head/<unit>, nor manifest/<unit>/<id>, nor chunk/<id>", name),
		}}
	}
	return key, nil
}

// Peer returns the store as one that others may import from. Heads are read
// from the leader.
func (s *Store) Peer() Peer { return storePeer{s} }

type storePeer struct{ s *Store }

func (p storePeer) Get(ctx context.Context, name string) ([]byte, error) {
	key, err := keyOf(name)
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(key, headPrefix) {
		if data, err := p.s.bucket.get(ctx, key); err == nil {
			return data, nil
		}
	}
	e, err := p.s.bucket.leader(ctx, key)
	return e.data, err
}
