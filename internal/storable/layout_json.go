package storable

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unicode"
)

// jsonField is a field that encoding/json may store under a name.
type jsonField struct {
	field
	tagged bool
}

// jsonEmbedded is a struct whose fields are taken for the outermost one's.
type jsonEmbedded struct {
	typ   reflect.Type
	path  string
	index []int
	byPtr bool
	times int // it is embedded at its depth
}

// jsonLayout is what encoding/json makes of a struct: typeFields and
// dominantField in its encode.go.
func jsonLayout(t reflect.Type) layout {
	l := layout{byName: make(map[string]int)}
	var found []jsonField
	visited := make(map[reflect.Type]bool)
	for level := []jsonEmbedded{{typ: t, times: 1}}; len(level) > 0; {
		var next []jsonEmbedded
		for _, e := range level {
			if visited[e.typ] {
				l.lose(e.typ, e.path, fmt.Sprintf("is not stored, since %s is embedded further out as well: give the field a name", nameOf(e.typ)))
				continue
			}
			visited[e.typ] = true
			for field := range e.typ.Fields() {
				next = l.addJSON(e, field, &found, next)
			}
		}
		level = next
	}
	l.dominant(t, found)
	return l
}

// addJSON adds a field to found, or to what is to be looked at next.
func (l *layout) addJSON(e jsonEmbedded, f reflect.StructField, found *[]jsonField, next []jsonEmbedded) []jsonEmbedded {
	if out, onPurpose := JSON.leavesOut(f); out {
		l.excluded = l.excluded || onPurpose
		return next
	}
	path, index := join(e.path, f.Name), append(slices.Clone(e.index), f.Index...)
	inner := f.Type
	if inner.Name() == "" && inner.Kind() == reflect.Pointer {
		inner = inner.Elem()
	}
	if !f.IsExported() && (!f.Anonymous || inner.Kind() != reflect.Struct) {
		l.lose(f.Type, path, unexported(JSON, e.typ))
		return next
	}
	tag := f.Tag.Get("json")
	name, options, _ := strings.Cut(tag, ",")
	if !validJSONName(name) {
		name = ""
	}
	if name != "" || !f.Anonymous || inner.Kind() != reflect.Struct {
		if !f.IsExported() {
			l.lose(f.Type, path, unexported(JSON, e.typ))
			return next
		}
		omits := slices.ContainsFunc(strings.Split(options, ","), func(o string) bool { return o == "omitempty" || o == "omitzero" })
		j := jsonField{field{name: cmp.Or(name, f.Name), path: path, index: index, typ: f.Type, omits: omits, byPtr: e.byPtr}, name != ""}
		for range min(e.times, 2) { // two of the same hide each other
			*found = append(*found, j)
		}
		return next
	}
	if f.Type.Kind() == reflect.Pointer && !f.IsExported() {
		l.lose(f.Type, path, "is an embedded pointer to a struct that is not exported, which can't be set when it is decoded: embed the struct itself, or export it")
		return next
	}
	for i := range next {
		if next[i].typ == inner {
			next[i].times++
			return next
		}
	}
	return append(next, jsonEmbedded{inner, path, index, e.byPtr || f.Type.Kind() == reflect.Pointer, 1})
}

// dominant keeps for each name the field that is stored under it: the outermost
// one, of several the one with a tag. Where that doesn't decide, none is stored.
func (l *layout) dominant(t reflect.Type, found []jsonField) {
	byName := make(map[string][]jsonField)
	for _, f := range found {
		byName[f.name] = append(byName[f.name], f)
	}
	for _, f := range found {
		same := byName[f.name]
		if same == nil {
			continue
		}
		delete(byName, f.name)
		slices.SortStableFunc(same, func(a, b jsonField) int {
			if c := cmp.Compare(len(a.index), len(b.index)); c != 0 || a.tagged == b.tagged {
				return c
			}
			if a.tagged {
				return -1
			}
			return 1
		})
		if len(same) == 1 || len(same[0].index) < len(same[1].index) || same[0].tagged != same[1].tagged {
			l.byName[f.name] = len(l.fields)
			l.fields = append(l.fields, same[0].field)
			same = same[1:]
		}
		for i, s := range same {
			if i == 0 || same[i-1].path != s.path {
				l.lose(s.typ, s.path, fmt.Sprintf("is not stored, since another field of %s is called %q too: give it another name by a tag", nameOf(t), f.name))
			}
		}
	}
}

// validJSONName is isValidTag of encoding/json.
func validJSONName(s string) bool {
	for _, c := range s {
		if !strings.ContainsRune("!#$%&()*+-./:;<=>?@[]^_{|}~ ", c) && !unicode.IsLetter(c) && !unicode.IsDigit(c) {
			return false
		}
	}
	return s != ""
}
