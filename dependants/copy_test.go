package dependants_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/tidemark-es/tidemark/dependants"
	"github.com/tidemark-es/tidemark/eventlog"
)

// Any bit of the register's file is flipped, after an orderly end and after
// one that wasn't: whoever was registered still holds the log. The next write
// stores that again, or is refused where the server can't remove the damaged
// record.
func TestDamagedRecord(t *testing.T) {
	for _, end := range []string{"closed", "killed"} {
		t.Run(end, func(t *testing.T) {
			template := t.TempDir()
			open := func(dir string) (*dependants.Registry, *eventlog.Log) { return opened(t, dir) }
			r, log := open(template)
			ok(t, r.Register(t.Context(), dependants.Dependant{Name: "first", Needs: at(t, "a=1")}))
			ok(t, r.Register(t.Context(), dependants.Dependant{Name: "second", Needs: at(t, "a=5")}))
			ok(t, r.Advance(t.Context(), "second", at(t, "a=7")))
			ok(t, log.Close())
			msgs := filepath.Join("jetstream", "$G", "streams", "KV_app_dependants", "msgs")
			if end == "killed" {
				ok(t, os.Remove(filepath.Join(template, msgs, "index.db")))
			}
			block, err := os.ReadFile(filepath.Join(template, msgs, "1.blk"))
			ok(t, err)
			for _, place := range []int{30, len(block) / 2, len(block) - 100, len(block) - 4} {
				dir := filepath.Join(t.TempDir(), "store")
				ok(t, os.CopyFS(dir, os.DirFS(template)))
				block[place] ^= 4
				ok(t, os.WriteFile(filepath.Join(dir, msgs, "1.blk"), block, 0o600))
				block[place] ^= 4
				r, log := open(dir)
				if ds := list(t, r); len(ds) != 2 || !ds[0].Needs.Equal(at(t, "a=1")) || !ds[1].Needs.Equal(at(t, "a=7")) {
					t.Errorf("byte %d of %d: %+v", place, len(block), ds)
				}
				want := 3
				if err := r.Register(t.Context(), dependants.Dependant{Name: "third", Needs: at(t, "a=9")}); errors.Is(err, dependants.ErrCorrupt) {
					want = 2
				} else {
					ok(t, err)
				}
				ok(t, log.Close())
				r, log = open(dir)
				if ds := list(t, r); len(ds) != want {
					t.Errorf("byte %d of %d, after a write: %+v", place, len(block), ds)
				}
				ok(t, log.Close())
			}
		})
	}
}

func opened(t *testing.T, dir string) (*dependants.Registry, *eventlog.Log) {
	t.Helper()
	log, err := eventlog.Open(t.Context(), eventlog.Options{App: "app", Dir: dir})
	ok(t, err)
	r, err := dependants.New(dependants.Options{App: "app", JetStream: log.JetStream()})
	ok(t, err)
	return r, log
}

// A server that was killed between the two files of the bucket's settings leaves
// the bucket out when it starts: that isn't an application without dependants.
func TestBucketThatTheServerLeavesOut(t *testing.T) {
	dir := t.TempDir()
	r, log := opened(t, dir)
	ok(t, r.Register(t.Context(), dependants.Dependant{Name: "first", Needs: at(t, "a=1")}))
	ok(t, log.Close())
	sum := filepath.Join(dir, "jetstream", "$G", "streams", "KV_app_dependants", "meta.sum")
	for _, ask := range []func(r *dependants.Registry) (n int, err error){
		func(r *dependants.Registry) (int, error) {
			ds, err := r.List(t.Context())
			return len(ds), err
		},
		func(r *dependants.Registry) (n int, err error) {
			err = r.Trim(t.Context(), func(ds []dependants.Dependant) (map[string]dependants.Mark, error) {
				n = len(ds)
				return map[string]dependants.Mark{"a": {From: 1, Incarnation: "i"}}, nil
			})
			return n, err
		},
		func(r *dependants.Registry) (int, error) {
			marks, err := r.Trimmed(t.Context())
			return len(marks), err
		},
	} {
		ok(t, os.WriteFile(sum, []byte("0123456789abcdef"), 0o600))
		r, log := opened(t, dir)
		if n, err := ask(r); n != 1 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		ok(t, log.Close())
	}
}
