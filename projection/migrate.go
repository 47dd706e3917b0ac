package projection

import (
	"reflect"

	"github.com/tidemark-es/tidemark/eventlog"
)

// Migrate lets the table be restored from snapshots of an older version: fn
// makes a present value of an old one, or drops the key with false. It is on
// fn to come to the state that a replay would come to.
func Migrate[K comparable, Old, V any](from uint64, fn func(key K, old Old) (V, bool)) TableOption {
	return tableOption(func(n *node) { addHop(n, from, n.version, true, fn) })
}

// MigrateTo is one hop of a migration: from an older version to another older
// one, from which a further hop or Migrate goes on (1 -> 2 -> 3). So a new
// version needs one new function, and every older snapshot can be restored.
func MigrateTo[K comparable, Old, New any](from, to uint64, fn func(key K, old Old) (New, bool)) TableOption {
	return tableOption(func(n *node) { addHop(n, from, to, false, fn) })
}

// hop is one function of a migration, without its types.
type hop struct {
	to            uint64
	last          bool // to the present version, whichever that is
	key, old, new reflect.Type
	decode        func(c eventlog.Codec, data []byte) (any, error)
	apply         func(key, old any) (value any, keep bool)
	row           migration // decode and apply at once, for a migration of one hop
}

// migrateRow is a migration with the table's types.
type migrateRow[K comparable, V any] func(c eventlog.Codec, key K, data []byte) (V, bool, error)

func addHop[K comparable, Old, New any](n *node, from, to uint64, last bool, fn func(K, Old) (New, bool)) {
	switch _, double := n.hops[from]; {
	case fn == nil:
		n.problems.Add("migration from version %d: nil function", from)
		return
	case double:
		n.problems.Add("two migrations from version %d", from)
		return
	case n.hops == nil:
		n.hops = make(map[uint64]hop)
	}
	decode := func(c eventlog.Codec, data []byte) (old Old, err error) {
		err = newValueCodec[Old](c).decode(data, &old)
		return old, err
	}
	n.hops[from] = hop{
		to: to, last: last,
		key: reflect.TypeFor[K](), old: reflect.TypeFor[Old](), new: reflect.TypeFor[New](),
		decode: func(c eventlog.Codec, data []byte) (any, error) { return decode(c, data) },
		apply:  func(key, old any) (any, bool) { return fn(key.(K), old.(Old)) },
		row: migrateRow[K, New](func(c eventlog.Codec, key K, data []byte) (v New, keep bool, err error) {
			defer contain(&err)
			old, err := decode(c, data)
			if err != nil {
				return v, false, err
			}
			v, keep = fn(key, old)
			return v, keep, nil
		}),
	}
}

// compileMigrations makes of the hops one migration for each version that a
// chain of them leads away from, and reports chains that lead nowhere.
func compileMigrations[K comparable, V any](n *node) {
	n.migrations = make(map[uint64]migration, len(n.hops))
	for from := range n.hops {
		chain, ok := n.chain(from, reflect.TypeFor[K](), reflect.TypeFor[V]())
		if !ok {
			continue
		}
		if len(chain) == 1 {
			n.migrations[from] = chain[0].row
			continue
		}
		n.migrations[from] = migrateRow[K, V](func(c eventlog.Codec, key K, data []byte) (v V, keep bool, err error) {
			defer contain(&err)
			x, err := chain[0].decode(c, data)
			if err != nil {
				return v, false, err
			}
			for _, h := range chain {
				if x, keep = h.apply(key, x); !keep {
					return v, false, nil
				}
			}
			return x.(V), true, nil
		})
	}
}

// chain is the hops from a version to the present one. Versions ascend, so it
// ends.
func (n *node) chain(from uint64, key, value reflect.Type) (chain []hop, ok bool) {
	for at := from; at != n.version || len(chain) == 0; {
		h, found := n.hops[at]
		to := h.to
		if h.last {
			to = n.version
		}
		switch {
		case !found:
			n.problems.Add("migration from version %d ends at %d: add a Migrate from there", from, at)
		case to <= at || to > n.version:
			n.problems.Add("migration from version %d to %d of a projection of version %d", at, to, n.version)
		case h.key != key:
			n.problems.Add("migration from version %d is for another type of table: its key is %q, not %q", at, h.key, key)
		case len(chain) > 0 && chain[len(chain)-1].new != h.old:
			n.problems.Add("migration from version %d takes %s, and the one before it makes %s", at, h.old, chain[len(chain)-1].new)
		default:
			chain, at = append(chain, h), to
			continue
		}
		return nil, false
	}
	if last := chain[len(chain)-1]; last.new != value {
		n.problems.Add("migration from version %d is for another type of table: it makes %s, not %s", from, last.new, value)
		return nil, false
	}
	return chain, true
}
