// Package lock is the contract for holding a named slot: who has the lock runs
// the slot, nobody else does.
//
// A backend is one file in lock/backends and must pass the conformance suite in
// lock/locktest. It is the host's own (backends/file); slots that several hosts
// share are in package lease, and have this lock as well.
package lock

import "context"

// Locker hands out locks by name.
type Locker interface {
	// Acquire takes a lock or answers at once: *HeldError if somebody has it,
	// another error if that cannot be known, which is never "free".
	Acquire(ctx context.Context, name string) (Held, error)
	// Holder says who has a lock in words for a user; "" = nobody.
	Holder(ctx context.Context, name string) (string, error)
}

// Held is a lock that the caller has.
type Held interface {
	// Release gives the lock back. A process that inherited it keeps it.
	Release() error
}

// HeldError means that somebody else has the lock.
type HeldError struct {
	Name string
	By   string // e.g. "pid 812 (php bin/console)"; "" = not known
}

func (e *HeldError) Error() string {
	if e.By == "" {
		return "take lock " + e.Name + ": somebody else holds it"
	}
	return "take lock " + e.Name + ": held by " + e.By
}
