package eventlog

import (
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"sync"

	"github.com/tidemark-es/tidemark/internal/equal"
	"github.com/tidemark-es/tidemark/internal/problem"
	"github.com/tidemark-es/tidemark/internal/storable"
)

// typeNameRE is what an event type's name may be: it stands in a header, in
// a list separated by commas.
var typeNameRE = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$`)

// eventType is one registered type of event.
type eventType struct {
	name   string
	goType reflect.Type
	encode func(c Codec, dst []byte, v any) ([]byte, error)
	decode func(c Codec, data []byte) (any, error)
}

// registry holds a feed's types and codecs. It doesn't change once the feed
// is open, so it needs no lock.
type registry struct {
	once  sync.Once
	tries map[*eventType]*equal.Type // see tried

	byName map[string]*eventType
	byType map[reflect.Type]*eventType
	codecs map[string]Codec
	codec  Codec // of what is appended
	// msgpack is the codec of commits that don't say theirs; memory is what each
	// codec here lets a value take (Options.MaxDecoded).
	msgpack Codec
	memory  int
	open    openOptions
	// evolution is nil where all is read as it is stored.
	evolution *evolution
}

// FeedOption configures a feed when it is opened.
type FeedOption interface{ applyFeed(*feedConfig) }

type feedOption func(*feedConfig)

func (o feedOption) applyFeed(c *feedConfig) { o(c) }

type feedConfig struct {
	types    []*eventType
	codec    Codec
	codecs   []Codec
	steps    []*upcaster
	unknown  UnknownPolicy
	open     openOptions
	problems problem.List
}

// Type registers T as an event type of a feed under a stable name. The name
// is what the log stores: the Go type can be renamed or moved at will, the
// name stays for ever. T must be a concrete type that isn't a pointer, and one
// that the feed's codec brings back as it was (docs/types.md): what would be
// lost is an ErrInvalid of Log.Feed. A feed that is adopted reads what others
// wrote, so there T may leave out what it likes.
func Type[T any](name string) FeedOption {
	t := reflect.TypeFor[T]()
	return feedOption(func(c *feedConfig) {
		switch {
		case t.Kind() == reflect.Pointer:
			c.problems.Add("type %s of event %q is a pointer: register and append values (%s)", t, name, t.Elem())
		case t.Kind() == reflect.Interface:
			c.problems.Add("type %s of event %q is an interface: register each concrete type", t, name)
		}
		if !typeNameRE.MatchString(name) {
			c.problems.Add("event name %q of type %s: use letters, digits and ._:/- (1 to 128 of them, a letter or digit first)", name, t)
		}
		c.types = append(c.types, &eventType{name: name, goType: t, encode: encodeAs[T], decode: decodeAs[T]})
	})
}

// WithCodec sets the codec of what is appended to the feed (default
// MsgPack). What is already in the log is read by the codec it was written
// with.
func WithCodec(c Codec) FeedOption {
	return feedOption(func(cfg *feedConfig) { cfg.codec = c })
}

// ReadCodecs names further codecs that the feed's older commits use. MsgPack
// and JSON are always known.
func ReadCodecs(cs ...Codec) FeedOption {
	return feedOption(func(cfg *feedConfig) { cfg.codecs = append(cfg.codecs, cs...) })
}

func encodeAs[T any](c Codec, dst []byte, v any) (out []byte, err error) {
	defer guard("encoding", &err)
	t := v.(T)
	// Through the pointer, so that methods with a pointer receiver are found
	// as they are when decoding.
	return c.Append(dst, &t)
}

func decodeAs[T any](c Codec, data []byte) (v any, err error) {
	defer guard("decoding", &err)
	var t T
	if err := decodeBy(c, data, &t); err != nil {
		return nil, err
	}
	return t, nil
}

// newRegistry compiles the options of a feed. One that isn't owned is read only.
// memory is Options.MaxDecoded.
func newRegistry(feed string, opts []FeedOption, owned bool, memory int) (*registry, error) {
	cfg := feedConfig{codec: MsgPack}
	for _, o := range opts {
		if o == nil {
			cfg.problems.Add("a nil option")
			continue
		}
		o.applyFeed(&cfg)
	}
	r := &registry{
		byName: make(map[string]*eventType),
		byType: make(map[reflect.Type]*eventType),
		codecs: make(map[string]Codec),
		codec:  cfg.codec,
		open:   cfg.open,
	}
	for _, t := range cfg.types {
		r.addType(t, &cfg.problems)
	}
	r.compile(&cfg)
	if cfg.codec == nil {
		cfg.problems.Add("a nil codec")
		cfg.codec = MsgPack
	}
	if owned {
		cfg.storable()
	}
	for _, c := range append([]Codec{MsgPack, JSON, cfg.codec}, cfg.codecs...) {
		r.addCodec(c, &cfg.problems)
	}
	r.bound(memory)
	return r, cfg.problems.Err(fmt.Sprintf("eventlog: feed %q", feed), ErrInvalid)
}

// storable reports what the codec would lose of the types.
func (c *feedConfig) storable() {
	rules := storable.RulesOf(c.codec)
	for _, t := range c.types {
		if k := t.goType.Kind(); k == reflect.Pointer || k == reflect.Interface {
			continue // said before
		}
		for _, p := range storable.Check(t.goType, rules).Problems {
			c.problems.Add("event %q: %s", t.name, p)
		}
	}
}

func (r *registry) addType(t *eventType, p *problem.List) {
	if o, ok := r.byName[t.name]; ok {
		p.Add("event name %q is registered for %s and for %s", t.name, o.goType, t.goType)
		return
	}
	if o, ok := r.byType[t.goType]; ok {
		p.Add("type %s is registered as %q and as %q: give one of them as an Alias, which is read and not appended", t.goType, o.name, t.name)
		return
	}
	r.byName[t.name], r.byType[t.goType] = t, t
}

func (r *registry) addCodec(c Codec, p *problem.List) {
	if c == nil {
		p.Add("a nil codec")
		return
	}
	name := c.Name()
	if name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		p.Add("codec name %q: use lower-case letters, digits and '-'", name)
		return
	}
	if o, ok := r.codecs[name]; ok && reflect.TypeOf(o) != reflect.TypeOf(c) {
		p.Add("codec name %q is taken by %T: what it wrote would be read by %T", name, o, c)
		return
	}
	r.codecs[name] = c
}

// typeOf finds the registered type of a value that a caller wants to append.
func (r *registry) typeOf(feed string, v any) (*eventType, error) {
	t := reflect.TypeOf(v)
	if et, ok := r.byType[t]; ok {
		return et, nil
	}
	e := &TypeError{Feed: feed, Type: fmt.Sprint(t), class: ErrInvalidType}
	switch {
	case t == nil:
		e.Reason = "nil can't be an event"
	case t.Kind() == reflect.Pointer && r.byType[t.Elem()] != nil:
		e.Reason = "append the value, not a pointer to it"
	default:
		e.Reason = fmt.Sprintf("not registered: open the feed with eventlog.Type[%s](\"a-stable-name\")", t)
	}
	return nil, e
}
