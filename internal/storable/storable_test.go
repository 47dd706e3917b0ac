package storable_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/internal/storable"
)

func (b both) rules() (rs []storable.Rules) {
	if b&onMsgPack != 0 {
		rs = append(rs, storable.MsgPack)
	}
	if b&onJSON != 0 {
		rs = append(rs, storable.JSON)
	}
	return rs
}

// What is refused doesn't come back from the codec itself, and the problem
// names the field.
func TestRefused(t *testing.T) {
	for _, c := range refused {
		for _, rules := range c.on.rules() {
			typ := reflect.TypeOf(c.value).Elem()
			found := storable.Check(typ, rules)
			if len(found.Problems) == 0 {
				t.Errorf("%s of %s: nothing found", typ, rules)
				continue
			}
			if text := found.Problems[0].String(); !strings.Contains(text, c.says) {
				t.Errorf("%s of %s: %q doesn't say %q", typ, rules, text, c.says)
			}
			if typ == reflect.TypeFor[generic[oneWay]]() || typ.Kind() == reflect.Struct && typ.NumField() == 1 && typ.Field(0).Type.Kind() == reflect.Struct && typ.Field(0).Type.PkgPath() == "sync/atomic" {
				continue // its zero value comes back
			}
			if err := reality(rules, c.value); err == nil {
				t.Errorf("%s of %s: refused (%s), and it comes back", typ, rules, found.Problems[0])
			}
		}
	}
}

// What is accepted comes back from the codec itself.
func TestAccepted(t *testing.T) {
	for _, c := range accepted {
		for _, rules := range c.on.rules() {
			typ := reflect.TypeOf(c.value).Elem()
			found := storable.Check(typ, rules)
			for _, p := range found.Problems {
				t.Errorf("%s of %s: %s", typ, rules, p)
			}
			if err := found.Value(c.value); err != nil {
				t.Errorf("%s of %s: %v", typ, rules, err)
			}
			if err := reality(rules, c.value); err != nil {
				t.Errorf("%s of %s: %v", typ, rules, err)
			}
		}
	}
}

// All problems of a type are told at once.
func TestAllProblemsAtOnce(t *testing.T) {
	type bad struct {
		a, b int
		C    func()
		D    []hidden
	}
	_, _ = bad{}.a, bad{}.b
	if got := storable.Check(reflect.TypeFor[bad](), storable.MsgPack).Problems; len(got) != 4 {
		t.Errorf("%d problems: %q", len(got), got)
	}
}

// A struct that embeds itself ends a process that asks the codec; so it isn't.
func TestEmbedsItself(t *testing.T) {
	found := storable.Check(reflect.TypeFor[itself](), storable.MsgPack)
	if len(found.Problems) != 1 || found.Value(&itself{}) == nil {
		t.Errorf("%q, %v", found.Problems, found.Value(&itself{}))
	}
}

func TestValues(t *testing.T) {
	cyclic := &tree{Name: "a"}
	cyclic.Children = []*tree{{Name: "b", Children: []*tree{cyclic}}}
	selfish := map[string]any{}
	selfish["me"] = []any{selfish}
	for _, c := range []struct {
		on    both
		value any
		says  string
	}{
		{onMsgPack | onJSON, cyclic, "contains itself"},
		{onMsgPack | onJSON, &generic[any]{selfish}, "contains itself"},
		{onMsgPack | onJSON, &generic[any]{5}, "Value holds int in an interface"},
		{onMsgPack | onJSON, &generic[map[string]any]{map[string]any{"a": []any{"b", int64(5)}}}, "Value[a][1] holds int64"},
		{onMsgPack | onJSON, &generic[[]any]{[]any{point{1, 2}}}, "Value[0] holds storable_test.point"},
		{onMsgPack | onJSON, &generic[any]{new("a")}, "holds *string"},
		{onJSON, &generic[any]{float32(1)}, "float64"},
		{onMsgPack, &embedsPointer{}, "embedsPointer.Base.ID is in a struct that is embedded by a nil pointer"},
		{onMsgPack | onJSON, &generic[*[]int]{new([]int(nil))}, "pointer to a nil slice"},
	} {
		for _, rules := range c.on.rules() {
			typ := reflect.TypeOf(c.value).Elem()
			err := storable.Check(typ, rules).Value(c.value)
			if _, ok := errors.AsType[*storable.ValueError](err); !ok || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s of %s: %v doesn't say %q", typ, rules, err, c.says)
			}
			if !strings.Contains(c.says, "itself") {
				if err := reality(rules, c.value); err == nil {
					t.Errorf("%s of %s: refused, and it comes back", typ, rules)
				}
			}
		}
	}
}

