// Package permissions is the one table of what a user of a server has to be
// permitted. docs/operations.md is made of it, and integration runs each role
// with exactly what it lists.
package permissions

import (
	"fmt"
	"slices"
	"strings"
)

// Role is what a user does, and what it publishes to for that. In subjects,
// <app> is the application and <feed> each of its feeds that the role is about.
type Role struct {
	Name     string
	Who      string   // as the page says it
	Includes []string // other roles' lists
	Publish  []string
	Without  string // what becomes of it without; "" for an ErrDenied
}

// bucket are the subjects of a register that is read and written.
func bucket(name string, create bool) []string {
	b := []string{"$JS.API.STREAM.INFO.KV_<app>_" + name, "$JS.API.STREAM.MSG.GET.KV_<app>_" + name, "$KV.<app>_" + name + ".>"}
	if create {
		b = append(b, "$JS.API.STREAM.CREATE.KV_<app>_"+name)
	}
	return b
}

// Roles are all of them, in the order of the page.
var Roles = []Role{
	{
		Name: "read", Who: "to read and follow a feed that is there",
		Publish: []string{
			"$JS.API.INFO", "$JS.API.STREAM.INFO.<app>_<feed>", "$JS.API.STREAM.MSG.GET.<app>_<feed>", "$JS.API.STREAM.MSG.GET.KV_<app>_feeds", "$JS.API.STREAM.INFO.KV_<app>_feeds",
			"$JS.API.CONSUMER.CREATE.<app>_<feed>.>", "$JS.API.CONSUMER.MSG.NEXT.<app>_<feed>.*",
		},
	},
	{
		Name: "tidy", Who: "to end consumers at once",
		Publish: []string{"$JS.API.CONSUMER.DELETE.<app>_<feed>.*"}, Without: "they stay for 30 s",
	},
	{
		Name: "keys", Who: "to read a key without a consumer",
		Publish: []string{"$JS.API.DIRECT.GET.<app>_<feed>"}, Without: "keys are read by consumers",
	},
	{
		Name: "bulk", Who: "to read long distances at full speed",
		Publish: []string{"$JS.API.STREAM.SNAPSHOT.<app>_<feed>", "$JS.SNAPSHOT.ACK.<app>_<feed>.>"}, Without: "they are read by a consumer, more slowly; logged once a feed",
	},
	{
		Name: "notice", Who: "to notice that a log was set back",
		Publish: []string{"$JS.API.STREAM.MSG.GET.KV_<app>_marks"}, Without: "it isn't noticed by its length",
	},
	{
		Name: "append", Who: "to append", Includes: []string{"read"},
		Publish: []string{"<app>.<feed>.>"},
	},
	{
		Name: "mark", Who: "to append, so that others notice what is set back", Includes: []string{"append", "notice"},
		Publish: []string{"$JS.API.STREAM.INFO.KV_<app>_marks", "$JS.API.STREAM.CREATE.KV_<app>_marks", "$KV.<app>_marks.>"}, Without: "the feed has no mark",
	},
	{
		Name: "create", Who: "to create a feed", Includes: []string{"read"},
		Publish: []string{
			"$JS.API.STREAM.CREATE.<app>_<feed>", "$JS.API.STREAM.CREATE.KV_<app>_feeds",
			"$JS.API.STREAM.INFO.KV_<app>_snapshots", "$KV.<app>_feeds.<feed>",
		},
	},
	{
		Name: "update", Who: "`Repair()`; the first transaction, tag or import of a feed on servers elsewhere", Includes: []string{"append"},
		Publish: []string{"$JS.API.STREAM.UPDATE.<app>_<feed>"}, Without: "an import goes on, more slowly; the others are an `ErrDenied`",
	},
	{
		Name: "project", Who: "projections that are restored from snapshots", Includes: []string{"read"},
		Publish: []string{
			"$JS.API.STREAM.INFO.KV_<app>_snapshots", "$JS.API.STREAM.CREATE.KV_<app>_snapshots", "$JS.API.STREAM.MSG.GET.KV_<app>_snapshots",
			"$JS.API.DIRECT.GET.KV_<app>_snapshots.>", "$JS.API.STREAM.INFO.KV_<app>_leases", "$JS.API.STREAM.MSG.GET.KV_<app>_leases",
		},
	},
	{
		Name: "save", Who: "projections that save snapshots", Includes: []string{"project"},
		Publish: slices.Concat([]string{
			"$JS.API.STREAM.PURGE.KV_<app>_snapshots", "$JS.API.CONSUMER.CREATE.KV_<app>_snapshots.>", "$JS.API.CONSUMER.DELETE.KV_<app>_snapshots.*",
			"$JS.FC.KV_<app>_snapshots.>", "$KV.<app>_snapshots.>",
		}, bucket("leases", true), bucket("dependants", true)),
		Without: "a projection follows and serves, saves nothing, and who trims doesn't know of it",
	},
	{
		Name: "copy", Who: "to keep a second copy of the register of dependants",
		Publish: []string{"$JS.API.STREAM.UPDATE.KV_<app>_dependants"}, Without: "damage may take it",
	},
	{
		Name: "trim", Who: "`Runtime.Compact`, `Config.Compaction`", Includes: []string{"save"},
		Publish: []string{"$JS.API.STREAM.PURGE.<app>_<feed>"},
	},
	{
		Name: "correct", Who: "`Feed.Pass`, `Feed.AcceptGap`", Includes: []string{"read"},
		Publish: []string{"$KV.<app>_feeds.<feed>.gaps"},
	},
	{
		Name: "erase", Who: "`Feed.Erase`, `Feed.EraseAt`", Includes: []string{"correct"},
		Publish: []string{"$JS.API.STREAM.PURGE.<app>_<feed>"},
	},
	{
		Name: "delete", Who: "`Log.DeleteStream`, `Log.Forget`", Includes: []string{"read", "notice"},
		Publish: []string{"$JS.API.STREAM.DELETE.<app>_<feed>", "$KV.<app>_feeds.<feed>", "$JS.API.STREAM.PURGE.KV_<app>_marks"},
	},
	{
		Name: "effects", Who: "outboxes and process managers: of the feeds that they read, and of their own", Includes: []string{"save", "append"},
	},
	{
		Name: "adopt", Who: "`Log.Adopt` of the stream `<feed>`",
		Publish: []string{
			"$JS.API.INFO", "$JS.API.STREAM.INFO.<feed>", "$JS.API.STREAM.MSG.GET.<feed>",
			"$JS.API.CONSUMER.CREATE.<feed>.>", "$JS.API.CONSUMER.MSG.NEXT.<feed>.*", "$JS.API.CONSUMER.DELETE.<feed>.*", "$JS.API.DIRECT.GET.<feed>",
			"$JS.API.STREAM.MSG.GET.KV_<app>_feeds", "$JS.API.STREAM.INFO.KV_<app>_feeds",
		},
	},
	{
		Name: "backup", Who: "`backup.Save`: for its registers and snapshots, too",
		Publish: []string{
			"$JS.API.INFO", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.INFO.*", "$JS.API.STREAM.SNAPSHOT.*", "$JS.SNAPSHOT.ACK.>",
			"$JS.API.STREAM.MSG.GET.*", "$JS.API.DIRECT.GET.KV_<app>_snapshots.>", "$JS.API.CONSUMER.CREATE.KV_<app>_snapshots.>", "$JS.FC.KV_<app>_snapshots.>",
			"$JS.API.CONSUMER.DELETE.KV_<app>_snapshots.*",
		},
	},
	{
		Name: "restore", Who: "`backup.Restore`", Includes: []string{"backup"},
		Publish: []string{
			"$JS.API.STREAM.RESTORE.*", "$JS.SNAPSHOT.RESTORE.>", "$JS.API.STREAM.CREATE.*", "$JS.API.STREAM.DELETE.*", "$KV.<app>_snapshots.>", "$KV.<app>_restoring.>",
		},
	},
}

