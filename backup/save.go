package backup

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/snapshot"
)

const (
	// rounds is how often all is saved where feeds are trimmed meanwhile, and
	// quiet, how often a register that is written to.
	rounds = 3
	quiet  = 20

	snapshotsBucket = "snapshots"
	markerBucket    = "restoring"
)

// Save writes a backup of the log's application into a directory that is empty,
// missing, or left by an interrupted Save. The application may run, in this
// process and in others. The order is: snapshots, each read back; registers
// (leases, dependants, feeds), each between two writes to it; feeds, cut at one
// time, so that no outcome of an effect and no reaction is ahead of its cause
// (cut.go); the manifest. Where a feed was trimmed meanwhile, all of that is
// done again.
//
// A unit whose snapshots can't be read is left out, with a note: it is derived
// from the feeds again. What it takes is the space of all streams, compressed
// by the server, and one read of them all; only streams' leaders are asked.
//
// Errors: ErrInvalid; ErrExists; ErrMoving where trimming, or writes to a
// register, came between again and again; one of the connection, such as
// missing permissions on $JS.API.STREAM.SNAPSHOT.> and $JS.SNAPSHOT.ACK.>;
// or of the file system. After any of them there is no backup.
func Save(ctx context.Context, log *eventlog.Log, dir string) (*Manifest, error) {
	if log == nil || dir == "" {
		return nil, fmt.Errorf("%w: a log and a directory are required", ErrInvalid)
	}
	if err := prepare(dir); err != nil {
		return nil, err
	}
	s := saving{log: log, t: newTransfer(log, dir), dir: dir}
	for range rounds {
		m, err := s.run(ctx)
		if errors.Is(err, errTrimmed) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("backup: %q: %w", log.App(), err)
		}
		if err := m.write(dir); err != nil {
			return nil, fmt.Errorf("backup: %q: %w", log.App(), err)
		}
		return m, nil
	}
	return nil, fmt.Errorf("%w: feeds of %q were trimmed", ErrMoving, log.App())
}

// errTrimmed says that a round has to be begun again.
var errTrimmed = errors.New("a feed was trimmed meanwhile")

type saving struct {
	log *eventlog.Log
	t   *transfer
	dir string
	m   *Manifest
}

func (s *saving) run(ctx context.Context) (*Manifest, error) {
	s.m = &Manifest{Format: formatVersion, App: s.log.App(), Server: s.log.Conn().ConnectedServerVersion(), Begun: time.Now().UTC(), Files: make(map[string]File)}
	found, err := streamsOf(ctx, s.log)
	if err != nil {
		return nil, err
	}
	first := make(map[string]uint64)
	found.registers = slices.DeleteFunc(found.registers, func(name string) bool { return s.leftOut(Stream{Name: name}) })
	feeds := found.feeds
	found.feeds = nil
	for _, name := range feeds {
		st, config, err := s.t.info(ctx, name)
		if err != nil {
			return nil, err
		}
		if !s.leftOut(Stream{Name: name, Feed: true, Config: config}) {
			found.feeds = append(found.feeds, name)
			first[name] = st.FirstSeq
		}
	}
	if found.snapshots {
		if err := s.snapshots(ctx); err != nil {
			return nil, err
		}
	}
	for _, name := range found.registers {
		if err := s.register(ctx, name); err != nil {
			return nil, err
		}
	}
	if err := s.feeds(ctx, found.feeds); err != nil {
		return nil, err
	}
	for _, name := range found.feeds {
		st, err := s.t.state(ctx, name)
		if err != nil {
			return nil, err
		}
		if st.FirstSeq != first[name] && st.FirstSeq > 1 {
			return nil, errTrimmed
		}
	}
	s.covered()
	s.restorable()
	s.m.Ended = time.Now().UTC()
	return s.m, nil
}

// leftOut notes streams that have the application's prefix, and aren't its own:
// Restore wouldn't take them.
func (s *saving) leftOut(st Stream) bool {
	why := foreign(s.m.App, st)
	if why != "" {
		s.m.Notes = append(s.m.Notes, fmt.Sprintf("stream %q is left out: it %s", st.Name, why))
	}
	return why != ""
}

// restorable notes settings that Restore refuses.
func (s *saving) restorable() {
	for _, st := range s.m.Streams {
		have, err := settingsOf(st)
		why := deviations(have, ownSettings(s.m.App, st, have))
		if err != nil {
			why = []string{fmt.Sprintf("its settings can't all be checked: %q", err.Error())}
		}
		if len(why) > 0 {
			s.m.Notes = append(s.m.Notes, fmt.Sprintf("stream %q is restored with RestoreOptions.Plain alone: %s", st.Name, strings.Join(why, ", ")))
		}
	}
}

// feeds saves the feeds, cut so that none is ahead of what it followed from.
func (s *saving) feeds(ctx context.Context, names []string) error {
	ends := make(map[string]State, len(names))
	for _, name := range names {
		st, err := s.t.state(ctx, name)
		if err != nil {
			return err
		}
		ends[name] = st
	}
	limits := limitsOf(ends)
	for _, name := range names {
		if err := s.stream(ctx, name, true); err != nil {
			return err
		}
		if err := s.cut(&s.m.Streams[len(s.m.Streams)-1], limits[name]); err != nil {
			return err
		}
	}
	return nil
}

