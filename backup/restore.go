package backup

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/grace"
	"github.com/tidemark-es/tidemark/internal/kv"
	"github.com/tidemark-es/tidemark/snapshot"
)

// Restore makes a log's application what a backup says. The log is a freshly
// opened one of the same application name, on another server or after the
// application's streams were deleted, and no feed of it is open yet; replicas
// and storage are those that the log was opened with. Every file is checked
// before anything is written. A feed register comes first, so that an
// application that is started too early finds its feeds missing (ErrMissing)
// and doesn't begin anew; then feeds, then snapshots, each of which is read
// back and compared with the digests in the backup.
//
// A restore that was interrupted is completed by the same call: what stands is
// kept, what stands half is made again. A bucket, <app>_restoring, says until
// the end which backup it was.
//
// Where the server is of an older minor version than the one that the backup is
// of, the manifest's last note says so, and a failure too.
//
// A backup may have been made by anybody, so all of it is compared with the
// application before anything is written: names of files and streams, each
// stream's settings, and what its file holds. A stream gets the settings that
// Tidemark creates it with, and may differ where that changes nothing of what is
// stored and where it goes (quotas, duplicate window, compression, metadata of
// others); anything else is refused. See [RestoreOptions.Plain].
//
// Errors: those of Verify; ErrInvalid where the backup is of another
// application; *RefusedError; *NotEmptyError; ErrDamaged where what stands
// afterwards isn't what was saved; snapshot.ErrNoMatch where a snapshot is larger
// than RestoreOptions.Limits allow; or one of the connection.
func Restore(ctx context.Context, log *eventlog.Log, dir string) (*Manifest, error) {
	return RestoreOptions{}.Restore(ctx, log, dir)
}

// RestoreOptions say how a backup is restored; the zero value is a good default.
type RestoreOptions struct {
	// Plain leaves out streams of the backup that aren't the application's own,
	// and gives the others Tidemark's own settings where the backup's are
	// refused: an operator who has set a republish or a placement sets it anew
	// afterwards.
	Plain bool
	// Limits of what is taken of the snapshots. The default of MaxBytes is that
	// of snapshot.Limits; transfer and time aren't bounded unless set.
	Limits snapshot.Limits
}

