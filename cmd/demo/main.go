// Command demo turns the history of a Git repository into an event log, and
// keeps statistics of it as projections: who wrote what, which files change,
// who owns which directory, and when the work is done. Run it twice: the
// second run restores the statistics from a snapshot and reads only what is
// new.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/rs/zerolog"
	"github.com/tidemark-es/tidemark/cmd/demo/internal/githist"
	"github.com/tidemark-es/tidemark/cmd/demo/internal/term"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/projection"
)

type flags struct {
	repo, data, url string
	json, fresh     bool
	verbose         bool
	top             int
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is main without the process: it returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr *os.File) int {
	f, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		return 2
	}
	err = demo(ctx, f, stdout, stderr)
	if err == nil {
		return 0
	}
	if ctx.Err() != nil {
		fmt.Fprintln(stderr, "demo: interrupted; what was imported is kept: run it again to go on")
		return 130
	}
	style := term.Detect(stderr).Style()
	fmt.Fprintf(stderr, "%s %s\n", style.Red("demo:"), term.Escape(err.Error()))
	if h := help(err); h != "" {
		fmt.Fprintln(stderr, h)
	}
	return 1
}

func parse(args []string, stderr io.Writer) (f flags, err error) {
	fs := flag.NewFlagSet("demo", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.StringVar(&f.repo, "repo", ".", "the repository, or a directory in it; bare ones too")
	fs.StringVar(&f.data, "data", "", "keep the logs below this directory, one for each repository (default: the user's cache directory)")
	fs.StringVar(&f.url, "url", "", "use an external NATS server with JetStream, nats://host:port, instead of the embedded one")
	fs.BoolVar(&f.json, "json", false, "print one JSON object")
	fs.BoolVar(&f.fresh, "fresh", false, "forget what was imported and import again")
	fs.BoolVar(&f.verbose, "v", false, "log what happens to standard error")
	fs.IntVar(&f.top, "top", 10, "rows in each table")
	fs.Usage = func() {
		fmt.Fprintln(stderr, "demo imports the history of a Git repository as an event log and shows statistics of it.\n\nUsage: go run ./cmd/demo [flags]")
		fs.PrintDefaults()
	}
	if err := fs.Parse(args); err != nil {
		return f, err
	}
	switch {
	case fs.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q: name the repository with -repo", fs.Arg(0))
	case f.top < 1:
		err = errors.New("-top must be at least 1")
	}
	if err != nil {
		fmt.Fprintln(stderr, "demo:", term.Escape(err.Error()))
	}
	return f, err
}

func help(err error) string {
	switch {
	case errors.Is(err, errRewritten):
		return "The log keeps what it holds. To import the new history instead, run again with -fresh."
	case errors.Is(err, eventlog.ErrInUse):
		return "Another demo is running on this log: wait for it, or use another -data."
	case errors.Is(err, eventlog.ErrTrimmed), errors.Is(err, eventlog.ErrForeign):
		return "To import the history again, run with -fresh."
	}
	return ""
}

func demo(ctx context.Context, f flags, stdout, stderr *os.File) (err error) {
	repo, err := githist.Open(ctx, f.repo)
	if err != nil {
		return err
	}
	where, err := placeOf(repo.Path(), f.data, f.url)
	if err != nil {
		return err
	}
	if f.fresh {
		if err := where.clear(ctx); err != nil {
			return err
		}
	}
	o := where.options()
	if f.verbose {
		o.Logger = zerolog.New(zerolog.ConsoleWriter{Out: stderr, TimeFormat: time.TimeOnly}).With().Timestamp().Logger()
	}
	s := session{repo: repo, where: where, flags: f, out: stdout, err: stderr}
	begun := time.Now()
	if s.log, err = eventlog.Open(ctx, o); err != nil {
		return err
	}
	s.opening = time.Since(begun)
	defer func() { err = errors.Join(err, s.log.Close()) }()
	return s.run(ctx)
}

// session is one run of the demo on an open log.
type session struct {
	repo    *githist.Repo
	where   place
	flags   flags
	log     *eventlog.Log
	out     *os.File
	err     *os.File
	opening time.Duration

	feeds    feeds
	views    views
	imported int64
	status   []projection.Status
}

func (s *session) run(ctx context.Context) (err error) {
	if s.feeds, err = openFeeds(ctx, s.log); err != nil {
		return err
	}
	s.views = newViews(s.feeds)
	rt, err := projection.Start(ctx, s.log, s.views.unit())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rt.Close()) }()
	if err := s.importNew(ctx); err != nil {
		return err
	}
	if err := s.await(ctx, rt); err != nil {
		return err
	}
	if s.status, err = rt.Status(ctx); err != nil {
		return err
	}
	// Saved before anything is printed: who pages through the output, or cuts
	// it short, ends the process early.
	at := rt.Timeframe()
	if err := rt.Close(); err != nil {
		return err
	}
	if s.flags.json {
		return s.printJSON(at)
	}
	remembered, err := s.fullReplay(ctx)
	if err != nil {
		return err
	}
	return s.printTables(at, remembered)
}

// importNew imports what the log doesn't have.
func (s *session) importNew(ctx context.Context) error {
	im := importer{repo: s.repo, feeds: s.feeds, done: func(int64) {}}
	p, err := im.plan(ctx)
	if err != nil || p.total == 0 {
		return err
	}
	var bar *term.Progress
	if !s.flags.json {
		bar = term.NewProgress(s.err, term.Detect(s.err), term.ProgressOptions{Label: "importing", Unit: "commits", Total: p.total})
	}
	im.done = bar.Add
	err = im.run(ctx, p)
	bar.Close()
	s.imported = im.imported
	return err
}

// await waits until the projections have applied all that the log holds.
func (s *session) await(ctx context.Context, rt *projection.Runtime) error {
	for _, f := range []*eventlog.Feed{s.feeds.commits, s.feeds.changes} {
		st, err := f.State(ctx)
		if err != nil {
			return err
		}
		if err := rt.Wait(ctx, eventlog.Position{Feed: f.Name(), Seq: st.Last}); err != nil {
			return err
		}
	}
	return nil
}

// fullReplay returns how long it takes to make the statistics without a
// snapshot. It is measured once, and again when the log has doubled.
func (s *session) fullReplay(ctx context.Context) (memory, error) {
	m := s.where.recall()
	events, err := s.log.Heads(ctx)
	if err != nil {
		return m, err
	}
	var total uint64
	for _, n := range events.All() {
		total += n
	}
	if m.ReplayEvents > 0 && total < 2*m.ReplayEvents {
		return m, nil
	}
	begun := time.Now()
	rt, err := projection.Config{NoSnapshots: true}.Start(ctx, s.log, newViews(s.feeds).unit())
	if err != nil {
		return m, err
	}
	m = memory{ReplayEvents: total, Replay: time.Since(begun)}
	return m, errors.Join(rt.Close(), s.where.remember(m))
}
