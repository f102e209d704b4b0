package lease

import (
	"fmt"
	"io"
	"reflect"
	"time"

	"qsuper/health"
	"qsuper/internal/kind"
)

// DefaultTTL is the length of leases when `ttl` is not given.
const DefaultTTL = 30 * time.Second

// Kind is one type of lock store.
type Kind struct {
	Type string // the value of `type:`

	// Forgets says that a store of this type may lose what it has acknowledged,
	// when another copy takes over for a server that has failed.
	Forgets bool

	// Sessions says that a lease may end with a host's connection to the server,
	// before the time for which the host believes in it.
	Sessions bool

	Keys []kind.Key // of its section besides those of Common; filled in by Register
}

// Place is what a store is opened with beside its own keys.
type Place struct {
	Namespace  string // keeps daemons of other names apart
	TTL        time.Duration
	Connection health.Spec // what `connection` names; nil: the type has no such key
}

// Spec is a decoded, not yet opened store. It prints as its type only.
type Spec interface {
	Open(Place) (Store, error) // does not dial
	Connection() string        // the value of `connection`; "" = none
	Common() Common
	Kind() Kind // of its type, and with its settings
}

var registry kind.Registry[Kind, Spec]

// Common are the keys of every type.
type Common struct {
	Type    string         `yaml:"type"`     // one of those below
	TTL     time.Duration  `yaml:"ttl"`      // how long nobody takes over for a host that has died
	HoldOff *time.Duration `yaml:"hold_off"` // wait before an exclusive start; default: what the type needs
}

// Register adds a type of store; it is called from init in lease/backends. C is
// the struct its section is decoded into, over defaults, as with connections. One
// that uses an entry of `connections` has a string field `yaml:"connection,required"`;
// one that decides about Kind.Sessions a method Sessions() bool.
func Register[C any](k Kind, defaults C, open func(C, Place) (Store, error)) {
	k.Keys = kind.Describe(&defaults)
	registry.Add(k.Type, k, func(d *kind.Decoder, n *kind.Node, path string) Spec {
		s := &spec[C]{kind: k, config: defaults, open: open}
		s.common.TTL = DefaultTTL
		before := len(d.Problems)
		d.Decode(n, path, &s.common, &s.config)
		if name := kind.Lookup[string](&s.config, "connection"); name != nil {
			s.connection = *name
		}
		v, ok := any(&s.config).(interface{ Validate() error })
		if ok && len(d.Problems) == before {
			if err := v.Validate(); err != nil {
				d.Problems.Add(n, path, "%v", err)
			}
		}
		return s
	})
}

// Lookup returns the description of a type.
func Lookup(typ string) (Kind, bool) { return registry.Lookup(typ) }

// Kinds returns all types, sorted by name.
func Kinds() []Kind { return registry.Kinds() }

// Decode reads the section of a store strictly. path is its place in the file,
// such as locks.fleet. The error is a kind.Problems.
func Decode(typ string, section *kind.Node, path string) (Spec, error) {
	return registry.Decode(typ, section, path)
}

// Same reports whether two stores have equal settings, secrets included.
func Same(a, b Spec) bool { return reflect.DeepEqual(settings(a), settings(b)) }

func settings(s Spec) any {
	if c, ok := s.(interface{ settings() any }); ok {
		return c.settings()
	}
	return s
}

// HoldOff is how long nothing exclusive starts after a grant. A store that may
// forget needs the whole length of a lease, as that is how long a host may believe
// in one that the store knows nothing of any more. configured is the value of
// `hold_off`; nil: none. It says nothing about a lease that ended with a connection:
// its host believes in it all the same.
func HoldOff(k Kind, t Timing, configured *time.Duration) func(clean bool) time.Duration {
	return func(clean bool) time.Duration {
		switch {
		case k.Sessions && !clean:
			return time.Duration(float64(t.TTL) * (1 + Drift))
		case configured != nil:
			return *configured
		case k.Forgets:
			return time.Duration(float64(t.TTL) * (1 + Drift))
		case clean:
			return 0
		}
		return KillTime
	}
}

type spec[C any] struct {
	kind       Kind
	common     Common
	connection string
	config     C
	open       func(C, Place) (Store, error)
}

func (s *spec[C]) Open(p Place) (Store, error) { return s.open(s.config, p) }
func (s *spec[C]) Connection() string          { return s.connection }
func (s *spec[C]) Common() Common              { return s.common }

func (s *spec[C]) Kind() Kind {
	k := s.kind
	if c, ok := any(&s.config).(interface{ Sessions() bool }); ok {
		k.Sessions = c.Sessions()
	}
	return k
}

func (s *spec[C]) settings() any {
	return struct {
		common Common
		config C
	}{s.common, s.config}
}

// Format prints the type only, whatever the verb.
func (s *spec[C]) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.kind.Type+" lock store") }

// MarshalText makes JSON print the type only.
func (s *spec[C]) MarshalText() ([]byte, error) { return []byte(s.kind.Type + " lock store"), nil }
