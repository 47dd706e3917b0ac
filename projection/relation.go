package projection

// Relation is what a table can read the changes of: a *Table, or a *Partitioned.
type Relation[K comparable, V any] interface {
	Name() string

	// node is nil for a nil table.
	node() *node
	// step is what the present step changed.
	step() []Change[K, V]
	// each calls fn for every row, until it fails.
	each(fn func(key K, v V) error) error
}

func (t *Table[K, V]) node() *node {
	if t == nil {
		return nil
	}
	return t.n
}

func (t *Table[K, V]) step() []Change[K, V] { return t.delta }

func (t *Table[K, V]) each(fn func(key K, v V) error) error {
	for k, r := range t.rows {
		if err := fn(k, r.value); err != nil {
			return err
		}
	}
	return nil
}

func (p *Partitioned[V]) node() *node {
	if p == nil {
		return nil
	}
	return p.n
}

func (p *Partitioned[V]) step() []Change[string, V] { return p.delta }

func (p *Partitioned[V]) each(fn func(key string, v V) error) error {
	for _, t := range p.parts {
		if err := t.each(fn); err != nil {
			return err
		}
	}
	return nil
}

// sourceNode is the node of what may be nil in two ways.
func sourceNode[K comparable, V any](src Relation[K, V]) *node {
	if src == nil {
		return nil
	}
	return src.node()
}
