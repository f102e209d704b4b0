package health

import (
	"io"
	"reflect"
	"slices"
	"time"

	"fmt"

	"qsuper/internal/kind"
)

// DefaultTimeout is how long one probe may take when `timeout` is not given.
const DefaultTimeout = 3 * time.Second

// Spec is a decoded, not yet opened connection. It prints as its type only, so
// that no password in it is ever shown.
type Spec interface{ Open() (Conn, error) }

// Kind is one connection type.
type Kind struct {
	Type        string            // the value of `type:`
	QueueKeys   []string          // keys of `queue:` it accepts besides connection; nil = it has no queues
	Layouts     []string          // allowed values of `layout`, the first is the default; nil = the key is not accepted
	InFlightNow bool              // Reading.InFlight is what is true at the moment, and not some seconds old
	Holder      bool              // its Conn is a Holder
	Asked       []string          // what a Question to it may hold: query, key, lock, node
	CheckQueue  func(Queue) error // optional further check of a queue; its error says what to write instead
	Keys        []kind.Key        // of its section besides type and timeout; filled in by Register
}

var registry kind.Registry[Kind, Spec]

// Register adds a connection type; it is called from init in health/backends.
// C is the struct its section is decoded into, over defaults; its fields carry
// yaml tags as described in internal/kind. A pointer to C may have a method
// Validate() error for what tags cannot say. A name registered twice panics.
//
// Every type accepts `type` and `timeout`. A C that wants to know the timeout
// has a field `yaml:"timeout"` of type kind.Duration; its default, when not
// zero, replaces DefaultTimeout.
func Register[C any](k Kind, defaults C, open func(C) (Conn, error)) {
	k.Keys = slices.DeleteFunc(kind.Describe(&defaults), func(key kind.Key) bool { return key.Path == "timeout" })
	registry.Add(k.Type, k, func(d *kind.Decoder, n *kind.Node, path string) Spec {
		s := &spec[C]{kind: k.Type, config: defaults, open: open}
		own := kind.Lookup[time.Duration](&s.config, "timeout")
		s.common.Timeout = DefaultTimeout
		if own != nil && *own > 0 {
			s.common.Timeout = *own
		}
		before := len(d.Problems)
		d.Decode(n, path, &s.common, &s.config)
		if own != nil {
			*own = s.common.Timeout
		}
		if s.common.Timeout <= 0 {
			d.Problems.Add(n.Get("timeout").Value, path+".timeout", "must be more than 0")
		}
		v, ok := any(&s.config).(interface{ Validate() error })
		if ok && len(d.Problems) == before && !n.Incomplete() {
			if err := v.Validate(); err != nil {
				d.Problems.Add(n, path, "%v", err)
			}
		}
		return s
	})
}

// Lookup returns the description of a connection type.
func Lookup(typ string) (Kind, bool) { return registry.Lookup(typ) }

// Kinds returns all connection types, sorted by name.
func Kinds() []Kind { return registry.Kinds() }

// Decode reads the section of a connection strictly. path is its place in the
// file, such as connections.broker. The error is a kind.Problems that lists
// everything that is wrong.
func Decode(typ string, section *kind.Node, path string) (Spec, error) {
	return registry.Decode(typ, section, path)
}

// Timeout returns how long one probe of a connection may take; at least 1 ns.
func Timeout(s Spec) time.Duration {
	if t, ok := s.(interface{ timeout() time.Duration }); ok {
		return t.timeout()
	}
	return DefaultTimeout
}

// Settings returns the decoded section of a connection, for those who reach the
// same server for another purpose; false if it is none of that type.
func Settings[C any](s Spec) (C, bool) {
	if t, ok := s.(*spec[C]); ok {
		return t.config, true
	}
	var none C
	return none, false
}

// Same reports whether two connections have equal settings, secrets included.
func Same(a, b Spec) bool { return reflect.DeepEqual(settings(a), settings(b)) }

func settings(s Spec) any {
	if c, ok := s.(interface{ settings() any }); ok {
		return c.settings()
	}
	return s
}

// Common are the keys of every type.
type Common struct {
	Type    string        `yaml:"type"`    // one of those below
	Timeout time.Duration `yaml:"timeout"` // of one look
}

type spec[C any] struct {
	kind   string
	common Common
	config C
	open   func(C) (Conn, error)
}

func (s *spec[C]) Open() (Conn, error)    { return s.open(s.config) }
func (s *spec[C]) timeout() time.Duration { return s.common.Timeout }
func (s *spec[C]) settings() any {
	return struct {
		common Common
		config C
	}{s.common, s.config}
}

// Format prints the type only, whatever the verb.
func (s *spec[C]) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.kind+" connection") }

// MarshalText makes JSON print the type only.
func (s *spec[C]) MarshalText() ([]byte, error) { return []byte(s.kind + " connection"), nil }
