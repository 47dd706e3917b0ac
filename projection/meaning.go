package projection

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/tidemark-es/tidemark/eventlog"
)

// meaning is a fingerprint of what decides, beside the version, what a
// node's stored state means: the types of keys and values, the codec, and
// the event types that are handled, and the versions and meanings of the
// tables that are read. A snapshot with another meaning is one of an unknown
// version.
func (n *node) meaning() string {
	if n.means != "" {
		return n.means
	}
	return n.meaningBy(n.passes, func(up *node) (uint64, string) { return up.version, up.meaning() })
}

// meaningIn is the node's meaning above the tables as a snapshot holds them.
func (n *node) meaningIn(c *candidate) string { return n.meaningWith(n.passes, c) }

// understandsMeaning says whether a state of this meaning, in a snapshot, is the node's. What
// stopped at unknown types is the state of one that passes them over, too.
func (n *node) understandsMeaning(meaning string, c *candidate) bool {
	return meaning == n.meaningIn(c) || n.passes && meaning == n.meaningWith(false, c)
}

func (n *node) meaningWith(passes bool, c *candidate) string {
	return n.meaningBy(passes, func(up *node) (uint64, string) {
		if up.unsaved {
			return up.version, up.meaningIn(c)
		}
		m, _ := c.Member(up.name)
		return m.Version, m.Meaning
	})
}

func (n *node) meaningBy(passes bool, of func(up *node) (version uint64, meaning string)) string {
	var b strings.Builder
	fmt.Fprintf(&b, "state %s\ncodec %s\n", n.shape, n.codec.Name())
	for _, feed := range slices.Sorted(maps.Keys(n.handlers)) {
		types := make([]string, 0, len(n.handlers[feed]))
		for t := range n.handlers[feed] {
			types = append(types, t)
		}
		slices.Sort(types)
		fmt.Fprintf(&b, "feed %s: %s\n", feed, strings.Join(types, " "))
		for _, line := range n.evolved(feed) {
			fmt.Fprintf(&b, "\t%s\n", line)
		}
	}
	if passes {
		b.WriteString("unknown types are passed over\n")
	}
	for _, e := range n.ups {
		version, meaning := of(e.from)
		fmt.Fprintf(&b, "table %s: %s version %d of %s\n", e.from.name, e.kind, version, meaning)
	}
	sum := sha256.Sum256([]byte(b.String()))
	return hex.EncodeToString(sum[:16])
}

// evolved are the old names that lead to what the node handles on a feed: read
// in another way, the same log gives another state. With a handler of unknown
// types every registered one counts, since it isn't unknown. It is nothing
// where all is read as it is stored, so that a program without upcasters keeps
// its meaning.
func (n *node) evolved(feed string) (lines []string) {
	for _, line := range n.feeds[feed].Evolved() {
		_, to, _ := strings.Cut(line, " > ")
		if slices.ContainsFunc(strings.Fields(to), func(t string) bool { return n.handlers[feed][t] != nil }) {
			lines = append(lines, line)
		}
	}
	if n.handlers[feed][eventlog.AnyUnknown] != nil {
		lines = append(lines, "known "+strings.Join(n.feeds[feed].TypeNames(), " "))
		lines = append(lines, n.feeds[feed].Evolved()...)
	}
	return lines
}

// shapeOf describes a type by what its encoding depends on: kinds, and the
// names and tags of fields. The names of types are left out, so that renaming
// or moving one doesn't cost a replay. A type inside itself is told by how
// far out it stands.
func shapeOf(t reflect.Type) string { return shape(t, nil) }

func shape(t reflect.Type, outer []reflect.Type) string {
	if i := slices.Index(outer, t); i >= 0 {
		return fmt.Sprintf("^%d", len(outer)-i)
	}
	outer = append(outer, t)
	switch t.Kind() {
	case reflect.Pointer:
		return "*" + shape(t.Elem(), outer)
	case reflect.Slice:
		return "[]" + shape(t.Elem(), outer)
	case reflect.Array:
		return fmt.Sprintf("[%d]%s", t.Len(), shape(t.Elem(), outer))
	case reflect.Map:
		return "map[" + shape(t.Key(), outer) + "]" + shape(t.Elem(), outer)
	case reflect.Struct:
		var b strings.Builder
		b.WriteString("{")
		for f := range t.Fields() {
			if !f.IsExported() && !f.Anonymous {
				continue // not stored
			}
			fmt.Fprintf(&b, "%s %s %q;", f.Name, shape(f.Type, outer), f.Tag)
		}
		return b.String() + "}"
	}
	return t.Kind().String()
}
