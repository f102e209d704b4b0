package config

import (
	"crypto/md5"
	"encoding/hex"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"qsuper/health"
)

// ForeignLock is the lock by which an application itself keeps a consumer from
// running twice. qsuper looks whether somebody has it, and never takes it. Exactly
// one of File, Connection and Command is set. Placeholders are not expanded.
type ForeignLock struct {
	File       string          `json:",omitempty"` // locked by flock or fcntl
	Connection string          `json:",omitempty"` // whose answer to Question tells
	Question   health.Question `json:",omitzero"`
	Command    []string        `json:",omitempty"` // prints something while it is held
}

// String names the lock for a person.
func (l ForeignLock) String() string {
	q := l.Question
	switch {
	case l.File != "":
		return "file " + l.File
	case q.Lock != "":
		return "lock " + q.Lock + " on " + l.Connection
	case q.Held != "":
		return "key " + q.Held + " on " + l.Connection
	case q.Node != "":
		return "node " + q.Node + " on " + l.Connection
	case q.SQL != "":
		return "query on " + l.Connection
	}
	return "command " + strings.Join(l.Command, " ")
}

// Foreign is the application's own lock of one slot, filled in; nil: there is none.
func (c *Consumer) Foreign(slot int) *ForeignLock {
	if c.ForeignLock == nil {
		return nil
	}
	e := expander{values: c.values(), numbers: map[string]string{"slot": strconv.Itoa(slot), "slot1": strconv.Itoa(slot + 1), "instances": strconv.Itoa(c.Instances.Max)}}
	e.values["magento_lock"] = magentoLock(c, e, slot)
	l := *c.ForeignLock
	l.File, l.Question = e.fill(l.File), health.Question{SQL: e.fill(l.Question.SQL), Lock: e.fill(l.Question.Lock), Held: e.fill(l.Question.Held), Node: e.fill(l.Question.Node)}
	l.Command = nil
	for _, word := range c.ForeignLock.Command {
		l.Command = append(l.Command, e.fill(word))
	}
	return &l
}

// magentoLock is the name under which Magento locks a consumer: its own with one
// process, with its number behind it with several.
func magentoLock(c *Consumer, e expander, slot int) string {
	name := c.Name
	if c.Preset == "magento" && len(c.Command) > 3 {
		name = e.fill(c.Command[3])
	}
	if c.Instances.Max > 1 {
		name += "-" + strconv.Itoa(slot+1)
	}
	sum := md5.Sum([]byte(name))
	return hex.EncodeToString(sum[:])
}

// foreignKeys are the keys of `foreign_lock`.
type foreignKeys struct {
	Connection string   `yaml:"connection"` // with name, key, query or node
	Name       string   `yaml:"name"`       // of GET_LOCK in MySQL
	Key        string   `yaml:"key"`        // in Redis: held while there is such a key
	Query      string   `yaml:"query"`      // held while it gives a row
	Node       string   `yaml:"node"`       // in ZooKeeper: held while there is such a node
	File       string   `yaml:"file"`       // locked with flock or fcntl
	Command    []string `yaml:"command"`    // held while it prints something
}

// foreignLock reads `foreign_lock`.
func (c *check) foreignLock(k *foreignKeys) {
	if k == nil || c.bad("foreign_lock") {
		return
	}
	n, path := place(c.node, "foreign_lock"), c.path+".foreign_lock"
	given := map[string]bool{}
	for _, e := range n.Entries {
		given[e.Key.Value] = true
	}
	onServer := given["connection"]
	delete(given, "connection")
	if len(given) != 1 || onServer == (given["file"] || given["command"]) {
		c.l.add(n, path, "is one of {connection, name}, {connection, key}, {connection, query}, {connection, node}, {file} and {command}")
		return
	}
	l := &ForeignLock{Connection: k.Connection, Question: health.Question{Lock: k.Name, Held: k.Key, SQL: k.Query, Node: k.Node}, Command: k.Command}
	what := slices.Collect(maps.Keys(given))[0]
	if l.File = k.File; what == "file" && !filepath.IsAbs(k.File) {
		c.l.add(n, path+".file", "must be absolute")
		return
	}
	if l.File == "" && len(l.Command) == 0 && l.Question == (health.Question{}) || len(l.Command) > 0 && l.Command[0] == "" {
		c.l.add(n, path+"."+what, "must not be empty")
		return
	}
	if what == "node" && (!strings.HasPrefix(k.Node, "/") || strings.HasSuffix(k.Node, "/") || strings.Contains(k.Node, "//")) {
		c.l.add(n, path+".node", "must be a path such as /magento/locks/{magento_lock}")
		return
	}
	if what == "name" {
		what = "lock" // as types of connections have it
	}
	if onServer && !c.asks(n, path, k.Connection, what) {
		return
	}
	c.ForeignLock = l
}
