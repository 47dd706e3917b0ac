//go:build unix

package eventlog

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// An fsync that doesn't end holds a Synced append: Close says what it waits for,
// the directory stays locked, and what was acknowledged is in the log.
func TestFsyncStuckInClose(t *testing.T) {
	dir := t.TempDir()
	o := Options{App: "power", Dir: dir, ResolveTimeout: 200 * time.Millisecond, CloseTimeout: 200 * time.Millisecond}
	log, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	f, err := log.Feed(t.Context(), "blobs", Type[blob]("blob"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.AppendDraft(t.Context(), blobDraft("k", Acked, 1)); err != nil {
		t.Fatal(err)
	}
	d := watch(t, f)
	began, release := make(chan struct{}, 100), make(chan struct{})
	d.fail = func(string) error {
		began <- struct{}{}
		<-release
		return nil
	}
	synced := make(chan error, 1)
	go func() {
		_, err := f.AppendDraft(t.Context(), blobDraft("k", Synced, 1))
		synced <- err
	}()
	<-began
	for range 2 {
		if err := log.Close(); !errors.Is(err, ErrStuck) || !strings.Contains(err.Error(), "to be synced") || !strings.Contains(err.Error(), "stays locked") {
			t.Errorf("close: %v", err)
		}
	}
	if _, err := Open(t.Context(), o); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), "to be synced") {
		t.Errorf("opened: %v", err)
	}
	close(release)
	if err := <-synced; err != nil && !errors.Is(err, ErrNotSynced) && !errors.Is(err, ErrClosed) {
		t.Errorf("the append that waited: %v", err)
	}
	<-log.over // or the directory would be removed under the server
	if _, err := Open(t.Context(), o); !errors.Is(err, ErrInUse) {
		t.Errorf("opened after the server has ended: %v", err)
	}
}
