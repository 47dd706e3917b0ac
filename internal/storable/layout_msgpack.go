package storable

import (
	"fmt"
	"reflect"
	"slices"

	"github.com/vmihailenco/tagparser/v2"
)

// msgpackLayout is what vmihailenco/msgpack v5.4.1 makes of a struct: getFields,
// inlineFields and shouldInline in its types.go. outer are the structs that
// embed this one.
func msgpackLayout(t reflect.Type, outer []reflect.Type) layout {
	l := layout{byName: make(map[string]int)}
	if slices.Contains(outer, t) {
		l.lost = append(l.lost, Problem{Reason: fmt.Sprintf("is a %s embedded in itself, which the codec follows without an end: give the field a name", nameOf(t))})
		l.endless = true
		return l
	}
	outer = append(outer, t)
	for f := range t.Fields() {
		tag := tagparser.Parse(f.Tag.Get("msgpack"))
		if f.Name == "_msgpack" {
			l.array = tag.HasOption("as_array") || tag.HasOption("asArray")
		}
		if out, onPurpose := MsgPack.leavesOut(f); out {
			l.excluded = l.excluded || onPurpose
			continue
		}
		if !f.IsExported() && !f.Anonymous {
			l.lose(f.Type, f.Name, unexported(MsgPack, t))
			continue
		}
		l.addMsgpack(t, f, tag, outer)
	}
	if !l.array {
		l.msgpackShadows()
	}
	return l
}

// addMsgpack adds a field, or those of a struct that is embedded.
func (l *layout) addMsgpack(t reflect.Type, f reflect.StructField, tag *tagparser.Tag, outer []reflect.Type) {
	name := tag.Name
	if name == "" {
		name = f.Name
	}
	kind := f.Type.Kind()
	if tag.HasOption("intern") && kind != reflect.Interface && kind != reflect.String {
		l.lose(f.Type, f.Name, "is tagged intern, which the codec panics at: intern is for strings")
		return
	}
	if f.Anonymous && !tag.HasOption("noinline") {
		explicit := tag.HasOption("inline")
		if explicit && kind != reflect.Struct {
			l.lose(f.Type, f.Name, "is tagged inline, which the codec panics at: inline is for structs")
			return
		}
		if explicit || plainStruct(f.Type) {
			sub := msgpackLayout(deref(f.Type), outer)
			if explicit || !slices.ContainsFunc(sub.fields, func(s field) bool { _, has := l.byName[s.name]; return has }) {
				l.inline(t, f, sub, name)
				return
			}
		}
	}
	if !f.IsExported() {
		l.lose(f.Type, f.Name, unexported(MsgPack, t))
		return
	}
	l.byName[name] = len(l.fields)
	omits := tag.HasOption("omitempty") || omitsAll(t, f.Index[0])
	l.fields = append(l.fields, field{name: name, path: f.Name, index: f.Index, typ: f.Type, omits: omits})
	if alias, ok := tag.Options["alias"]; ok {
		l.byName[alias] = len(l.fields) - 1
	}
}

// inline adds the fields of an embedded struct. Those that are shadowed where
// it is tagged inline are left out.
func (l *layout) inline(t reflect.Type, f reflect.StructField, sub layout, name string) {
	l.endless = l.endless || sub.endless
	byPtr := f.Type.Kind() == reflect.Pointer
	if byPtr && !f.IsExported() {
		l.lose(f.Type, f.Name, "is an embedded pointer to a struct that is not exported, which can't be set when it is decoded: embed the struct itself, or export it")
		return
	}
	for _, p := range sub.lost {
		p.Path = join(f.Name, p.Path)
		l.lost = append(l.lost, p)
	}
	l.excluded = l.excluded || sub.excluded
	for _, s := range sub.fields {
		if _, has := l.byName[s.name]; has {
			l.lose(s.typ, join(f.Name, s.path), fmt.Sprintf("is not stored, since another field of %s is stored as %q too: give it another name by a tag", nameOf(t), s.name))
			continue
		}
		s.path, s.index, s.byPtr = join(f.Name, s.path), append(slices.Clone(f.Index), s.index...), s.byPtr || byPtr
		l.byName[s.name] = len(l.fields)
		l.fields = append(l.fields, s)
	}
	l.byName[name] = -1
}

// msgpackShadows finds fields that are stored and don't come back, since
// decoding takes their name for another's.
func (l *layout) msgpackShadows() {
	paths := make(map[string]string)
	for name, i := range l.byName {
		if i >= 0 {
			paths[name] = l.fields[i].path
		}
	}
	l.fields = slices.DeleteFunc(slices.Clone(l.fields), func(f field) bool {
		path, ok := paths[f.name]
		if ok && path == f.path {
			return false
		}
		other := "an embedded struct"
		if ok {
			other = "field " + path
		}
		l.lose(f.typ, f.path, fmt.Sprintf("does not come back: it is stored as %q, and so is %s: give one of them another name by a tag", f.name, other))
		return true
	})
	for name, path := range paths { // they have moved up
		l.byName[name] = slices.IndexFunc(l.fields, func(f field) bool { return f.path == path })
	}
}

// omitsNil says whether msgpack leaves out the fields of a struct that is
// embedded by a nil pointer: where any field is tagged omitempty.
func (l *layout) omitsNil() bool {
	return !l.array && slices.ContainsFunc(l.fields, func(f field) bool { return f.omits })
}

// plainStruct says whether the codec takes the fields of an embedded struct, or
// pointer to one, for its own: where it doesn't encode itself.
func plainStruct(t reflect.Type) bool {
	t = deref(t)
	if t.Kind() != reflect.Struct || t == timeType {
		return false
	}
	enc, dec, _ := MsgPack.own(t, true)
	return enc.method == "" && dec.method == ""
}

// omitsAll says whether a field of t stands after a _msgpack field that is
// tagged omitempty, which holds for all fields after it.
func omitsAll(t reflect.Type, index int) bool {
	for i := range index {
		if f := t.Field(i); f.Name == "_msgpack" && tagparser.Parse(f.Tag.Get("msgpack")).HasOption("omitempty") {
			return true
		}
	}
	return false
}

func deref(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t
}

// join makes a path of two parts, each of which may be empty.
func join(a, b string) string {
	if a == "" || b == "" || b[0] == '[' {
		return a + b
	}
	return a + "." + b
}
