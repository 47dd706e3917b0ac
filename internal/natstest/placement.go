package natstest

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// placementTry is how long one attempt may take: a request from before an
// election is never answered.
const placementTry = 2 * time.Second

// AwaitPlacement waits until a cluster takes streams of so many replicas. A
// leader and routes between all aren't enough: the leader places streams only
// on servers whose figures it was sent, and until then refuses them with "no
// suitable peers". No endpoint tells, so it is tried, with a stream in memory
// that is deleted again.
func AwaitPlacement(ctx context.Context, url string, replicas int) error {
	nc, err := nats.Connect(url, nats.MaxReconnects(-1))
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	const probe = "natstest_placement"
	err = poll(ctx, patience, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, placementTry)
		defer cancel()
		// Where the answer was lost, the same again is no error.
		if _, err := js.CreateStream(ctx, jetstream.StreamConfig{
			Name: probe, Subjects: []string{probe}, Replicas: replicas, Storage: jetstream.MemoryStorage,
		}); err != nil {
			return err
		}
		return js.DeleteStream(ctx, probe)
	})
	if err != nil {
		return fmt.Errorf("the cluster takes no stream of %d replicas: %w", replicas, err)
	}
	return nil
}
