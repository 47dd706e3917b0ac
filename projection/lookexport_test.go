package projection

import (
	"context"
	"time"
)

// Look asks at once what other processes have switched to.
func (b *BlueGreen[P]) Look(ctx context.Context) error { return b.s.look(ctx) }

// LookEvery sets how often that is asked; before Start.
func (b *BlueGreen[P]) LookEvery(d time.Duration) { b.s.every = d }
