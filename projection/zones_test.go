package projection_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // the zones of the processes

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/projection"
)

// Processes in several time zones come to one state from one log, whichever
// way they come to it: rows, the changes that are told, digests.

// zoneVariable makes the test binary such a process: "<dir> <append> <replay>".
const zoneVariable = "TIDEMARK_ZONE_CHILD"

type visited struct {
	At time.Time
	N  int
}

// ownTime encodes itself, as text in the zone in which it is.
type ownTime struct{ at time.Time }

func (o ownTime) MarshalText() ([]byte, error)     { return o.at.UTC().MarshalText() }
func (o *ownTime) UnmarshalText(text []byte) error { return o.at.UnmarshalText(text) }

type zoneRow struct {
	At    time.Time
	Maybe *time.Time `msgpack:",omitempty"`
	List  []time.Time
	Tags  []string `msgpack:",omitempty" json:",omitempty"`
	Named map[string]time.Time
	Score float64
	Day   int // of the row's time before: it depends on its zone
}

// zoned makes values in the zone of this process, and in others, of which many
// are the same: some look different, and some are stored in other bytes.
type zoned struct {
	rnd *rand.Rand
	e   eventlog.Event
	d   visited
}

func (z zoned) time() time.Time {
	at := z.d.At.Truncate(24 * time.Hour)
	switch z.rnd.IntN(5) {
	case 0:
		return at.Local()
	case 1:
		return time.Unix(at.Unix(), 0)
	case 2:
		return at.In(time.FixedZone("somewhere", 3600*(1+z.rnd.IntN(5))))
	case 3:
		return z.e.Time.Truncate(1000 * time.Hour).Local()
	}
	return at
}

func (z zoned) float() float64 {
	return []float64{0, math.Copysign(0, -1), 1, 1, 2}[z.rnd.IntN(5)]
}

func (z zoned) row(old zoneRow) zoneRow {
	r := zoneRow{At: z.time(), Score: z.float(), Day: old.At.Day() + 100*old.At.Hour()}
	if z.rnd.IntN(2) == 0 {
		at := z.time()
		r.Maybe = &at
	}
	switch z.rnd.IntN(4) {
	case 0:
		r.List, r.Tags, r.Named = []time.Time{}, []string{}, map[string]time.Time{}
	case 1:
		r.List, r.Named = []time.Time{z.time(), z.time()}, map[string]time.Time{"a": z.time()}
	}
	return r
}

// zoneTable adds a table of values of one type, with what is told of it.
func zoneTable[V any](all *[]projection.Projection, feed *eventlog.Feed, name string, value func(z zoned, old V) V, opts ...projection.TableOption) {
	t := projection.NewTable[string, V](name, opts...)
	projection.On(t, feed, func(tx *projection.Tx[string, V], e eventlog.Event, d visited) error {
		z := zoned{rand.New(rand.NewPCG(e.Seq, 1)), e, d}
		tx.Put(e.Key, value(z, tx.Value(e.Key)))
		return nil
	})
	type told struct {
		N    int
		Last V
	}
	moves := projection.NewTable[string, told](name+"-moves", opts...)
	projection.OnChange(moves, t, func(tx *projection.Tx[string, told], c projection.Change[string, V]) error {
		tx.Put(c.Key, told{tx.Value(c.Key).N + 1, c.New})
		return nil
	})
	*all = append(*all, t, moves)
}

