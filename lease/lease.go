// Package lease holds slots that several hosts share. A slot belongs to the one
// host whose lease on it a store keeps; the store is a database, Redis, etcd or
// ZooKeeper that the team operates already.
//
// A lease without a killer is no lock. So three parts work together: Loop keeps the
// leases of a host alive and knows, by a clock that suspend does not stop, until
// when each is sure; the keeper is told that moment and ends an exclusive process
// before it by itself; and whoever takes a lease over holds off as long as the
// store's memory may be wrong. Every grant carries a token that only grows, for
// resources that can check it.
//
// A backend is one file in lease/backends; it implements Store, registers itself
// with Register, and passes the conformance suite in lease/leasetest.
package lease

import (
	"context"
	"strings"
	"time"
)

// Store is where leases lie. All times are judged by the server's clock alone. A
// call is one round trip for all it is given, returns soon after ctx is done, and
// is never made at the same time as another of the same Store.
//
// An error means that nobody knows what was done; no error that the answer was
// true at some moment between the call and its return.
type Store interface {
	// Take asks for leases of length ttl. Each is granted if the key is free, or
	// if its lease has run out, or if owner has it already (an answer that was
	// lost); the token of every grant of a key is larger than all before it. Where
	// leases end with connections (Kind.Sessions) it is also granted if its owner has
	// had no connection and not renewed it for half of ttl.
	Take(ctx context.Context, owner string, ttl time.Duration, asks []Ask) ([]Answer, error)

	// Renew makes leases last ttl from now on, and sets their values where those
	// are not nil. False is definitive: the key is not owner's with that token.
	Renew(ctx context.Context, owner string, ttl time.Duration, held []Held) ([]bool, error)

	// Release gives leases back, those only that are owner's with that token, and
	// lets the next grant say that it was done properly (Answer.Clean).
	Release(ctx context.Context, owner string, held []Held) error

	// List returns every record whose time has not run out, except those of jobs.
	List(ctx context.Context) ([]Record, error)

	// Claim makes a record once, and returns the owner of the one that is there now:
	// the caller's, if it was made by this call or by an earlier one of the same
	// owner. It is forgotten after c.Keep or somewhat later.
	Claim(ctx context.Context, owner string, c Claim) (by string, err error)

	// Close may be called while another call runs, which it cuts short. It gives
	// nothing back.
	Close() error
}

// Ask asks for one lease.
type Ask struct {
	Key   string
	Value []byte // up to MaxValue bytes, for those who list
}

// Answer says what became of an Ask.
type Answer struct {
	Granted bool
	Token   uint64        // of the grant; never 0
	Clean   bool          // whoever had it before has given it back, and the store would know if not
	By      string        // not granted: who has it
	Left    time.Duration // not granted: until it runs out, if it is not renewed
}

// Held names one grant.
type Held struct {
	Key   string
	Token uint64
	Value []byte // for Renew; nil: as it was
}

// Record is one lease or claim that holds at the moment.
type Record struct {
	Key   string
	Owner string
	Token uint64
	Value []byte
	Since time.Time     // of the grant, by the server's clock; zero: not known
	Left  time.Duration // until it runs out, if it is not renewed
}

// Claim is a record that is made once over all hosts.
type Claim struct {
	Key   string
	Value []byte
	Keep  time.Duration
}

// MaxValue bounds a value, in bytes.
const MaxValue = 256 << 10

// Keys say what a record is about by how they begin.
const (
	SlotPrefix  = "slot/"  // a slot of a consumer: "slot/orders/0"
	HostPrefix  = "host/"  // a host that is there: "host/" and its owner id
	OrderPrefix = "order/" // a command to all hosts
	JobPrefix   = "job/"   // a fire of a cron job; never listed

	// LeftPrefix is a claim by which a host says that it has left, and is not merely
	// not there any more: "order/left/", its owner id, and when. To those who look for
	// orders it is none.
	LeftPrefix = OrderPrefix + "left/"
)

// Host is the readable part of an owner id, which is "web1/…".
func Host(owner string) string {
	host, _, _ := strings.Cut(owner, "/")
	return host
}
