package eventlog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

// openOptions say how a feed's stream is opened.
type openOptions struct {
	recreate, repair bool
}

// Recreate lets the feed begin anew, without its events, where its stream is
// missing although the feed was here before (ErrMissing), and accept a stream
// that somebody deleted and created again (ErrRecreated). What was derived
// from the lost stream is refused by its incarnation, and rebuilt. It is for
// the one start at which somebody has decided so: a program that always gives
// it has no protection.
func Recreate() FeedOption {
	return feedOption(func(c *feedConfig) { c.open.recreate = true })
}

// Repair sets right, when the feed is opened, those settings of its stream
// that can be changed without a risk (Drift.Repairable).
func Repair() FeedOption {
	return feedOption(func(c *feedConfig) { c.open.repair = true })
}

// openStream finds or makes the feed's stream. What decides is the register
// of feeds (register.go): an entry is written before the stream is created,
// and confirmed before the feed is handed out. So a crash at any point leaves
// a feed that can be opened, and a stream that was ever used is known.
func (f *Feed) openStream(ctx context.Context, o openOptions) error {
	outer := ctx
	patience, begun := f.log.opts.RequestTimeout, time.Now()
	ctx, cancel := context.WithTimeout(ctx, openPatience*patience)
	defer cancel()
	for {
		again, err := f.tryOpen(ctx, o)
		if err == nil && !again {
			err = f.gaps.open(ctx)
		}
		switch {
		case isStreamProblem(err):
			return err
		case openAgain(err, time.Since(begun), patience) && pauseOpening(ctx):
		case err != nil:
			return f.serverError(outer, "open", err)
		case !again:
			return nil
		}
	}
}

// isStreamProblem knows the errors that say all already.
func isStreamProblem(err error) bool {
	for _, class := range []error{ErrForeign, ErrUnsafe, ErrMissing, ErrRecreated, ErrCorrupt} {
		if errors.Is(err, class) {
			return true
		}
	}
	return false
}

// tryOpen is one round; again says that another process came between.
func (f *Feed) tryOpen(ctx context.Context, o openOptions) (again bool, err error) {
	// The register first: a stream that was missing before it was registered
	// says nothing.
	reg, err := f.log.registered(ctx, f.name)
	if err != nil {
		return false, err
	}
	have, found, err := f.streamInfo(ctx)
	if err != nil {
		return false, err
	}
	if found {
		return f.useStream(ctx, o, have, reg)
	}
	return f.makeStream(ctx, o, reg)
}

// useStream opens the stream that is there.
func (f *Feed) useStream(ctx context.Context, o openOptions, have jetstream.StreamConfig, reg registration) (again bool, err error) {
	// Whatever the register says, a stream that isn't ours is left alone.
	if err := refusalOf(f, driftOf(have, f.streamConfig(""))); err != nil {
		return false, err
	}
	inc := have.Metadata[metaIncarnation]
	if reg.known() && reg.Incarnation != inc && !o.recreate {
		return false, &RecreatedError{Feed: f.name, Stream: f.stream, Known: reg.Incarnation, Found: inc}
	}
	if !reg.known() || reg.Incarnation != inc || reg.State != stateOpen {
		again, err = f.log.register(ctx, f.name, reg, registration{Incarnation: inc, State: stateOpen})
		if errors.Is(err, ErrDenied) && !reg.known() {
			// Who may only read uses what is there; a writer registers it.
			f.log.opts.Logger.Warn().Err(err).Str("feed", f.name).Msg("eventlog: the feed can't be registered")
			err = nil
		}
		if again || err != nil {
			return again, err
		}
	}
	if want := f.streamConfig(inc); o.repair && anyRepairable(driftOf(have, want)) {
		if have, err = f.updateStream(ctx, repaired(have, want)); err != nil {
			return false, err
		}
	}
	f.adopt(have)
	return false, nil
}

// makeStream creates the stream, where the feed isn't known to have had one.
func (f *Feed) makeStream(ctx context.Context, o openOptions, reg registration) (again bool, err error) {
	if reg.State == stateOpen && !o.recreate {
		return false, &MissingError{Feed: f.name, Stream: f.stream, Incarnation: reg.Incarnation, Since: reg.Since}
	}
	if reg.none && !o.recreate {
		if err := f.log.forgotten(ctx, f.name, f.stream); err != nil {
			return false, err
		}
	}
	if reg.State != stateCreating {
		// The next round finds the entry, ours or another process's: whoever
		// creates the stream gives it the incarnation that is registered.
		_, err := f.log.register(ctx, f.name, reg, registration{Incarnation: nuid.Next(), State: stateCreating})
		return err == nil, err
	}
	have, err := f.createStream(ctx, f.streamConfig(reg.Incarnation))
	if err != nil {
		return false, err
	}
	// What the server has counts: another process may have been faster.
	return f.useStream(ctx, o, have, reg)
}

