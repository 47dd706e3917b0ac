package projection

import "context"

// Look asks at once what other processes have switched to.
func (b *BlueGreen[P]) Look(ctx context.Context) error { return b.s.look(ctx) }
