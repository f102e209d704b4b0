package config

import (
	"errors"
	"maps"
	"slices"
	"strings"

	"qsuper/health"
	"qsuper/internal/kind"
)

// addConnections reads one `connections` section; nil when it was not written.
func (l *loader) addConnections(section *kind.Node) {
	if section == nil {
		return
	}
	for _, e := range section.Entries {
		name, path := e.Key.Value, kind.Join("connections", e.Key.Value)
		if !validName().MatchString(name) {
			l.name(e.Key, "", path, name)
			continue
		}
		if before := l.connections[name]; before != nil {
			l.add(e.Key, path, "connection is defined twice, first in %s:%d", before.At.File, before.At.Line)
			continue
		}
		c := &Connection{Name: name, At: position(e.Key)}
		l.connections[name] = c
		l.cfg.Connections = append(l.cfg.Connections, c)
		l.connection(c, e.Value, path)
	}
}

func (l *loader) connection(c *Connection, n *kind.Node, path string) {
	if n.Shape != kind.Map {
		l.add(n, path, "expected a map with a type, got %s", n.Got())
		return
	}
	typ := n.Get("type")
	if typ == nil || typ.Value.Shape != kind.Scalar || typ.Value.Null {
		l.add(n, path, "type is missing").Hint = "one of " + strings.Join(typeNames(), ", ")
		return
	}
	if typ.Value.Bad {
		return
	}
	c.Type = typ.Value.Value
	spec, err := health.Decode(c.Type, n, path)
	var problems kind.Problems
	switch {
	case errors.As(err, &problems):
		l.decoder.Problems = append(l.decoder.Problems, problems...)
	case err != nil:
		l.add(n, path, "%v", err)
	default:
		c.Spec, c.Timeout = spec, health.Timeout(spec)
	}
}

func typeNames() []string {
	var names []string
	for _, k := range health.Kinds() {
		names = append(names, k.Type)
	}
	return names
}

// knownConnection reports whether name is a connection, and adds a problem at n
// when it is not.
func (l *loader) knownConnection(n *kind.Node, path, name string) bool {
	if l.connections[name] != nil {
		return true
	}
	p := l.add(n, path, "connection %s is not defined", show(n, name))
	if n == nil || !n.Filled {
		p.Hint = kind.DidYouMean(name, slices.Sorted(maps.Keys(l.connections)))
	}
	return false
}

// show quotes a value for a message, unless it came from the environment.
func show(n *kind.Node, value string) string {
	if n != nil && n.Filled {
		return "***"
	}
	return kind.Quote(value)
}

func position(n *kind.Node) Position { return Position{n.File, n.Line, n.Column} }

// queue checks the queue of a consumer against what its connection accepts.
func (c *check) queue(keys *queueKeys) {
	n, path := place(c.node, "queue"), c.path+".queue"
	if keys == nil || keys.Connection == "" {
		return
	}
	q := &Queue{Connection: keys.Connection, Queue: health.Queue{
		Name: first(keys.Name, c.Name), Layout: keys.Layout, Table: keys.Table, SQL: keys.SQL,
		Path: keys.Path, Value: keys.Value, Prefix: keys.Prefix, Group: keys.Group,
	}}
	c.Consumer.Queue = q
	if !c.l.knownConnection(place(n, "connection"), path+".connection", q.Connection) {
		return
	}
	typ := c.l.connections[q.Connection].Type
	k, ok := health.Lookup(typ)
	if !ok {
		return // the connection's own problem
	}
	if k.QueueKeys == nil {
		c.l.add(place(n, "connection"), path+".connection", "connection %s of type %s has no queues; it can only be required", q.Connection, typ)
		return
	}
	c.queueKeys(n, path, k)
	c.layout(n, path, k)
	if strings.ContainsFunc(q.Name, isControl) || len(q.Name) > 255 {
		c.l.add(place(n, "name"), path+".name", "must be at most 255 bytes without control characters")
	}
	if k.CheckQueue != nil && !c.bad("queue") {
		if err := k.CheckQueue(q.Queue); err != nil {
			c.l.add(n, path, "%v", err)
		}
	}
}

// queueKeys refuses keys that this type of connection does not know.
func (c *check) queueKeys(n *kind.Node, path string, k health.Kind) {
	accepted := append([]string{"connection"}, k.QueueKeys...)
	if k.Layouts != nil && !slices.Contains(accepted, "layout") {
		accepted = append(accepted, "layout")
	}
	for _, e := range n.Entries {
		key := e.Key.Value
		if slices.Contains(accepted, key) || key == "layout" && e.Value.Value == layoutPlain || c.bad("queue."+key) {
			continue
		}
		c.l.add(e.Key, kind.Join(path, key), "not accepted by a connection of type %s; it accepts %s", k.Type, strings.Join(accepted, ", "))
	}
}

// layoutPlain says that there is nothing special about a queue, which is true
// wherever queues have no layouts.
const layoutPlain = "plain"

// layout checks `layout` and fills in its default: the preset's where the
// connection knows it, else the first of the connection's own.
func (c *check) layout(n *kind.Node, path string, k health.Kind) {
	q := c.Consumer.Queue
	switch {
	case k.Layouts == nil:
		q.Layout = ""
	case q.Layout == "" && c.preset != nil && slices.Contains(k.Layouts, c.preset.layout()):
		q.Layout = c.preset.layout()
	case q.Layout == "":
		q.Layout = k.Layouts[0]
	case !slices.Contains(k.Layouts, q.Layout):
		at := place(n, "layout")
		p := c.l.add(at, path+".layout", "expected one of %s, got %s", strings.Join(k.Layouts, ", "), show(at, q.Layout))
		if !at.Filled {
			p.Hint = kind.DidYouMean(q.Layout, k.Layouts)
		}
	}
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }
