package eventlog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidemark-es/tidemark/internal/highwater"
	"github.com/tidemark-es/tidemark/internal/kv"
)

// markStore keeps the high-water marks of an application's feeds, apart from
// their streams: what damages or sets back a stream leaves its mark alone.
//
// On an embedded log that is a file for each feed beside the server's
// directory: one process has it, and a file that is replaced whole needs no
// recovery. On servers elsewhere it is a bucket of its own, written by
// compare-and-set. Rejected: the register of feeds, which would be written to
// all the time, and must not be lost with a mark.
type markStore interface {
	// load returns a feed's record, nil where there is none, and its revision.
	load(ctx context.Context, feed string) (data []byte, revision uint64, err error)
	// save replaces the record that has the revision. kv.ErrMoved: it has
	// another one by now.
	save(ctx context.Context, feed string, data []byte, revision uint64) (now uint64, err error)
	// drop removes a feed's record; "" those of all feeds.
	drop(ctx context.Context, feed string) error
}

// openMarks is the log's store; nil where nothing outlives the process.
func (l *Log) openMarks() markStore {
	switch {
	case l.opts.Memory:
		return nil
	case l.embedded != nil:
		return &markFiles{dir: filepath.Join(l.opts.Dir, marksDir), app: l.opts.App}
	}
	return &markBucket{l: l, bucket: kv.New(kv.Options{
		JetStream: l.js, Ask: l.ask, Timeout: l.opts.RequestTimeout,
		Bucket: l.opts.App + "_" + MarksBucket, Description: "Tidemark: how far the feeds of " + l.opts.App + " surely went",
		Replicas: l.opts.Replicas,
	})}
}

const (
	marksDir   = "marks"
	markSuffix = ".mark"

	// MarksBucket is what the name of the bucket with the high-water marks ends
	// with, after the application's name and an underscore. It is no part of a
	// backup: what is restored is shorter than what was lost.
	MarksBucket = "marks"
)

// markFiles is a directory of them, on an embedded log.
type markFiles struct {
	dir, app string

	// crash, in tests, ends a save before the given step.
	crash func(step string) error
}

func (s *markFiles) path(feed string) string {
	return filepath.Join(s.dir, s.app+"_"+feed+markSuffix)
}

func (s *markFiles) load(_ context.Context, feed string) ([]byte, uint64, error) {
	f, err := os.Open(s.path(feed))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = f.Close() }() // it was only read
	data := make([]byte, highwater.MaxSize+1)
	n, err := f.Read(data)
	if n == 0 && err != nil { // an empty file is a damaged one
		return []byte{}, 0, nil //nolint:nilerr // io.EOF, or a disk that can't be read: so says the decoder
	}
	return data[:n], 0, nil
}

// save writes a file beside the old one, brings it to the disk and puts it into
// the old one's place: a crash leaves the one or the other, whole.
func (s *markFiles) save(_ context.Context, feed string, data []byte, _ uint64) (uint64, error) {
	place := s.path(feed)
	temp := place + ".new"
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"directory", func() error { return os.MkdirAll(s.dir, 0o700) }},
		{"write", func() error { return writeSynced(temp, data) }},
		{"rename", func() error { return os.Rename(temp, place) }},
		{"sync", func() error { return syncDirectories(s.dir, filepath.Dir(s.dir)) }},
	} {
		if s.crash != nil {
			if err := s.crash(step.name); err != nil {
				return 0, err
			}
		}
		if err := step.do(); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

func writeSynced(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

// syncDirectories makes names last. Where a directory can't be synced, as on
// Windows, they last as long as the system's own promise goes.
func syncDirectories(dirs ...string) error {
	for _, dir := range dirs {
		if d, err := os.Open(dir); err == nil {
			_ = errors.Join(d.Sync(), d.Close())
		}
	}
	return nil
}

func (s *markFiles) drop(_ context.Context, feed string) error {
	paths := []string{s.path(feed)}
	if feed == "" {
		var err error
		if paths, err = filepath.Glob(filepath.Join(s.dir, s.app+"_*"+markSuffix)); err != nil {
			return err
		}
	}
	var errs []error
	for _, path := range paths {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, syncDirectories(s.dir))...)
}

// markBucket is a bucket of them, on servers elsewhere.
type markBucket struct {
	l      *Log
	bucket *kv.Bucket
}

func (s *markBucket) load(ctx context.Context, feed string) ([]byte, uint64, error) {
	e, err := s.bucket.Get(ctx, feed)
	return e.Data, e.Revision, err
}

func (s *markBucket) save(ctx context.Context, feed string, data []byte, revision uint64) (uint64, error) {
	name := s.l.opts.App + "_" + MarksBucket
	ctx, done := s.l.watchDenied(ctx, "$KV."+name+"."+feed, s.l.api+".$KV."+name+"."+feed,
		s.l.api+".STREAM.INFO.KV_"+name, s.l.api+".STREAM.CREATE.KV_"+name, s.l.api+".INFO")
	now, err := s.bucket.Swap(ctx, feed, data, revision)
	return now, done(err)
}

func (s *markBucket) drop(ctx context.Context, feed string) error {
	if feed == "" {
		err := s.l.js.DeleteKeyValue(ctx, s.l.opts.App+"_"+MarksBucket)
		if errors.Is(err, jetstream.ErrBucketNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
			return nil
		}
		return err
	}
	e, err := s.bucket.Get(ctx, feed)
	if err != nil || e.Data == nil {
		return err
	}
	return s.bucket.Drop(ctx, feed, e.Revision)
}

// ForgetMarks takes away what is remembered of how far the application's feeds
// surely went. It is for the process that is about to put an older log in the
// place of the one that is there, before it does: backup.Restore calls it. No
// feed of the log may be open, or ErrInvalid.
func (l *Log) ForgetMarks(ctx context.Context) error {
	if open := l.Feeds(); len(open) > 0 {
		return fmt.Errorf("eventlog: forget the marks: %w: feed %q is open", ErrInvalid, open[0].name)
	}
	if l.marks == nil {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, 4*l.opts.RequestTimeout, nats.ErrTimeout)
	defer cancel()
	if err := l.marks.drop(ctx, ""); err != nil {
		return l.registerError("forget the marks", "", err)
	}
	return nil
}

const (
	// A mark is written at most once in this time, and only where the log has
	// moved: what was acknowledged later isn't covered by it.
	markEveryEmbedded  = 2 * time.Second
	markEveryElsewhere = 5 * time.Second
)
