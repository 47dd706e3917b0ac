package eventlog

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
)

// A process that was killed has left the first message of a batch on its way,
// or one in the middle: neither is stored once another import has begun.
func TestImportZombie(t *testing.T) {
	log, err := Open(t.Context(), Options{App: "zombie", Memory: true})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	f, err := log.Feed(t.Context(), "accounts", Type[goldenOpened]("opened"))
	if err != nil {
		t.Fatal(err)
	}
	// The killed one: it has stored 0 and 1 as a batch that is still open.
	answers := make(chan string, 10)
	dead, err := f.openLink(func(_ uint64, data []byte, _ bool) { answers <- string(data) }, wireEnough)
	if err != nil {
		t.Fatal(err)
	}
	defer dead.close()
	open := newFastBatch(f, dead, 500)
	start := packOf(t, f, 0, 2).msg.with(headerImport, open.id())
	if err := open.append(&start); err != nil {
		t.Fatal(err)
	}
	for st, err := f.State(t.Context()); st.Last == 0; st, err = f.State(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
	}
	<-answers
	_, err = f.Import(t.Context(), func(yield func(Draft, error) bool) {
		for i := range 10 {
			if !yield(zombieDraft(i), nil) {
				return
			}
		}
	}, ImportOptions{Pack: 5})
	if err != nil {
		t.Fatal(err)
	}
	// What it had sent comes now: of the open batch, and of one that it was
	// about to open when the log ended at 1.
	if err := open.append(&packOf(t, f, 2, 4).msg); err != nil {
		t.Fatal(err)
	}
	late := newFastBatch(f, dead, 500)
	first := packOf(t, f, 4, 7).msg.with(nats.ExpectedLastSeqHdr, "1")
	if err := late.append(&first); err != nil {
		t.Fatal(err)
	}
	for refused := 0; refused < 2; {
		if strings.Contains(<-answers, `"error"`) {
			refused++
		}
	}
	var got []string
	for e, err := range f.Read(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, strings.TrimPrefix(e.ID(), "in/"))
	}
	if want := []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}; !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}

// startLink lets a late message overtake the first one of a careful batch.
type startLink struct {
	link
	overtake func()
}

func (l *startLink) publish(m *outgoing, token uint64) error {
	for _, h := range m.header {
		if h.name == nats.ExpectedLastSeqHdr && l.overtake != nil {
			l.overtake()
			l.overtake = nil
		}
	}
	return l.link.publish(m, token)
}

// The first message of a killed import's batch comes when the next has read
// the log already, and is about to begin.
func TestImportZombieStart(t *testing.T) {
	log, err := Open(t.Context(), Options{App: "zombie", Memory: true})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	f, err := log.Feed(t.Context(), "accounts", Type[goldenOpened]("opened"))
	if err != nil {
		t.Fatal(err)
	}
	opts, err := ImportOptions{Pack: 5}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	im, err := f.newImporter(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	defer im.link.close()
	inner := im.link
	im.link = &startLink{link: inner, overtake: func() {
		late := newFastBatch(f, inner, 500)
		if err := late.append(&packOf(t, f, 0, 3).msg); err != nil {
			t.Error(err)
		}
	}}
	in := newInlet()
	defer in.stop()
	for i := range 10 {
		in.put(zombieDraft(i), nil)
	}
	in.close()
	if err := im.run(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	var got []string
	for e, err := range f.Read(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, strings.TrimPrefix(e.ID(), "in/"))
	}
	if want := []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}; !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}

func zombieDraft(i int) Draft {
	return Draft{Key: "k", ID: fmt.Sprint("in/", i), Events: []any{goldenOpened{fmt.Sprint(i)}}}
}

func packOf(t *testing.T, f *Feed, from, to int) *importCommit {
	t.Helper()
	var ds []importDraft
	for i := from; i < to; i++ {
		ds = append(ds, importDraft{zombieDraft(i), uint64(i)})
	}
	c, err := (&importer{f: f}).encode(ds)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
