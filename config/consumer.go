package config

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"qsuper/health"
	"qsuper/internal/kind"
	"qsuper/internal/pattern"
	"qsuper/schedule"
)

// maxInstances bounds the slots of all consumers together.
const maxInstances = 100_000

// check is the reading of one consumer.
type check struct {
	*Consumer
	l      *loader
	node   *kind.Node // the consumer over the defaults
	path   string
	preset preset
	from   int // problems before this one are not this consumer's
}

// bad reports whether a problem is known at or below a key, so that nothing
// more is said about it.
func (c *check) bad(key string) bool {
	here := func(p Problem) bool { return under(p.Path, c.path+"."+key) }
	return slices.ContainsFunc(c.l.decoder.Problems[c.from:], here) || slices.ContainsFunc(c.l.unfilled, here)
}

// inherited reports whether an entry comes from `defaults`, where a key may suit
// only some consumers.
func (c *check) inherited(e *kind.Entry) bool {
	d := c.l.defaults.Get(e.Key.Value)
	return d != nil && d.Value == e.Value
}

// addConsumers reads one `consumers` section; nil when it was not written.
// named holds the consumers of the files before.
func (l *loader) addConsumers(section *kind.Node, named map[string]*kind.Node) {
	const empty = "write {} to take everything from defaults"
	for e, path := range l.sections(section, "consumers", named, "consumer is defined twice, first in", empty) {
		l.cfg.Consumers = append(l.cfg.Consumers, l.consumer(e.Key, withDefaults(e.Value, l.defaults), path))
	}
}

// sections are the entries of a part of the file that gives names to maps, and
// their paths; what is wrong with the others is a problem. named holds the names
// that are taken: twice says by what, and empty what to write instead of nothing.
func (l *loader) sections(part *kind.Node, key string, named map[string]*kind.Node, twice, empty string) iter.Seq2[*kind.Entry, string] {
	return func(yield func(*kind.Entry, string) bool) {
		if part == nil {
			return
		}
		for i := range part.Entries {
			e := &part.Entries[i]
			name, path := e.Key.Value, kind.Join(key, e.Key.Value)
			if !validName().MatchString(name) {
				l.name(e.Key, "", path, name)
				continue
			}
			if before := named[name]; before != nil {
				l.add(e.Key, path, "%s %s:%d", twice, before.File, before.Line)
				continue
			}
			named[name] = e.Key
			if e.Value.Shape != kind.Map {
				p := l.add(e.Value, path, "expected a map, got %s", e.Value.Got())
				if e.Value.Null {
					p.Hint = empty
				}
				continue
			}
			if !yield(e, path) {
				return
			}
		}
	}
}

func (l *loader) consumer(key, n *kind.Node, path string) *Consumer {
	c := &check{Consumer: newConsumer(key.Value), l: l, node: n, path: path, from: len(l.decoder.Problems)}
	c.At = position(key)
	for _, e := range n.Entries {
		c.Places[e.Key.Value] = position(e.Value)
	}
	if e := n.Get("preset"); e != nil {
		if p := newPreset(e.Value); p != nil {
			p.defaults(c.Consumer)
		}
	}
	var keys consumerKeys
	l.decoder.Decode(n, path, c.Consumer, &keys)
	c.preset = keys.Preset.preset
	for _, f := range keys.EnvFile {
		c.EnvFile = append(c.EnvFile, string(f))
	}
	c.queue(keys.Queue)
	c.window(keys.Active, keys.Timezone)
	c.signals(keys.RestartOn, keys.Timezone)
	c.scaling()
	c.program()
	c.requires()
	c.policy()
	c.shared()
	c.foreignLock(keys.Foreign)
	c.process()
	c.placeholders()
	c.exposed()
	return c.Consumer
}

// window reads `active` in `timezone`.
func (c *check) window(active, timezone string) {
	zone := c.zone(timezone)
	if c.node.Get("active") == nil || c.bad("active") {
		return
	}
	w, err := schedule.ParseWindow(active, zone)
	if err != nil {
		at := place(c.node, "active")
		if at.Filled {
			err = errors.New("the value filled in from the environment is not a window")
		}
		c.l.add(at, c.path+".active", "%v", err)
		return
	}
	c.Active = w
}