func zoneTables(feed *eventlog.Feed) (all []projection.Projection) {
	zoneTable(&all, feed, "rows", zoned.row)
	zoneTable(&all, feed, "rows-json", zoned.row, projection.Codec(eventlog.JSON))
	zoneTable(&all, feed, "times", func(z zoned, _ time.Time) time.Time { return z.time() })
	zoneTable(&all, feed, "times-json", func(z zoned, _ time.Time) time.Time { return z.time() }, projection.Codec(eventlog.JSON))
	zoneTable(&all, feed, "days", func(z zoned, old visited) visited {
		return visited{At: z.time(), N: old.At.Day()*100 + old.At.Hour() + z.d.At.Hour()}
	})
	zoneTable(&all, feed, "floats", func(z zoned, _ float64) float64 {
		if z.rnd.IntN(3) == 0 {
			return math.NaN()
		}
		return z.float()
	})
	zoneTable(&all, feed, "lists", func(z zoned, _ [][]int) [][]int {
		return [][][]int{nil, {}, {nil}, {{}}, {{1}}}[z.rnd.IntN(5)]
	})
	zoneTable(&all, feed, "maps", func(z zoned, _ map[string]*visited) map[string]*visited {
		return []map[string]*visited{nil, {}, {"a": nil}, {"a": {At: z.time()}}}[z.rnd.IntN(4)]
	})
	zoneTable(&all, feed, "any", func(z zoned, _ map[string]any) map[string]any {
		return map[string]any{"at": z.time(), "list": []any{z.time(), "a"}, "score": z.float()}
	})
	zoneTable(&all, feed, "own", func(z zoned, _ []ownTime) []ownTime { return []ownTime{{z.time()}} })
	return all
}

// zoneChild is such a process. It prints a line for each projection.
func zoneChild(args string) error {
	words := strings.Fields(args)
	n, err := strconv.Atoi(words[1])
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	log, err := eventlog.Open(ctx, eventlog.Options{App: "zones", Dir: words[0]})
	if err != nil {
		return err
	}
	defer log.Close()
	feed, err := log.Feed(ctx, "visits", eventlog.Type[visited]("visited"))
	if err != nil {
		return err
	}
	all := zoneTables(feed)
	rt, err := projection.Config{NoSnapshots: words[2] == "replay"}.Start(ctx, log, all...)
	if err != nil {
		return err
	}
	begin := time.Date(2020, 1, 1, 23, 0, 0, 0, time.UTC)
	for i := range n {
		// In the zone of this process, which JSON would have stored.
		at, err := feed.Append(ctx, fmt.Sprint("key", i%3), eventlog.ExpectAny, visited{begin.Add(time.Duration(i/10) * 24 * time.Hour).Local(), i})
		if err == nil {
			err = rt.Wait(ctx, at)
		}
		if err != nil {
			return err
		}
	}
	var lines []string
	for _, s := range rt.Metrics() {
		_, digest, err := rt.Digest(ctx, s.Projection)
		if err != nil {
			return err
		}
		lines = append(lines, fmt.Sprintf("%s %s from=%s", s.Projection, digest, s.Recovery.Source))
	}
	slices.Sort(lines)
	for _, p := range all {
		if t, ok := p.(*projection.Table[string, zoneRow]); ok {
			for _, k := range []string{"key0", "key1", "key2"} {
				row, _ := t.Get(k)
				text, err := json.Marshal(row)
				if err != nil {
					return err
				}
				lines = append(lines, fmt.Sprintf("%s %s %s", t.Name(), k, text))
			}
		}
	}
	fmt.Println(strings.Join(lines, "\n"))
	return rt.Close()
}

func TestZones(t *testing.T) {
	dir := t.TempDir()
	in := func(zone string, n int, how string) []string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), "TZ="+zone, fmt.Sprintf("%s=%s %d %s", zoneVariable, dir, n, how))
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s, %s: %v\n%s", zone, how, err, stderr.Bytes())
		}
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		for i, l := range lines {
			state, source, has := strings.Cut(l, " from=")
			if want := map[string]string{"replay": string(projection.FromReplay), "restore": string(projection.FromSnapshot)}[how]; has && want != "" && source != want {
				t.Errorf("%s, %s: %s", zone, how, l)
			}
			lines[i] = state
		}
		return lines
	}
	in("America/Los_Angeles", 40, "live")
	live := in("Asia/Kolkata", 40, "restore")
	restored := in("America/Los_Angeles", 0, "restore")
	replayed := in("UTC", 0, "replay")
	if len(live) < 20 {
		t.Fatalf("only %q", live)
	}
	for i := range live {
		if live[i] != restored[i] || live[i] != replayed[i] {
			t.Errorf("live     %s\nrestored %s\nreplayed %s", live[i], restored[i], replayed[i])
		}
	}
}
