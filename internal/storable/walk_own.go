package storable

import (
	"reflect"
	"strings"
)

// encodesItself says whether the codec leaves a type to its own methods, and
// whether those can work.
func (w *walk) encodesItself(n *node, path string, addr bool) bool {
	t := n.typ
	enc, dec, byPointer := w.rules.own(t, addr)
	if enc.method == "" && dec.method == "" {
		return false
	}
	n.kind, w.facts.Custom = own, true
	switch anyhow, _, _ := w.rules.own(t, true); {
	case enc.method == "" && anyhow.method != "", byPointer && !addr:
		w.problem(path, "is a value in a map, where method %s of *%s can't be called: use a pointer, or give the method a value receiver", anyhow.method, nameOf(t))
		return true
	case w.oneSided(t, path, enc, dec):
		return true
	case enc.form != dec.form && enc.form != native && dec.form != native:
		w.problem(path, "is encoded by %s.%s and decoded by %s, which read and write different forms: give %s the missing one of the two", nameOf(t), enc.method, dec.method, nameOf(t))
		return true
	}
	w.covers(t, path, enc.method, dec.method)
	return true
}

// oneSided reports a type that has a method for one direction alone.
func (w *walk) oneSided(t reflect.Type, path string, enc, dec way) bool {
	switch {
	case enc.method == "":
		w.problem(path, "is decoded by %s.%s, and has no method %s: what the codec encodes is not what it decodes: give it both", nameOf(t), dec.method, opposite(dec.method))
	case dec.method == "":
		w.problem(path, "is encoded by %s.%s, and has no method %s: what it encodes can't be decoded: give it both", nameOf(t), enc.method, opposite(enc.method))
	default:
		return false
	}
	return true
}

// opposite is the name of the method that undoes another.
func opposite(method string) string {
	for _, pair := range [][2]string{{"Encode", "Decode"}, {"Unmarshal", "Marshal"}, {"Marshal", "Unmarshal"}, {"Decode", "Encode"}} {
		if rest, ok := strings.CutPrefix(method, pair[0]); ok {
			return pair[1] + rest
		}
	}
	return method
}

// covers reports the fields that are lost since a struct's methods are those of
// one that it embeds.
func (w *walk) covers(t reflect.Type, path string, methods ...string) {
	for _, method := range methods {
		from, promoted := promotedFrom(t, method)
		if !promoted {
			continue
		}
		var lost []string
		for f := range t.Fields() {
			if out, _ := w.rules.leavesOut(f); !out && f.Name != from.Name && f.Type.Size() > 0 {
				lost = append(lost, f.Name)
			}
		}
		if len(lost) > 0 {
			w.problem(path, "embeds %s, whose method %s encodes all of %s: %s is not stored: give the embedded field a name, or %s methods of its own",
				nameOf(from.Type), method, nameOf(t), strings.Join(lost, ", "), nameOf(t))
			return
		}
	}
}