// streamInfo asks for the stream's configuration.
func (f *Feed) streamInfo(ctx context.Context) (c jetstream.StreamConfig, found bool, err error) {
	var resp struct {
		Error  *jetstream.APIError    `json:"error"`
		Config jetstream.StreamConfig `json:"config"`
	}
	if err := f.ask(ctx, "STREAM.INFO."+f.stream, nil, &resp); err != nil {
		return c, false, err
	}
	if resp.Error != nil && resp.Error.ErrorCode == codeNoStream {
		return c, false, nil
	}
	if resp.Error != nil {
		return c, false, resp.Error
	}
	return resp.Config, true, nil
}

func (f *Feed) createStream(ctx context.Context, c jetstream.StreamConfig) (have jetstream.StreamConfig, err error) {
	have, err = f.changeStream(ctx, "CREATE", c)
	switch api, _ := errors.AsType[*jetstream.APIError](err); {
	case api == nil:
		return have, err
	case api.ErrorCode == codeStreamNameInUse:
		// Another process was faster, with other options; its stream counts.
		var found bool
		if have, found, err = f.streamInfo(ctx); err == nil && !found {
			err = fmt.Errorf("the stream was deleted at this moment: %w", ErrUnavailable)
		}
		return have, err
	case api.ErrorCode == codeSubjectsOverlap:
		return have, fmt.Errorf("eventlog: stream %s: %w: another stream takes its subjects %s>: %w", f.stream, ErrForeign, f.prefix, err)
	}
	return have, err
}

func (f *Feed) updateStream(ctx context.Context, c jetstream.StreamConfig) (jetstream.StreamConfig, error) {
	return f.changeStream(ctx, "UPDATE", c)
}

func (f *Feed) changeStream(ctx context.Context, op string, c jetstream.StreamConfig) (jetstream.StreamConfig, error) {
	var resp struct {
		Error  *jetstream.APIError    `json:"error"`
		Config jetstream.StreamConfig `json:"config"`
	}
	err := f.ask(ctx, "STREAM."+op+"."+f.stream, c, &resp)
	if err == nil && resp.Error != nil {
		err = resp.Error
	}
	return resp.Config, err
}

// streamConfig is what a feed's stream is created with: nothing in it drops
// an event by itself, and single events can't be deleted. Purging stays
// possible, since trimming the log below its snapshots needs it. It has no
// setting that the oldest supported server doesn't know: a server may refuse
// one (2.12), drop it (2.11), or take the stream offline where another server of
// the cluster is older. What newer servers have is switched on by its first use
// (Feed.allow), and at once on the server in this process, whose version is
// known.
func (f *Feed) streamConfig(incarnation string) jetstream.StreamConfig {
	c := jetstream.StreamConfig{
		Name:               f.stream,
		Description:        "Tidemark feed " + f.name + " of " + f.log.opts.App,
		Subjects:           []string{f.prefix + ">"},
		Retention:          jetstream.LimitsPolicy,
		Discard:            jetstream.DiscardNew,
		Storage:            jetstream.FileStorage,
		Replicas:           f.log.opts.Replicas,
		MaxMsgs:            -1,
		MaxBytes:           cmp.Or(f.log.opts.FeedMaxBytes, -1),
		MaxMsgsPerSubject:  -1,
		MaxMsgSize:         -1,
		MaxConsumers:       -1,
		Duplicates:         f.log.opts.DuplicateWindow,
		AllowDirect:        true,
		AllowAtomicPublish: f.log.embedded != nil,
		AllowBatchPublish:  f.log.embedded != nil,
		DenyDelete:         true,
		Metadata: map[string]string{
			metaFormat:      formatVersion,
			metaApp:         f.log.opts.App,
			metaFeed:        f.name,
			metaIncarnation: incarnation,
		},
	}
	if f.log.opts.Memory {
		// Another log, that connects to this one's server, finds it intended.
		c.Storage, c.Metadata[metaStorage] = jetstream.MemoryStorage, "memory"
	}
	return c
}

// adopt takes a stream that was checked as the feed's.
func (f *Feed) adopt(c jetstream.StreamConfig) {
	f.learn(c)
	f.incarnation = c.Metadata[metaIncarnation]
	// What is sent again must come while the stream still recognises it, and
	// the stream may have been made with another window than ours.
	f.resolve = min(f.log.opts.ResolveTimeout, c.Duplicates*2/3)
	f.replicated.Store(c.Replicas > 1)
	f.syncer.by, f.syncer.reason = f.log.howSynced(c)
	f.keeper.look(c)
}
