package main

import (
	"sync"
	"time"

	"qsuper/keeper"
)

// outputLimit is how long the keeper may take to say how much has been printed.
const outputLimit = time.Second

// outputs asks the keeper how much consumers have printed, for those who look.
type outputs struct {
	ask     func() error
	answers chan keeper.Outputs

	asking sync.Mutex
	mu     sync.Mutex
	latest map[string]uint64 // bytes by consumer and job; nil: not known
}

func newOutputs(ask func() error) *outputs {
	return &outputs{ask: ask, answers: make(chan keeper.Outputs, 1)}
}

// take is called with the keeper's answer.
func (o *outputs) take(m keeper.Outputs) {
	select {
	case o.answers <- m:
	default: // nobody waits any more
	}
}

// now asks, once for all who look at the same time: others get what was known
// before. It is nil when the keeper does not answer.
func (o *outputs) now() map[string]uint64 {
	if o.asking.TryLock() {
		o.set(o.question())
		o.asking.Unlock()
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.latest
}

func (o *outputs) set(bytes map[string]uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.latest = bytes
}

func (o *outputs) question() map[string]uint64 {
	select {
	case <-o.answers: // of an earlier question, and late
	default:
	}
	if o.ask() != nil {
		return nil
	}
	late := time.NewTimer(outputLimit)
	defer late.Stop()
	select {
	case m := <-o.answers:
		return m.Bytes
	case <-late.C:
	}
	return nil
}
