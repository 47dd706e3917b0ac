package projection

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/tidemark-es/tidemark/snapshot"
)

// Which version of a projection serves is kept where its snapshots are, and as
// they are: a unit <name>--serving with one member and one entry, the version
// as a uvarint. So every store can keep it, and two that switch at the same
// time are told apart by the head.

const (
	servingMember = "serving"
	servingCodec  = "uvarint"
)

func servingUnit(name string) string { return name + "--serving" }

// serving returns the version that is stored; known is false where none is.
func (rt *Runtime) serving(ctx context.Context, name string) (version uint64, known bool, err error) {
	if rt.cfg.NoSnapshots {
		return 0, false, nil
	}
	found, err := rt.cfg.Store.Candidates(ctx, servingUnit(name))
	if err != nil {
		return 0, false, fmt.Errorf("projection: which version of %q serves: %w", name, err)
	}
	if len(found) == 0 {
		return 0, false, nil
	}
	// Not an older one where this is damaged: that would be a switch taken back.
	err = found[0].Problem
	if err == nil {
		version, err = servingIn(rt.cfg.Store.Load(ctx, found[0].Manifest, servingMember))
	}
	if err != nil {
		return 0, false, fmt.Errorf("projection: which version of %q serves: %w", name, err)
	}
	return version, true, nil
}

func servingIn(es entries) (version uint64, err error) {
	err = fmt.Errorf("%w: no entry", snapshot.ErrCorrupt)
	for e, bad := range es {
		if bad != nil {
			return 0, bad
		}
		v, n := binary.Uvarint(e.Value)
		if n <= 0 || n != len(e.Value) {
			return 0, fmt.Errorf("%w: %x is no version", snapshot.ErrCorrupt, e.Value)
		}
		version, err = v, nil
	}
	return version, err
}

// storeServing stores the version that serves from now on.
func (rt *Runtime) storeServing(ctx context.Context, name string, version uint64) error {
	if rt.cfg.NoSnapshots {
		return nil
	}
	found, err := rt.cfg.Store.Candidates(ctx, servingUnit(name))
	if err != nil {
		return err
	}
	value := binary.AppendUvarint(nil, version)
	cut := snapshot.Cut{Members: []snapshot.Member{{
		Name: servingMember, Codec: servingCodec, Reset: true,
		Digest:  snapshot.DigestOf(nil, value).Bytes(),
		Changes: []snapshot.Change{{Key: []byte{}, Value: value}},
	}}}
	if len(found) > 0 {
		cut.Replaces = found[0].ID
	}
	_, err = rt.cfg.Store.Save(ctx, servingUnit(name), nil, cut)
	return err
}
