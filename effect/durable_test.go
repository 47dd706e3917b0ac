package effect_test

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/rs/zerolog"
	"github.com/tidemark-es/tidemark/effect"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
)

// T2.17: what an effect follows from is on the disk before it is carried out.
// Where that can't be done, it waits, and is carried out when the log is well.
func TestNotBeforeItsCauseIsOnTheDisk(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a log can't be synced here, so effects follow acknowledgements (docs/durability.md): the other tests run")
	}
	o := eventlog.Options{App: "disk", Dir: t.TempDir()}
	log := logtest.Open(t, o)
	s := openShop(t, log, 1)
	s.order("ada")
	metas, err := filepath.Glob(filepath.Join(o.Dir, "jetstream", "*", "streams", "disk_orders", "meta.inf"))
	if err != nil || len(metas) != 1 {
		t.Fatal(metas, err)
	}
	if err := os.Rename(metas[0], metas[0]+".away"); err != nil { // so a sync fails
		t.Fatal(err)
	}
	why := make(told, 1000)
	logger := zerolog.New(why)
	p := newPost()
	s.run(p, effect.Options{Logger: &logger})
	for !strings.Contains(<-why, "could not be brought to the disk") {
	}
	if sent := p.ids(); len(sent) != 0 {
		t.Errorf("carried out: %v", sent)
	}
	s.close()
	_ = log.Close()
	if err := os.Rename(metas[0]+".away", metas[0]); err != nil {
		t.Fatal(err)
	}
	s = openShop(t, logtest.Open(t, o), 1)
	s.run(p, effect.Options{})
	<-p.news
}