// zone reads `timezone`; "" is the host's.
func (c *check) zone(timezone string) *time.Location {
	if timezone == "" {
		return time.Local
	}
	zone, err := time.LoadLocation(timezone)
	if err != nil {
		at := place(c.node, "timezone")
		c.l.add(at, c.path+".timezone", "time zone %s is not known", show(at, timezone)).Hint = "use a name such as Europe/Berlin"
		return time.Local
	}
	return zone
}

// scaling checks how many instances there are and when.
func (c *check) scaling() {
	spawn, instances := c.node.Get("spawn"), place(c.node, "instances")
	hasQueue := c.Queue != nil || c.node.Get("queue") != nil // one with a mistake in it counts
	if spawn == nil {
		c.Spawn = SpawnAlways
		if hasQueue {
			c.Spawn = SpawnOnMessages
		}
	}
	if c.node.Get("idle_timeout") == nil && c.Spawn == SpawnOnMessages {
		c.IdleTimeout = defaultIdle
	}
	i := c.Instances
	switch {
	case c.bad("spawn") || c.bad("instances"):
	case c.Spawn == SpawnOnMessages && !hasQueue:
		c.l.add(spawn.Value, c.path+".spawn", "on_messages needs a queue")
	case i.Min != i.Max && !hasQueue:
		c.l.add(instances, c.path+".instances", "min and max differ, which needs a queue to measure")
	case i.Min == 0 && i.Max > 0 && c.Spawn == SpawnAlways:
		c.l.add(instances, c.path+".instances", "spawn: always keeps instances up while the queue is empty, but min is 0").Hint = "write min: 1, or spawn: on_messages"
	}
	if e := c.node.Get("idle_timeout"); e != nil && c.Spawn == SpawnAlways && c.IdleTimeout > 0 && !c.inherited(e) {
		c.l.warnings.Add(e.Value, c.path+".idle_timeout", "has no effect with spawn: always")
	}
	before := c.l.instances
	c.l.instances += c.Instances.Max
	if c.l.instances > maxInstances && before <= maxInstances {
		c.l.add(instances, c.path+".instances", "all consumers together have more than %d instances", maxInstances)
	}
}

var (
	compound = pattern.Lazy(`[;&|\n]`)                              // the shell stays, and waits
	lastExec = pattern.Lazy(`(^|[;&|\n])\s*exec\s[^;&|\n]*[\s;]*$`) // the last command takes its place
)

// program checks that there is exactly one thing to run, and expands a preset.
func (c *check) program() {
	var given []string
	for _, key := range programKeys {
		if c.node.Get(key) != nil {
			given = append(given, key)
		}
	}
	switch {
	case len(given) > 1:
		c.l.add(c.node.Get(given[1]).Key, c.path+"."+given[1], "cannot be combined with %s", given[0])
		return
	case len(given) == 0:
		if !slices.ContainsFunc(c.l.decoder.Problems[c.from:], func(p Problem) bool {
			return strings.HasPrefix(p.Hint, "did you mean") && strings.Contains(p.Message, "unknown key")
		}) {
			c.l.decoder.Problems = append(c.l.decoder.Problems, Problem{File: c.At.File, Line: c.At.Line, Column: c.At.Column,
				Path: c.path, Message: "nothing to run", Hint: "give command, shell or preset"})
		}
		return
	}
	at := place(c.node, given[0])
	switch {
	case c.bad(given[0]):
	case given[0] == "command" && (len(c.Command) == 0 || c.Command[0] == ""):
		c.l.add(at, c.path+".command", "must not be empty")
	case given[0] == "shell" && strings.TrimSpace(c.Shell) == "":
		c.l.add(at, c.path+".shell", "must not be empty")
	case c.preset != nil:
		c.Preset = presetName(at)
		c.Command = c.preset.command(c.Consumer)
		if c.node.Get("app_restart") == nil {
			c.AppRestart = c.preset.restart()
		}
	}
	if c.node.Get("app_restart") != nil && len(c.AppRestart) > 0 && c.AppRestart[0] == "" {
		c.l.add(place(c.node, "app_restart"), c.path+".app_restart", "must name a program; [] = there is none")
	}
	if len(c.AppRestart) == 0 {
		c.AppRestart = nil
	}
	if len(c.Stop.Command) == 0 {
		c.Stop.Command = nil
	} else if c.Stop.Command[0] == "" && !c.bad("stop.command") {
		c.l.add(place(c.node, "stop", "command"), c.path+".stop.command", "must not be empty")
	}
	c.safePoint()
	if c.Shell != "" && !c.written("stop", "scope") {
		c.Stop.Scope = "group" // a shell does not pass signals on to what it runs
	}
	if c.Shell != "" && c.Stop.Scope == "process" && compound().MatchString(c.Shell) && !lastExec().MatchString(c.Shell) {
		c.l.warnings.Add(at, c.path+".shell", "the stop signal reaches only the shell, not what it runs").Hint = "write stop: {scope: group}, or exec in front of the last command"
	}
}

