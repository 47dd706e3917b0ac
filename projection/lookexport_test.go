package projection

import "context"

// Look asks at once what other processes have switched to.
func (b *BlueGreen[P]) Look(ctx context.Context) error { return b.s.look(ctx) }

// EndOf is what a reader's error means for the first unit, and whether it begins anew.
func (rt *Runtime) EndOf(ctx context.Context, feed string, err error) (cause error, again bool) {
	return rt.units[0].endOf(ctx, feed, err)
}
