package kv

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Info is what the bucket's stream says of itself.
type Info struct {
	Now      time.Time         // by the server's clock
	Notes    map[string]string // see SetNote
	NoBucket bool              // there is no bucket: all else is zero
}

// Info asks the leader.
func (b *Bucket) Info(ctx context.Context) (Info, error) {
	reply, err := b.info(ctx)
	if err != nil || reply.Config == nil {
		return Info{NoBucket: err == nil}, err
	}
	var c struct {
		Metadata map[string]string `json:"metadata"`
	}
	if err := json.Unmarshal(reply.Config, &c); err != nil {
		return Info{}, b.failed("read the settings", "", err)
	}
	return Info{Now: reply.TS, Notes: c.Metadata}, nil
}

type infoReply struct {
	Error  *jetstream.APIError `json:"error"`
	TS     time.Time           `json:"ts"`
	Config json.RawMessage     `json:"config"`
}

// info is the stream's answer, without a configuration where there is no
// bucket.
func (b *Bucket) info(ctx context.Context) (reply infoReply, err error) {
	switch err = b.ask(ctx, "STREAM.INFO.", nil, &reply); {
	case err != nil:
	case reply.Error != nil && reply.Error.ErrorCode == codeNoStream:
		return infoReply{}, nil
	case reply.Error != nil:
		err = reply.Error
	case reply.Config == nil:
		err = errors.New("an answer without a configuration")
	}
	if err != nil {
		return infoReply{}, b.failed("ask for the settings", "", err)
	}
	return reply, nil
}

// SetNote keeps a text in the settings of the bucket's stream. The server has
// them in a file of their own, so damage that takes the records away leaves the
// notes: they are for a second copy of a record that is small and seldom
// written. There is no compare-and-set; of two at a time, one stays. It needs
// the permission to update the stream. The settings that this release doesn't
// know are left as they are.
func (b *Bucket) SetNote(ctx context.Context, name, text string) error {
	was, err := b.info(ctx)
	if err != nil {
		return err
	}
	config := make(map[string]json.RawMessage)
	if was.Config == nil {
		return b.failed("note", name, jetstream.ErrBucketNotFound)
	}
	if err := json.Unmarshal(was.Config, &config); err != nil {
		return b.failed("note", name, err)
	}
	notes := make(map[string]string)
	if m, ok := config["metadata"]; ok {
		if err := json.Unmarshal(m, &notes); err != nil {
			return b.failed("note", name, err)
		}
	}
	// Names that begin so are the server's own words about the stream.
	maps.DeleteFunc(notes, func(k, _ string) bool { return len(k) > 6 && k[:6] == "_nats." })
	notes[name] = text
	if config["metadata"], err = json.Marshal(notes); err != nil {
		return b.failed("note", name, err)
	}
	var reply struct {
		Error *jetstream.APIError `json:"error"`
	}
	err = b.ask(ctx, "STREAM.UPDATE.", config, &reply)
	if err == nil && reply.Error != nil {
		err = reply.Error
	}
	if err != nil {
		return b.failed("note", name, err)
	}
	return nil
}
