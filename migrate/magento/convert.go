package magento

import (
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"qsuper/migrate"
)

// The variables that passwords are written as.
const (
	DBPassword   = "MAGENTO_DB_PASSWORD"
	AMQPPassword = "MAGENTO_AMQP_PASSWORD"
)

// Convert writes a document for a shop. names are its consumers where env.php
// allows all of them, as `bin/magento queue:consumers:list` prints them; nil = those of the
// modules.
func Convert(s *Shop, names []string, mode migrate.Mode) *migrate.Result {
	c := &converter{s: s, mode: mode, doc: &migrate.Document{}, report: &migrate.Report{Source: "magento", Mode: mode, Files: []string{s.Path}}}
	c.doc.Header = []string{fmt.Sprintf("Converted from Magento's %s by `qsuper import magento --%s`.", s.Path, mode)}
	all := c.names(names)
	if len(all) > 0 {
		c.connections()
		c.defaults()
		for _, name := range all {
			c.consumer(name)
		}
		c.everywhere()
	}
	c.report.Sort()
	return &migrate.Result{Document: c.doc, Report: c.report, Expected: c.expected}
}

type converter struct {
	s        *Shop
	mode     migrate.Mode
	doc      *migrate.Document
	report   *migrate.Report
	expected []migrate.Instance
	user     string
}

func (c *converter) item(level migrate.Level, name, key, format string, args ...any) {
	c.report.Add(level, c.s.Path, 0, name, key, format, args...)
}

// names are the consumers that Magento's cron starts.
func (c *converter) names(given []string) []string {
	list := c.s.Names
	switch {
	case len(list) > 0:
	case len(given) > 0:
		list = given
	case len(c.s.Declared) > 0:
		list = slices.Sorted(maps.Keys(c.s.Declared))
		c.item(migrate.Note, "", "consumers", "it is empty, which means all: these are those of the modules' queue_consumer.xml; one of a module that is switched off does not start")
	default:
		c.report.Refused = append(c.report.Refused, "consumers")
		c.item(migrate.Lost, "", "consumers", "it is empty, which means all, and which those are stands in no file here: give --list with what `bin/magento queue:consumers:list` prints, or the app/etc/env.php in its place")
	}
	for _, name := range slices.Sorted(maps.Keys(c.s.Multiple)) {
		if !slices.Contains(list, name) && len(list) > 0 {
			c.item(migrate.Note, "", "multiple_processes", "%s is not among the consumers", name)
		}
	}
	return list
}

// connections writes those of queue and db, with passwords from the environment.
func (c *converter) connections() {
	all := migrate.NewMap()
	if m := c.s.AMQP; m != nil {
		u := url.URL{Scheme: "amqp", Host: hostPort(m, "5672"), Path: "/" + text(m, "virtualhost")}
		if text(m, "virtualhost") == "" || text(m, "virtualhost") == "/" {
			u.Path, u.RawPath = "//", "/%2F"
		}
		if truth(m["ssl"]) {
			u.Scheme = "amqps"
		}
		plain := u.String()
		who := url.PathEscape(text(m, "user"))
		all.Set("broker", migrate.NewMap().Set("type", "rabbitmq").Set("url", migrate.Raw(strconv.Quote(strings.Replace(migrate.Dollars(plain), "://", "://"+migrate.Dollars(who)+":${"+AMQPPassword+"}@", 1)))))
		c.item(migrate.Changed, "", "queue/amqp/password", "is not written: set %s in qsuper's environment (qsuper unit names a file for it), as it stands in a URL", AMQPPassword)
	}
	if m := c.s.DB; m != nil && c.usesDB() {
		network := "tcp(" + hostPort(m, "3306") + ")"
		if strings.HasPrefix(text(m, "host"), "/") {
			network = "unix(" + text(m, "host") + ")"
		}
		db := migrate.NewMap().Set("type", "mysql").Set("dsn", migrate.Raw(strconv.Quote(migrate.Dollars(text(m, "username"))+":${"+DBPassword+"}@"+migrate.Dollars(network+"/"+text(m, "dbname")))))
		if c.s.Prefix != "" {
			db.Set("table_prefix", c.s.Prefix)
		}
		all.Set("db", db)
		c.item(migrate.Changed, "", "db/connection/default/password", "is not written: set %s in qsuper's environment (qsuper unit names a file for it)", DBPassword)
	}
	c.doc.Connections = all
}

func text(m map[string]any, key string) string {
	if m[key] == nil {
		return ""
	}
	return fmt.Sprint(m[key])
}

func hostPort(m map[string]any, port string) string {
	host := text(m, "host")
	if h, p, err := net.SplitHostPort(host); err == nil {
		return net.JoinHostPort(h, p)
	}
	if p := text(m, "port"); p != "" && p != "0" {
		port = p
	}
	return net.JoinHostPort(host, port)
}