// safePoint checks that a moment without messages can be seen. Where a preset
// wants one and it cannot, the signal has to do.
func (c *check) safePoint() {
	if c.Stop.WaitFor == "" {
		return
	}
	k, told := health.Kind{}, false
	if c.Queue != nil {
		for _, conn := range c.l.cfg.Connections {
			if conn.Name == c.Queue.Connection {
				k, _ = health.Lookup(conn.Type)
				told = k.Holder && tellsOfClients(conn)
			}
		}
	}
	if k.InFlightNow || told && (c.MaxMessages > 0 || c.written("stop", "wait_for")) {
		return // without a limit Magento has a broker push messages: then it holds some all the time
	}
	at, hint := place(c.node, "stop", "wait_for"), "use mysql, postgres or sqlite, or leave it out"
	if k.Holder {
		hint = "give the connection its management_url, or leave it out"
	}
	if c.written("stop", "wait_for") && c.node.Get("queue") == nil {
		c.l.add(at, c.path+".stop.wait_for", "idle needs a queue: it is where messages in progress are seen")
	} else if c.written("stop", "wait_for") && k.Type != "" {
		c.l.add(at, c.path+".stop.wait_for", "idle cannot be seen on a connection of type %s, which counts messages in progress too late or not at all", k.Type).Hint = hint
	}
	c.Stop.WaitFor = ""
}

// tellsOfClients says whether a connection can say what single processes hold.
// Opening it does not dial.
func tellsOfClients(c *Connection) bool {
	if c.Spec == nil {
		return true // what is wrong with it has been said
	}
	conn, err := c.Spec.Open()
	if err != nil {
		return false
	}
	defer conn.Close()
	h, ok := conn.(health.Holder)
	return ok && h.Lag() > 0
}

// written says whether the file gives a key, here or in its defaults.
func (c *check) written(keys ...string) bool {
	n := c.node
	for _, k := range keys {
		e := n.Get(k)
		if e == nil {
			return false
		}
		n = e.Value
	}
	return true
}

// requires checks the connections that must answer, and adds the queue's own.
func (c *check) requires() {
	list := place(c.node, "requires")
	var names []string
	for i, name := range c.Requires {
		path := fmt.Sprintf("%s.requires[%d]", c.path, i)
		if c.bad(fmt.Sprintf("requires[%d]", i)) || !c.l.knownConnection(list.Items[i], path, name) || slices.Contains(names, name) {
			continue
		}
		names = append(names, name)
	}
	if c.Queue != nil && !slices.Contains(names, c.Queue.Connection) {
		names = append(names, c.Queue.Connection)
	}
	c.Requires = names
}