// Scope is whom a list is for.
type Scope struct {
	App   string
	Feeds []string
	// Domain is the JetStream domain of Options.Domain where the user connects
	// to a server of another domain, such as a leaf node. A server of the domain
	// itself has turned subjects into those without one before it looks at
	// permissions.
	Domain string
}

// Templates are the patterns of roles, with what they include.
func Templates(roles ...string) (patterns []string) {
	for _, name := range roles {
		r := roleOf(name)
		patterns = append(append(patterns, Templates(r.Includes...)...), r.Publish...)
	}
	slices.Sort(patterns)
	return slices.Compact(patterns)
}

// Publish are the subjects of roles.
func Publish(s Scope, roles ...string) []string { return Of(s, Templates(roles...)...) }

// Of are the subjects that patterns stand for.
func Of(s Scope, patterns ...string) (subjects []string) {
	for _, p := range patterns {
		subjects = append(subjects, s.subjects(p)...)
	}
	return subjects
}

func roleOf(name string) Role {
	for _, r := range Roles {
		if r.Name == name {
			return r
		}
	}
	panic("no role " + name)
}

func (s Scope) subjects(pattern string) (subjects []string) {
	if s.Domain != "" {
		prefix := "$JS." + s.Domain + ".API."
		if rest, ok := strings.CutPrefix(pattern, "$JS.API."); ok {
			pattern = prefix + rest
		} else if strings.HasPrefix(pattern, "$KV.") {
			pattern = prefix + pattern
		}
	}
	pattern = strings.ReplaceAll(pattern, "<app>", s.App)
	if !strings.Contains(pattern, "<feed>") {
		return []string{pattern}
	}
	for _, f := range s.Feeds {
		subjects = append(subjects, strings.ReplaceAll(pattern, "<feed>", f))
	}
	return subjects
}

// Page is the table of docs/operations.md.
func Page() string {
	var b strings.Builder
	b.WriteString("| what for | publish | without it |\n|---|---|---|\n")
	example := Scope{App: "a", Feeds: []string{"accounts"}}
	for _, r := range Roles {
		var words []string
		for _, name := range r.Includes {
			words = append(words, "what is listed "+roleOf(name).Who)
		}
		for _, s := range Of(example, r.Publish...) {
			words = append(words, "`"+s+"`")
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", strings.ReplaceAll(r.Who, "<feed>", "accounts"), strings.Join(words, ", "), r.Without)
	}
	return b.String()
}