// usesDB reports whether a consumer may have its queue in the database.
func (c *converter) usesDB() bool {
	if c.s.AMQP == nil {
		return true
	}
	for _, d := range c.s.Declared {
		if d.Connection == "db" {
			return true
		}
	}
	return false
}

// defaults writes what all consumers share.
func (c *converter) defaults() {
	d := migrate.NewMap()
	root := c.s.Root
	if root == "" {
		root = "/var/www/html"
		c.item(migrate.Changed, "", "root", "where Magento is stands in no file here; %s is a guess: give --root", root)
	}
	d.Set("dir", migrate.Literal(root))
	c.s.Root = root
	if c.user = c.s.Owner; c.user != "" && c.user != "root" && !c.s.FromYAML {
		d.Set("user", c.user)
		c.item(migrate.Note, "", "user", "%s owns env.php, so the consumers run as %s", c.user, c.user)
	} else {
		c.user = ""
	}
	d.Set("max_messages", int(c.s.Max))
	c.doc.Defaults = d
}

func (c *converter) consumer(wish string) {
	name, changed := c.doc.Name(wish)
	preset := any("magento")
	if changed {
		preset = migrate.NewMap().Set("type", "magento").Set("consumer", wish)
	}
	body := migrate.NewMap().Set("preset", preset)
	slots := max(c.s.Multiple[wish], 1)
	if slots > 1 {
		body.Set("instances", slots)
	}
	if c.s.Multiple[wish] == 1 {
		c.item(migrate.Changed, name, "multiple_processes", "with one process the lock is that of --single-thread, not of --multi-process=1")
	}
	most := c.s.Max
	if d := c.s.Declared[wish]; d.Max > 0 && d.Max != most {
		most = d.Max
		body.Set("max_messages", int(most))
	}
	c.queue(body, name, wish)
	where := c.s.Path
	if d, ok := c.s.Declared[wish]; ok {
		where = d.File
	}
	c.doc.Consumers = append(c.doc.Consumers, migrate.Entry{Name: name, Above: []string{where}, Body: body})
	c.report.Converted = append(c.report.Converted, name)
	c.report.Instances += slots
	for i := range slots {
		mode := "--single-thread"
		if slots > 1 {
			mode = "--multi-process=" + strconv.Itoa(i+1)
		}
		argv := []string{"php", "bin/magento", "queue:consumers:start", wish, mode}
		if most > 0 {
			argv = append(argv, "--max-messages="+strconv.FormatInt(most, 10))
		}
		c.expected = append(c.expected, migrate.Instance{Name: wish + " " + mode, Consumer: name, Slot: i, Argv: argv, Dir: c.s.Root, User: c.user})
	}
}

// queue ties a consumer to its queue, where the connection is known.
func (c *converter) queue(body *migrate.Map, name, wish string) {
	d, known := c.s.Declared[wish]
	connection := "db"
	if c.s.AMQP != nil && d.Connection != "db" {
		connection = "broker"
	}
	if connection == "db" && c.s.DB == nil {
		body.Set("spawn", "always")
		c.item(migrate.Changed, name, "queue", "no connection stands in this file, so it runs always; write connections and queue to start it by depth")
		return
	}
	queue := d.Queue
	if queue == "" {
		queue = wish
		if !known {
			c.item(migrate.Note, name, "queue", "its queue is taken to be called %s, as most are; etc/queue_consumer.xml of its module says so", wish)
		}
	}
	q := migrate.NewMap().Set("connection", connection)
	if queue != name {
		q.Set("name", queue)
	}
	body.Set("queue", q)
	if !c.s.Spawn {
		body.Set("spawn", "always")
	}
}

// everywhere lists once what holds for all.
func (c *converter) everywhere() {
	all := func(level migrate.Level, format string, args ...any) {
		c.item(level, "", "everywhere", format, args...)
	}
	if !c.s.CronRun {
		all(migrate.Note, "cron_run is false: Magento's cron does not start consumers now; look for what does, before both do")
	} else {
		all(migrate.Changed, "set cron_consumers_runner/cron_run to false in env.php before qsuper starts, or Magento's cron goes on starting consumers")
	}
	if c.s.Given["wait"] && c.s.Wait {
		all(migrate.Note, "consumers_wait_for_messages=1: a consumer waits in an empty queue; qsuper ends it after idle_timeout (60s) and starts it with the next message")
	}
	if !c.s.Given["spawn"] && (c.s.AMQP != nil || c.s.DB != nil) {
		all(migrate.Changed, "a consumer is started while messages wait, whatever only_spawn_when_message_available is by default in this version")
	}
	all(migrate.Changed, "the look at a queue takes no message out, and starts within interval (1s) instead of at the next minute")
	if c.s.Providers == "cache" {
		all(migrate.Note, "lock/provider cache forgets locks after 2 h; qsuper's slots do not depend on it")
	}
}
