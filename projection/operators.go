package projection

import "fmt"

// The operators make Derived tables of tables. Each is incremental: a step
// costs as much as what it changed; and each comes to what a computation from
// all the rows would come to. Their functions must depend on their arguments
// alone; when one of them changes, raise the table's Version. They take the
// options of NewTable. A table that is made by an operator is saved in
// snapshots unless it is Unsaved.

func derive[K comparable, V any](name string, opts []TableOption) *Table[K, V] {
	return NewTable[K, V](name, append([]TableOption{Derived()}, opts...)...)
}

// Map makes a table with what fn makes of each row of src, under its key.
func Map[K comparable, V, W any](name string, src Relation[K, V], fn func(key K, v V) W, opts ...TableOption) *Table[K, W] {
	t := derive[K, W](name, opts)
	if fn == nil {
		t.n.problem("nil function for Map")
		return t
	}
	OnChange(t, src, func(tx *Tx[K, W], c Change[K, V]) error {
		if c.Has {
			tx.Put(c.Key, fn(c.Key, c.New))
		} else {
			tx.Delete(c.Key)
		}
		return nil
	})
	return t
}

// Filter makes a table with those rows of src that keep says yes to.
func Filter[K comparable, V any](name string, src Relation[K, V], keep func(key K, v V) bool, opts ...TableOption) *Table[K, V] {
	t := derive[K, V](name, opts)
	if keep == nil {
		t.n.problem("nil function for Filter")
		return t
	}
	OnChange(t, src, func(tx *Tx[K, V], c Change[K, V]) error {
		if c.Has && keep(c.Key, c.New) {
			tx.Put(c.Key, c.New)
		} else {
			tx.Delete(c.Key)
		}
		return nil
	})
	return t
}

// Group is a row of Aggregate: how many rows of the source are in the group,
// and what they add up to.
type Group[A any] struct {
	Rows  int
	Value A
}

// Aggregate makes a table with a row for each group of src's rows. group says
// which group a row is in, or that it is in none; add puts a row into a
// group's value, which begins as zero, and remove takes one out again. In
// whatever order rows come and go, the value has to be the same: a sum of
// integers is, one of floats isn't quite, a maximum can't be taken back (see
// TopNBy). add and remove return a new value and change none in place.
func Aggregate[K comparable, V any, G comparable, A any](
	name string, src Relation[K, V],
	group func(key K, v V) (G, bool),
	add, remove func(a A, key K, v V) A,
	opts ...TableOption,
) *Table[G, Group[A]] {
	t := derive[G, Group[A]](name, opts)
	if group == nil || add == nil || remove == nil {
		t.n.problem("nil function for Aggregate")
		return t
	}
	OnChange(t, src, func(tx *Tx[G, Group[A]], c Change[K, V]) error {
		if c.Had {
			if g, ok := group(c.Key, c.Old); ok {
				row, there := tx.Get(g)
				switch {
				case !there:
					return neverGrouped("Aggregate", c.Key, g)
				case row.Rows == 1:
					tx.Delete(g)
				default:
					tx.Put(g, Group[A]{row.Rows - 1, remove(row.Value, c.Key, c.Old)})
				}
			}
		}
		if c.Has {
			if g, ok := group(c.Key, c.New); ok {
				row := tx.Value(g)
				tx.Put(g, Group[A]{row.Rows + 1, add(row.Value, c.Key, c.New)})
			}
		}
		return nil
	})
	return t
}

// Distinct makes a table of the groups that rows of src are in, with the
// number of rows as reasons. A second reason for a group, or the loss of one
// of two, is no change to who reads or watches the table; the loss of the last
// one is. So what reads it goes by the groups: the numbers that it sees may be
// old ones. (To derive from numbers, Aggregate.)
func Distinct[K comparable, V any, G comparable](name string, src Relation[K, V], group func(key K, v V) (G, bool), opts ...TableOption) *Table[G, int] {
	opts = append([]TableOption{Equal(func(a, b int) bool { return true })}, opts...)
	t := derive[G, int](name, opts)
	if group == nil {
		t.n.problem("nil function for Distinct")
		return t
	}
	OnChange(t, src, func(tx *Tx[G, int], c Change[K, V]) error {
		if c.Had {
			if g, ok := group(c.Key, c.Old); ok {
				switch n := tx.Value(g); n {
				case 0:
					return neverGrouped("Distinct", c.Key, g)
				case 1:
					tx.Delete(g)
				default:
					tx.Put(g, n-1)
				}
			}
		}
		if c.Has {
			if g, ok := group(c.Key, c.New); ok {
				tx.Put(g, tx.Value(g)+1)
			}
		}
		return nil
	})
	return t
}

func neverGrouped(operator string, key, group any) error {
	return fmt.Errorf("%w: the row of key %.200q was never put into group %.200q: the functions of %s must depend on their arguments alone, and Version be raised when they change", ErrNotDerived, fmt.Sprint(key), fmt.Sprint(group), operator)
}
