// Package control is the daemon's API over a unix socket: one route table, a
// server that asks a Daemon, and the client that every command uses.
//
// HTTP/1.1 with JSON bodies. Who may connect is decided from the kernel's
// credentials of the peer before a byte of it is read: root, the daemon's own
// user, and members of the configured group.
package control

import (
	"cmp"
	"context"
	"fmt"
)

// Daemon is what the server asks. Every method may be called from many
// goroutines at once.
//
// A ctx that is done ends the waiting, never the work: a stop that was accepted
// goes on when the person who asked for it has left.
type Daemon interface {
	// Status answers from an immutable snapshot and does not wait.
	Status(q StatusQuery) (Status, error)
	// Explain takes one consumer or consumer/slot.
	Explain(name string) (Explain, error)
	// Do carries out one validated command. With Wait it returns when the
	// command has become true, when its Timeout has passed (TimedOut is set),
	// or when ctx is done.
	Do(ctx context.Context, c Command) (CommandReply, error)
	// RunJob has a job run now. With Wait it returns when the run has ended, when
	// its Timeout has passed, or when ctx is done.
	RunJob(ctx context.Context, j JobRun) (JobReply, error)
	// ExplainJob says when a job of the file in force runs in a span of time.
	ExplainJob(j JobSpan) (JobExplain, error)
	// Shutdown stops everything and returns when the last instance is gone, or
	// at once with NoWait. The daemon ends after the answer has been written.
	Shutdown(ctx context.Context, s Shutdown) (CommandReply, error)
	// Reload reads the file again. A refused file is a reply with Problems, not
	// an error.
	Reload(ctx context.Context) (ReloadReply, error)
	// Plan says what Reload would do, and changes nothing.
	Plan() (ReloadReply, error)
	// Upgrade tries another binary and returns when it is about to take over, or
	// has been refused, which is a reply with Refused. The engine ends after the
	// answer has been written, and another one answers soon.
	Upgrade(ctx context.Context, u Upgrade) (UpgradeReply, error)
	// Alerts says how every alert stands.
	Alerts() []AlertStatus
	// TestAlert sends a test by every way of an alert and says what became of
	// each. An unknown name is a *NotFound.
	TestAlert(ctx context.Context, name string) ([]AlertWay, error)
	// Events emits the last transitions, oldest first, or those after From; then
	// with Follow each new one until ctx is done. It returns the error of emit unchanged. emit
	// may take seconds when the reader is slow: call it without holding a lock,
	// and from one goroutine at a time.
	Events(ctx context.Context, q Stream, emit func(Event) error) error
	// Logs is Events for the consumers' output: the last lines of each slot.
	Logs(ctx context.Context, q Stream, emit func(LogLine) error) error
}

// StatusQuery says how much of the status is wanted. The zero value is the
// summary of everything, which stays cheap with a thousand slots.
type StatusQuery struct {
	Names []string // consumer, consumer/slot, @group or glob; empty = all
	Slots bool     // with every slot
	Usage bool     // with memory and CPU, which are read from /proc: of each consumer, and with Slots of every slot
}

// NotFound says that no consumer, slot or group has this name. HTTP 404.
type NotFound struct {
	Name       string
	Kind       string // what has no such name; "" = consumer
	Suggestion string // the nearest existing name; "" = none is near
}

func (e *NotFound) Error() string {
	return fmt.Sprintf("no %s is named %q", cmp.Or(e.Kind, "consumer or job"), e.Name)
}

// Hint proposes the nearest name.
func (e *NotFound) Hint() string {
	if e.Suggestion == "" && e.Kind != "" {
		return fmt.Sprintf("see all names with \"qsuper %ss\"", e.Kind)
	}
	if e.Suggestion == "" {
		return `see all names with "qsuper status"`
	}
	return fmt.Sprintf("did you mean %q?", e.Suggestion)
}

// Invalid says that the request makes no sense, whatever the fleet's state.
// HTTP 400.
type Invalid struct {
	Problem string
	Advice  string // what to do instead; may be ""
}

func (e *Invalid) Error() string { return e.Problem }

// Hint says what to do instead.
func (e *Invalid) Hint() string { return e.Advice }

// Forbidden says that a peer was let in, but not for this. HTTP 403.
type Forbidden struct{ What string }

func (e *Forbidden) Error() string { return e.What + " is for root and the daemon's own user" }

// Hint says what to do instead.
func (e *Forbidden) Hint() string {
	return `members of the socket's group stop what runs with qsuper stop '*'; to end the daemon, use sudo or systemctl`
}

// Conflict says that the request makes sense but not now, for example a start
// while the daemon is stopping. HTTP 409.
type Conflict struct {
	Problem string
	Advice  string // what to do first; may be ""
}

func (e *Conflict) Error() string { return e.Problem }

// Hint says what to do first.
func (e *Conflict) Hint() string { return e.Advice }