// All integers that an `any` came back with once may be stored again.
func TestDecodedNumbersStay(t *testing.T) {
	check := storable.Check(reflect.TypeFor[any2](), storable.MsgPack)
	for _, i := range []any{int8(-1), int8(5), int8(-100), uint8(200), int16(-300), uint16(300), int32(-70000), uint32(70000), int64(-1 << 40), uint64(1 << 40)} {
		v := any2{i}
		if err := errors.Join(check.Value(&v), reality(storable.MsgPack, &v)); err != nil {
			t.Errorf("%T: %v", i, err)
		}
	}
}

type any2 struct{ V any }

func TestKeys(t *testing.T) {
	type twoFields struct{ A, B string }
	for typ, ok := range map[reflect.Type]bool{
		reflect.TypeFor[string]():        true,
		reflect.TypeFor[word]():          true,
		reflect.TypeFor[otherWay]():      true, // an integer is stored as it is
		reflect.TypeFor[bool]():          true,
		reflect.TypeFor[uuid]():          true,
		reflect.TypeFor[twoFields]():     true,
		reflect.TypeFor[[2]twoFields]():  true,
		reflect.TypeFor[money]():         true, // encodes itself
		reflect.TypeFor[twice]():         false,
		reflect.TypeFor[shadowed]():      false,
		reflect.TypeFor[hidden]():        false,
		reflect.TypeFor[excluded]():      false,
		reflect.TypeFor[oneWay]():        false,
		reflect.TypeFor[time.Time]():     false,
		reflect.TypeFor[onlyTime]():      false,
		reflect.TypeFor[float64]():       false,
		reflect.TypeFor[*int]():          false,
		reflect.TypeFor[any]():           false,
		reflect.TypeFor[generic[any]]():  false,
		reflect.TypeFor[generic[*int]](): false,
		reflect.TypeFor[uintptr]():       false,
	} {
		if got := storable.CheckKey(typ).Problems; (len(got) == 0) != ok {
			t.Errorf("%s: %q", typ, got)
		}
	}
}

func TestFacts(t *testing.T) {
	type facts = storable.Facts
	for _, c := range []struct {
		typ   reflect.Type
		want  facts
		equal storable.Equality
		known bool // by type
	}{
		{reflect.TypeFor[point](), facts{}, storable.ByOperator, true},
		{reflect.TypeFor[[]point](), facts{Indirect: true}, storable.ByDeepEqual, true},
		{reflect.TypeFor[tree](), facts{Indirect: true, Recursive: true}, storable.ByDeepEqual, true},
		{reflect.TypeFor[generic[time.Time]](), facts{Times: true}, storable.ByContent, true},
		{reflect.TypeFor[celsius](), facts{Floats: true}, storable.ByContent, true},
		{reflect.TypeFor[excluded](), facts{Excluded: true}, storable.ByContent, true},
		{reflect.TypeFor[uuid](), facts{Custom: true}, storable.ByContent, false},
		{reflect.TypeFor[map[string]any](), facts{Indirect: true, Dynamic: true}, storable.ByContent, false},
		{reflect.TypeFor[omitsZeroer](), facts{Custom: true}, storable.ByContent, false},
		{reflect.TypeFor[tagged](), facts{Indirect: true, Omits: true}, storable.ByContent, true},
	} {
		got := storable.Check(c.typ, storable.MsgPack)
		if got.Facts != c.want || got.Equality() != c.equal || got.ByType() != c.known {
			t.Errorf("%s: %+v, %v, %v", c.typ, got.Facts, got.Equality(), got.ByType())
		}
	}
	if f := storable.Check(reflect.TypeFor[base](), storable.JSON); !f.Text || f.ByType() {
		t.Errorf("strings in JSON: %+v", f.Facts)
	}
	if f := storable.Check(reflect.TypeFor[hidden](), storable.Custom); len(f.Problems) > 0 || f.ByType() {
		t.Errorf("a custom codec: %+v, %q", f.Facts, f.Problems)
	}
	if f := storable.Check(reflect.TypeFor[halfGenerated](), storable.MsgPack); len(f.Problems) != 1 || !strings.Contains(f.Problems[0].Reason, "UnmarshalMsg") {
		t.Errorf("one generated method: %q", f.Problems)
	}
	if f := storable.Check(reflect.TypeFor[string](), storable.Bytes); len(f.Problems) != 1 {
		t.Errorf("bytes of a string: %q", f.Problems)
	}
}
