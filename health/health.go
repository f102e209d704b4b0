// Package health is the contract for asking a dependency two things: does it
// answer, and how many messages wait in its queues.
//
// A backend is one file in health/backends; it registers itself here and must
// pass the conformance suite in health/healthtest. Measuring is read-only: a
// probe never takes, locks, reorders, marks or creates anything.
package health

import (
	"context"
	"errors"
	"net/netip"
	"time"
)

// NotKnown stands for a number the backend cannot say. It is never zero:
// nothing may be decided from it.
const NotKnown = -1

// Conn is one configured connection. Opening it does not dial, so that a file
// can be checked while the broker is away.
type Conn interface {
	// Ping returns nil when the other side is reachable and accepts the
	// credentials. It must return soon after ctx is done. Ping and Measure are
	// never called at the same time.
	Ping(ctx context.Context) error

	// Close may be called while Ping or Measure runs, which it cuts short, and
	// more than once. It returns within a second, whatever the other side does.
	Close() error
}

// Meter is a Conn with queues. Measure asks for all of them in one round trip
// and returns one Reading per queue, in the same order. A queue that does not
// exist is a Reading whose State is Missing, one that could not be counted a
// Reading whose State is Unknown. An error means that the connection is down or,
// when it is that of ctx, that a Ping has to decide.
type Meter interface {
	Conn
	Measure(ctx context.Context, queues []Queue) ([]Reading, error)
}

// Waker is a Meter that can tell of new messages by itself. What it tells is a
// hint to measure soon, never a number: a hint may be false, late or lost.
type Waker interface {
	Meter

	// Watch calls wake soon after a message may have come into one of queues, and
	// once when it has begun to listen, because something may have come before. It
	// returns nil when nothing tells of any of these queues, and an error when it
	// can no longer listen, or when ctx is done. It is called on a Conn of its own,
	// of which nothing else is asked. wake never blocks.
	Watch(ctx context.Context, queues []Queue, wake func()) error
}

// Holder is a Conn that can tell what single clients hold.
type Holder interface {
	Conn

	// Held is how many messages the clients at these addresses have taken and not
	// acknowledged. It is true of clients that have done nothing for Lag or longer. An
	// error means that nobody can say, or that they must not stand still for so long;
	// it is in words for a user, and may hold secrets. It may be called at any time.
	Held(ctx context.Context, clients []netip.AddrPort) (int64, error)

	// Lag is how old the answer may be; 0 = this connection cannot tell.
	Lag() time.Duration
}

// Finder is a Meter for which an empty queue and a wrong name look the same.
type Finder interface {
	Meter

	// Elsewhere looks for a queue that may be meant by q, which seems to be empty, under
	// another name, and says in words for a user what to write; "" = there is none. It
	// only reads, but a lot: it is for a person who asks, not for every interval.
	Elsewhere(ctx context.Context, q Queue) (string, error)
}

// Lister is a Conn that can name the messages in progress.
type Lister interface {
	Conn

	// InProgress lists the messages of a queue that somebody has taken and not finished,
	// for however long. Everything in it was so at one moment between call and return. An
	// error means that nothing is known; it is in words for a user, and may hold secrets.
	// ErrUnlisted: this queue can only be counted.
	InProgress(ctx context.Context, q Queue) ([]Taken, error)
}

// ErrUnlisted is returned for a queue whose messages have no names that are known.
var ErrUnlisted = errors.New("messages in progress can be counted only")

// Taken is a message in progress.
type Taken struct {
	ID  string
	Age time.Duration // since it was taken, by the server's own clock; NotKnown if that cannot be said
}

// State says what is known of a queue.
type State string

// The three answers of a probe. Unknown and Missing are not "empty".
const (
	OK      State = "ok"
	Missing State = "missing"
	Unknown State = "unknown"
)

// Reading is what one probe saw of one queue.
type Reading struct {
	State     State
	Ready     int64         // messages that could be taken now, due delayed ones included
	InFlight  int64         // taken, not yet acknowledged; NotKnown if the backend cannot say
	Delayed   int64         // not due yet; NotKnown if the backend cannot say
	Oldest    time.Duration // age of the oldest ready message; NotKnown if the backend cannot say
	Consumers int64         // consumers the backend sees; NotKnown if the backend cannot say
	Useful    int64         // how many consumers can have work at a time, such as Kafka's partitions; 0 = any number
	Err       string        // why State is Unknown or Missing, or a number of an OK one is not known; in words for a user, no secrets
}

// Queue says which queue to measure: the keys of `queue:` in the file. Which
// keys a connection type accepts is in its Kind.
type Queue struct {
	Name   string
	Layout string // plain, magento, symfony, laravel, …
	Table  string // SQL: overrides the layout's table
	SQL    string // SQL: the user's own `query:`
	Path   string // http
	Value  string // http: path into the JSON answer
	Prefix string // redis: in front of every key
	Group  string // redis streams, kafka: the consumer group; nats: the consumer
}