// found are an application's streams.
type found struct {
	feeds, registers []string
	snapshots        bool // there is a bucket of them
}

func (f found) all(app string) []string {
	all := slices.Concat(f.registers, f.feeds)
	if f.snapshots {
		all = append(all, "KV_"+app+"_"+snapshotsBucket)
	}
	return all
}

// streamsOf lists the streams with the application's prefix.
func streamsOf(ctx context.Context, log *eventlog.Log) (f found, err error) {
	feeds, kv := log.App()+"_", "KV_"+log.App()+"_"
	names := log.JetStream().StreamNames(ctx)
	for name := range names.Name() {
		switch {
		case name == kv+snapshotsBucket:
			f.snapshots = true
		case name == kv+markerBucket, name == kv+eventlog.MarksBucket: // about this log, not of it
		case strings.HasPrefix(name, kv):
			f.registers = append(f.registers, name)
		case strings.HasPrefix(name, feeds):
			f.feeds = append(f.feeds, name)
		}
	}
	slices.Sort(f.feeds)
	slices.Sort(f.registers)
	return f, names.Err()
}

func (s *saving) stream(ctx context.Context, name string, feed bool) error {
	saved, file, err := s.t.save(ctx, name)
	if err != nil {
		return err
	}
	saved.Feed = feed
	s.m.Streams = append(s.m.Streams, saved)
	s.m.Files[saved.File] = file
	return nil
}

// register saves a bucket at one moment: the server's backup isn't taken at
// one, so it counts where nothing was written meanwhile.
func (s *saving) register(ctx context.Context, name string) error {
	for range quiet {
		saved, file, err := s.t.save(ctx, name)
		if err != nil {
			return err
		}
		now, err := s.t.state(ctx, name)
		if err != nil {
			return err
		}
		if now.same(saved.State) {
			s.m.Streams = append(s.m.Streams, saved)
			s.m.Files[saved.File] = file
			return nil
		}
	}
	return fmt.Errorf("%w: stream %s is written to all the time", ErrMoving, name)
}

// openStore opens the application's snapshots.
func openStore(ctx context.Context, log *eventlog.Log) (*snapshot.Store, error) {
	return snapshot.Open(ctx, snapshot.Options{
		App: log.App(), Conn: log.Conn(), JetStream: log.JetStream(), APIPrefix: log.APIPrefix(),
		Replicas: log.Replicas(), Memory: log.InMemory(), Logger: log.Logger(),
	})
}

// snapshots exports every unit, and notes what its newest snapshot says.
func (s *saving) snapshots(ctx context.Context) error {
	store, err := openStore(ctx, s.log)
	if err != nil {
		return err
	}
	units, err := store.Units(ctx)
	if err != nil {
		return err
	}
	to := &recorder{Target: snapshot.Dir(filepath.Join(s.dir, snapshotsDir)), files: s.m.Files}
	for _, unit := range units {
		r, err := store.Export(ctx, unit, to)
		if errors.Is(err, snapshot.ErrCorrupt) || errors.Is(err, snapshot.ErrUnknownFormat) || errors.Is(err, snapshot.ErrNotFound) {
			s.m.Notes = append(s.m.Notes, fmt.Sprintf("unit %q is left out: %v", unit, err))
			continue
		}
		if err != nil {
			return err
		}
		for _, why := range r.Skipped {
			s.m.Notes = append(s.m.Notes, fmt.Sprintf("unit %q: %s", unit, why))
		}
		s.m.Snapshots = append(s.m.Snapshots, describe(r.Newest))
	}
	return nil
}

// describe notes a manifest.
func describe(m *snapshot.Manifest) Snapshot {
	d := Snapshot{Unit: m.Unit, ID: m.ID.String(), At: maps.Collect(m.Tag.At.All()), Digests: make(map[string]string)}
	for _, member := range m.Members {
		d.Digests[member.Name] = fmt.Sprintf("%x", member.Digest)
	}
	return d
}

// covered notes snapshots that the saved feeds don't reach: those are ahead of
// a log that lost its tail, or behind one that was trimmed past them. A start
// refuses them, in the backup as in the original.
func (s *saving) covered() {
	prefix := s.log.App() + "_"
	for _, snap := range s.m.Snapshots {
		for _, st := range s.m.Streams {
			at, included := snap.At[strings.TrimPrefix(st.Name, prefix)]
			if !st.Feed || !included {
				continue
			}
			if at > st.State.LastSeq || at+1 < st.State.FirstSeq {
				s.m.Notes = append(s.m.Notes, fmt.Sprintf("unit %q: its snapshot is at %d of stream %s, which reaches from %d to %d",
					snap.Unit, at, st.Name, st.State.FirstSeq, st.State.LastSeq))
			}
		}
	}
}
