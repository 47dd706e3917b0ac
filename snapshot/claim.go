package snapshot

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidemark-es/tidemark/internal/kv"
)

// Claim makes an epoch the unit's: it puts it into the head, so that saves of
// lower ones are refused from now on, also before the new owner has saved
// anything. Where the unit has no head, or one that can't be read, there is
// nothing to put it into: then the first save decides.
//
// Errors: *FencedError where the head has a higher epoch; *ConflictError where
// saves came between again and again; or one of the connection. Claiming again
// is harmless.
func (s *Store) Claim(ctx context.Context, unit string, epoch uint64) error {
	if err := validUnit(unit); err != nil {
		return err
	}
	var err error
	for range 10 { // the one before may be saving: two at most are under way
		var h headState
		if h, err = s.readHead(ctx, unit); err != nil {
			break
		}
		switch {
		case !h.present || h.problem != nil || h.epoch == epoch:
			return nil
		case h.epoch > epoch:
			return &FencedError{Unit: unit, Epoch: epoch, Head: h.epoch}
		}
		next := h.head
		next.epoch = epoch
		if _, err = s.bucket.swap(ctx, headKey(unit), next.encode(), h.revision); !errors.Is(err, kv.ErrMoved) {
			break
		}
		err = &ConflictError{Unit: unit, Expected: h.revision}
	}
	if err != nil {
		return fmt.Errorf("snapshot: claim %q: %w", unit, err)
	}
	s.opts.Logger.Debug().Str("unit", unit).Uint64("epoch", epoch).Msg("snapshots claimed")
	return nil
}