// Restore is the function [Restore], with options.
func (o RestoreOptions) Restore(ctx context.Context, log *eventlog.Log, dir string) (*Manifest, error) {
	if log == nil {
		return nil, fmt.Errorf("%w: nil log", ErrInvalid)
	}
	m, err := Open(dir)
	if err != nil {
		return nil, err
	}
	if m.App != log.App() {
		return nil, fmt.Errorf("%w: the backup is of application %.200q, the log of %q", ErrInvalid, m.App, log.App())
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	c := checking{m: m, root: root, plain: o.Plain}
	if err := c.checkFiles(); err != nil {
		return nil, err
	}
	if err := m.verify(ctx, root); err != nil {
		return nil, err
	}
	own, err := c.checked(ctx)
	if err != nil {
		return nil, err
	}
	older := ""
	if now := log.Conn().ConnectedServerVersion(); newerServer(m.Server, now) {
		older = fmt.Sprintf("the backup is of nats-server %.50q, and it is restored on %s: an older server may not take what a newer one has written", m.Server, now)
		m.Notes = append(m.Notes, older)
		logger := log.Logger()
		logger.Warn().Str("backup", m.Server).Str("server", now).Msg("backup: restored on an older server than it was made by")
	}
	r := restoring{log: log, t: newTransfer(log, dir), dir: dir, root: root, m: m, own: own, limits: o.Limits}
	if r.limits.MaxTransfer == 0 {
		r.limits.MaxTransfer = math.MaxInt64
	}
	r.limits.MaxTime = cmp.Or(r.limits.MaxTime, -1)
	if err := r.run(ctx); err != nil {
		if older != "" {
			err = fmt.Errorf("%w (%s)", err, older)
		}
		return nil, fmt.Errorf("backup: restore of %q: %w", m.App, err)
	}
	return m, nil
}

// newerServer compares minor versions: what is stored changes with these. One
// that can't be read is taken for no newer.
func newerServer(saved, now string) bool {
	var a, b [2]int
	if _, err := fmt.Sscanf(saved, "%d.%d", &a[0], &a[1]); err != nil {
		return false
	}
	if _, err := fmt.Sscanf(now, "%d.%d", &b[0], &b[1]); err != nil {
		return false
	}
	return slices.Compare(a[:], b[:]) > 0
}

type restoring struct {
	log *eventlog.Log
	t   *transfer
	dir string
	m   *Manifest

	root   *os.Root                          // of dir
	own    map[string]jetstream.StreamConfig // the streams to restore
	limits snapshot.Limits
}

func (r *restoring) run(ctx context.Context) error {
	there, err := r.begin(ctx)
	if err != nil {
		return err
	}
	for _, s := range r.m.Streams {
		if _, ok := r.own[s.Name]; !ok {
			continue
		}
		if err := r.stream(ctx, s, slices.Contains(there, s.Name)); err != nil {
			return err
		}
	}
	if err := r.snapshots(ctx); err != nil {
		return err
	}
	// All stands; that it says so is no more interrupted.
	last, cancel := grace.After(ctx, patience)
	defer cancel()
	return r.log.JetStream().DeleteKeyValue(last, r.m.App+"_"+markerBucket)
}

// begin makes sure that nothing is there, or what an interrupted restore of
// the same backup left, and returns that.
func (r *restoring) begin(ctx context.Context) ([]string, error) {
	marker := kv.New(kv.Options{
		JetStream: r.log.JetStream(), APIPrefix: r.log.APIPrefix(), Bucket: r.m.App + "_" + markerBucket,
		Description: "a restore that isn't complete", Replicas: r.log.Replicas(), Memory: r.log.InMemory(),
	})
	e, err := marker.Get(ctx, "backup")
	if err != nil {
		return nil, err
	}
	f, err := streamsOf(ctx, r.log)
	if err != nil {
		return nil, err
	}
	there := f.all(r.m.App)
	switch {
	case e.Data == nil && len(there) > 0:
		return nil, &NotEmptyError{App: r.m.App, Streams: there}
	case e.Data == nil:
		// What is remembered of a log that was here goes first, so that at no
		// time a feed stands that it contradicts.
		if err := r.log.ForgetMarks(ctx); err != nil {
			return nil, err
		}
		_, err = marker.Swap(ctx, "backup", []byte(r.m.id), e.Revision)
		return nil, err
	case string(e.Data) != r.m.id:
		return nil, &NotEmptyError{App: r.m.App, Streams: append(there, "KV_"+r.m.App+"_"+markerBucket), Reason: "a restore of another backup was begun"}
	}
	return there, nil
}

// stream makes one stream, unless it stands already.
func (r *restoring) stream(ctx context.Context, s Stream, there bool) error {
	if there {
		now, err := r.t.state(ctx, s.Name)
		switch {
		case err != nil:
			return err
		case now.same(s.State):
			return nil
		case now.LastSeq > s.State.LastSeq || now.LastSeq == s.State.LastSeq && now.Messages > s.State.Messages:
			return &NotEmptyError{App: r.m.App, Streams: []string{s.Name}, Reason: "it was written to since the restore began"}
		}
		if err := r.log.JetStream().DeleteStream(ctx, s.Name); err != nil {
			return err
		}
	}
	config := r.own[s.Name]
	config.Replicas, config.Storage = max(1, r.log.Replicas()), jetstream.FileStorage
	if r.log.InMemory() {
		config.Storage = jetstream.MemoryStorage
	}
	if err := r.t.restore(ctx, r.root, s, config); err != nil {
		return err
	}
	now, err := r.t.state(ctx, s.Name)
	if err != nil {
		return err
	}
	if !now.same(s.State) {
		return fmt.Errorf("%w: stream %s has %d messages, %d to %d, and %d, %d to %d, were saved", ErrDamaged, s.Name,
			now.Messages, now.FirstSeq, now.LastSeq, s.State.Messages, s.State.FirstSeq, s.State.LastSeq)
	}
	return nil
}

// snapshots imports every unit and compares what stands with what was saved.
func (r *restoring) snapshots(ctx context.Context) error {
	if len(r.m.Snapshots) == 0 {
		return nil
	}
	store, err := openStore(ctx, r.log)
	if err != nil {
		return err
	}
	from := snapshot.Dir(filepath.Join(r.dir, snapshotsDir))
	for _, want := range r.m.Snapshots {
		// Which of them belong to the log was so decided there, and is again at
		// each start. The one that is told is what is wanted here.
		check := func(_ context.Context, m *snapshot.Manifest) error { return nil }
		if _, err := store.Import(ctx, want.Unit, from, snapshot.ImportOptions{Check: check, Limits: r.limits}); err != nil {
			return err
		}
		found, err := store.Candidates(ctx, want.Unit)
		if err != nil {
			return err
		}
		if len(found) == 0 || found[0].Manifest == nil {
			return fmt.Errorf("%w: unit %q isn't there", ErrDamaged, want.Unit)
		}
		got := describe(found[0].Manifest)
		if got.ID = want.ID; !same(got, want) {
			return fmt.Errorf("%w: unit %q is at %v with digests %v, and %v with %v was saved", ErrDamaged, want.Unit, got.At, got.Digests, want.At, want.Digests)
		}
	}
	return nil
}

func same(a, b Snapshot) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errors.Join(errX, errY) == nil && string(x) == string(y)
}

// Pending says whether a restore into the log's application was begun and
// isn't complete. Don't start the application then: call Restore again.
func Pending(ctx context.Context, log *eventlog.Log) (bool, error) {
	_, err := log.JetStream().Stream(ctx, "KV_"+log.App()+"_"+markerBucket)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return false, nil
	}
	return err == nil, err
}
