package projection

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tidemark-es/tidemark/internal/problem"
	"github.com/tidemark-es/tidemark/snapshot"
)

// deleter is a store that can remove the snapshots of a unit.
type deleter interface {
	Delete(ctx context.Context, unit string) error
}

// checkReplay checks Config.Replay.
func (rt *Runtime) checkReplay(names map[string]bool, p *problem.List) {
	for _, name := range rt.cfg.Replay {
		if !names[name] {
			p.Add("Replay: no unit is called %q", name)
		}
	}
	if _, ok := rt.cfg.Store.(deleter); !ok && len(rt.cfg.Replay) > 0 && !rt.cfg.NoSnapshots {
		p.Add("Replay: the Store has no Delete(ctx, unit) error, by which snapshots are removed")
	}
}

// replays says whether Config.Replay names the unit, or one that it was joined
// from.
func (u *unit) replays() bool {
	return slices.ContainsFunc(u.rt.cfg.Replay, func(name string) bool {
		return name == u.name || slices.Contains(u.aliases, name)
	})
}

// replay begins with nothing. The snapshots are removed, older ones too, which
// may be wrong as well, but only when the log is known to reach its beginning:
// where it was trimmed they are all that there is.
func (u *unit) replay(ctx context.Context, begun time.Time) error {
	u.saver.rebase(nil, snapshot.ID{})
	used, err := u.restoreNodes(ctx, nil, []string{"Config.Replay says to derive it from the log"})
	if err != nil {
		return err
	}
	if err := u.aim(ctx, used, begun); err != nil || u.rt.cfg.NoSnapshots {
		return err
	}
	for _, unit := range append([]string{u.name}, u.aliases...) {
		if err := u.rt.cfg.Store.(deleter).Delete(ctx, unit); err != nil { // checkReplay has seen that it can
			return fmt.Errorf("projection: unit %q: Replay: %w", u.name, err)
		}
	}
	return nil
}