// policy checks settings against each other.
func (c *check) policy() {
	if c.Backoff.Max < c.Backoff.Initial && !c.bad("backoff.max") && !c.bad("backoff.initial") {
		c.l.add(place(c.node, "backoff", "max"), c.path+".backoff", "max %s is less than initial %s", c.Backoff.Max, c.Backoff.Initial)
	}
	if c.Backoff.Initial == 0 && !c.bad("backoff.initial") {
		c.l.add(place(c.node, "backoff", "initial"), c.path+".backoff.initial", "must be more than 0, or a crash would be repeated without a pause")
	}
	if c.MemoryHard > 0 && c.MemoryLimit >= c.MemoryHard && !c.bad("memory_limit") && !c.bad("memory_hard") {
		c.l.add(place(c.node, "memory_hard"), c.path+".memory_hard", "must be more than memory_limit")
	}
	if c.TimeLimit > 0 && c.TimeLimit <= c.Backoff.MinUptime {
		c.l.warnings.Add(place(c.node, "time_limit"), c.path+".time_limit", "is not more than backoff.min_uptime %s, so that every end by it looks like a crash loop", c.Backoff.MinUptime)
	}
	c.stall()
	if c.Group != "" && !validName().MatchString(c.Group) {
		c.l.name(c.node, "group", c.path+".group", c.Group)
	}
	c.exits()
}

// shortStall is what an instance may well wait for one answer, with nothing
// else to show for it.
const shortStall = 10 * time.Second

func (c *check) stall() {
	e := c.node.Get("stall")
	if e == nil || c.Stall == 0 || c.bad("stall") {
		return
	}
	switch {
	case c.Queue == nil && c.node.Get("queue") == nil:
		if !c.inherited(e) {
			c.l.add(e.Value, c.path+".stall", "needs a queue to measure").Hint = "give queue, or leave stall out"
		}
	case c.Stall < shortStall:
		c.l.warnings.Add(e.Value, c.path+".stall", "is so short that an instance which waits for one slow answer is taken to be deaf").Hint = "give it longer than the slowest message takes without output, such as 5m"
	}
}

// exits refuses an exit code that has two classes. A code that is named in empty
// or permanent leaves the default of clean.
func (c *check) exits() {
	e := c.node.Get("exit")
	if e == nil || c.bad("exit") {
		return
	}
	if e.Value.Get("clean") == nil {
		c.Exit.Clean = slices.DeleteFunc(slices.Clone(c.Exit.Clean), func(code int) bool {
			return slices.Contains(c.Exit.Empty, code) || slices.Contains(c.Exit.Permanent, code)
		})
	}
	for _, codes := range []*[]int{&c.Exit.Clean, &c.Exit.Empty, &c.Exit.Permanent} {
		if len(*codes) == 0 {
			*codes = nil // [] and nothing written are no difference
		}
	}
	twice := func(key string, codes []int, other string, others []int) {
		for _, code := range codes {
			if slices.Contains(others, code) {
				c.l.add(place(e.Value, key), c.path+".exit."+key, "code %d is also in %s", code, other)
			}
		}
	}
	twice("empty", c.Exit.Empty, "clean", c.Exit.Clean)
	twice("permanent", c.Exit.Permanent, "clean", c.Exit.Clean)
	twice("permanent", c.Exit.Permanent, "empty", c.Exit.Empty)
}

var (
	envName  = pattern.Lazy(`^[A-Za-z_][A-Za-z0-9_]*$`)
	userName = pattern.Lazy(`^[A-Za-z0-9_][A-Za-z0-9_.@-]*\$?(:[A-Za-z0-9_][A-Za-z0-9_.@-]*\$?)?$`)
)

// process checks what the child is started with.
func (c *check) process() {
	if c.node.Get("user") != nil && !c.bad("user") && !userName().MatchString(c.User) {
		at := place(c.node, "user")
		c.l.add(at, c.path+".user", "expected user or user:group, got %s", show(at, c.User))
	}
	e := c.node.Get("env")
	if e == nil {
		return
	}
	for _, v := range e.Value.Entries {
		name := v.Key.Value
		switch path := kind.Join(c.path+".env", name); {
		case !envName().MatchString(name):
			c.l.add(v.Key, path, "%s is not a name for an environment variable", kind.Quote(name))
		case strings.HasPrefix(name, "QSUPER_"):
			c.l.add(v.Key, path, "is set by qsuper itself")
		}
	}
}
