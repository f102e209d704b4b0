// Package slot is the life of one process: a pure state machine without clock,
// goroutine, lock, log or I/O.
//
// Step takes what happened and returns the new state and at most one effect.
// What is wanted is kept apart from what is; there is one deadline, in the
// state; every answer carries its run number, so that stale ones die in one
// place. These are all the transitions there are, found by visiting every
// reachable state with every event (go test ./slot -update):
//
//	waiting   -> checking, draining, halted, killing, running, spawning
//	checking  -> spawning, waiting
//	spawning  -> halted, running, waiting
//	running   -> draining, halted, killing, waiting
//	draining  -> halted, killing, waiting
//	killing   -> halted, waiting
//	halted    -> draining, killing, running, spawning, waiting
package slot
