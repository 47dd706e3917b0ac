package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tidemark-es/tidemark/eventlog"
)

const (
	chunkBytes = 128 << 10
	// patience is how long the server may be silent; it gives up on a silent
	// client after 5 s.
	patience = 15 * time.Second
)

// transfer moves streams between a server and files, by the server's own
// backup: messages with their sequences, times, subjects and headers, and the
// settings. Only a stream's leader answers.
type transfer struct {
	nc  *nats.Conn
	js  jetstream.JetStream
	api string
	dir string
}

func newTransfer(log *eventlog.Log, dir string) *transfer {
	return &transfer{nc: log.Conn(), js: log.JetStream(), api: log.APIPrefix(), dir: dir}
}

// ask sends a request of the JetStream API; reply has an "error" itself where
// it is interested in more than that.
func (t *transfer) ask(ctx context.Context, subject string, request []byte, reply any) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	m, err := t.nc.RequestWithContext(ctx, subject, request)
	if err != nil {
		return fmt.Errorf("%.200q: %w", subject, err)
	}
	return answer(subject, m.Data, reply)
}

func answer(subject string, data []byte, reply any) error {
	var failed struct {
		Error *jetstream.APIError `json:"error"`
	}
	err := json.Unmarshal(data, &failed)
	if err == nil && failed.Error != nil {
		err = failed.Error
	}
	if err == nil && reply != nil {
		err = json.Unmarshal(data, reply)
	}
	if err != nil {
		return fmt.Errorf("%.200q: %w", subject, err)
	}
	return nil
}

// state asks for a stream's extent.
func (t *transfer) state(ctx context.Context, name string) (State, error) {
	st, _, err := t.info(ctx, name)
	return st, err
}

// info asks for its settings too.
func (t *transfer) info(ctx context.Context, name string) (State, json.RawMessage, error) {
	var info struct {
		State  jetstream.StreamState `json:"state"`
		Config json.RawMessage       `json:"config"`
	}
	err := t.ask(ctx, t.api+".STREAM.INFO."+name, nil, &info)
	return stateOf(info.State), info.Config, err
}

// save writes a stream's backup.
func (t *transfer) save(ctx context.Context, name string) (s Stream, f File, err error) {
	s = Stream{Name: name, File: path.Join(streamsDir, name)}
	sub, err := t.nc.SubscribeSync(t.nc.NewInbox())
	if err != nil {
		return s, f, err
	}
	defer func() { _ = sub.Unsubscribe() }() // the server notices, and ends it
	request, err := json.Marshal(map[string]any{"deliver_subject": sub.Subject, "no_consumers": true, "chunk_size": chunkBytes})
	if err != nil {
		return s, f, err
	}
	var begun struct {
		Config json.RawMessage       `json:"config"`
		State  jetstream.StreamState `json:"state"`
	}
	if err := t.ask(ctx, t.api+".STREAM.SNAPSHOT."+name, request, &begun); err != nil {
		return s, f, err
	}
	s.Config, s.State = begun.Config, stateOf(begun.State)
	w, err := create(t.dir, s.File)
	if err != nil {
		return s, f, err
	}
	if err := receive(ctx, sub, w); err != nil {
		w.drop()
		return s, f, fmt.Errorf("stream %s: %w", name, err)
	}
	f, err = w.finish()
	return s, f, err
}

// receive writes chunks until the server says that it has sent all.
func receive(ctx context.Context, sub *nats.Subscription, w io.Writer) error {
	for {
		wait, cancel := context.WithTimeout(ctx, patience)
		m, err := sub.NextMsgWithContext(wait)
		cancel()
		if err != nil {
			return fmt.Errorf("the server's backup stopped: %w", err)
		}
		if len(m.Data) == 0 {
			if status := m.Header.Get("Status"); status != "" && status != "204" {
				return fmt.Errorf("the server's backup failed: %s %s", status, m.Header.Get("Description"))
			}
			return nil
		}
		if _, err := w.Write(m.Data); err != nil {
			return err
		}
		if m.Reply != "" {
			if err := m.Respond(nil); err != nil {
				return err
			}
		}
	}
}

// restore makes a stream from its backup; config replaces the stored one. It
// must not exist.
func (t *transfer) restore(ctx context.Context, root *os.Root, s Stream, config jetstream.StreamConfig) (err error) {
	f, err := root.Open(filepath.FromSlash(s.File))
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	request, err := json.Marshal(map[string]any{"config": config, "state": s.State})
	if err != nil {
		return err
	}
	var to struct {
		Subject string `json:"deliver_subject"`
	}
	if err := t.ask(ctx, t.api+".STREAM.RESTORE."+s.Name, request, &to); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			// A chunk that wants no answer ends the server's restore, which would
			// wait for 5 s else, and be in the way of the next one.
			_ = t.nc.Publish(to.Subject, nil)
		}
	}()
	chunk := make([]byte, min(chunkBytes, t.nc.MaxPayload()))
	for {
		n, err := io.ReadFull(f, chunk)
		if n > 0 {
			if err := t.send(ctx, to.Subject, chunk[:n]); err != nil {
				return fmt.Errorf("stream %s: %w", s.Name, err)
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	// The last one is answered when the stream stands, which takes as long as
	// there is to be written.
	ended, cancel := context.WithTimeout(ctx, time.Minute+time.Duration(min(s.State.Bytes>>20, 1<<30))*100*time.Millisecond)
	defer cancel()
	m, err := t.nc.RequestWithContext(ended, to.Subject, nil)
	if err != nil {
		return fmt.Errorf("stream %s: the server's restore stopped: %w", s.Name, err)
	}
	return answer(s.Name, m.Data, nil)
}

// send hands a chunk over; an answer that isn't empty is an error.
func (t *transfer) send(ctx context.Context, subject string, chunk []byte) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	m, err := t.nc.RequestWithContext(ctx, subject, chunk)
	if err != nil {
		return fmt.Errorf("the server's restore stopped: %w", err)
	}
	if len(m.Data) > 0 {
		return answer("restore", m.Data, nil)
	}
	return nil
}
