package plan

import (
	"fmt"
	"time"

	"qsuper/health"
	"qsuper/slot"
)

// GateState says what was seen at a gate.
type GateState string

// The states of a gate. Unknown keeps shut like Closed, but says that nobody
// knows; Skipped means that the file does not ask for this gate.
const (
	Open    GateState = "open"
	Closed  GateState = "closed"
	Unknown GateState = "unknown"
	Skipped GateState = "skipped"
)

// Gate is one condition with what was seen of it.
type Gate struct {
	Name     string
	State    GateState
	Evidence string
	code     slot.Code
}

// gate is a condition in the fixed order: cheap and human ones first. want is
// what follows for the slots when it is not open; nil gates only inform.
type gate struct {
	look func(Program, Observed, time.Time) Gate
	want func(Program) slot.Want
}

var gates = []gate{
	{stoppedGate, down},
	{pausedGate, down},
	{windowGate, down},
	{connectionGate, hold},
	{queueGate, hold},
	{depthGate, nil}, // decides how many, in share
	{budgetGate, hold},
	{storeGate, hold}, // last: the lock is the only gate that takes something
}

func down(Program) slot.Want { return slot.Down }
func hold(Program) slot.Want { return slot.Hold }

// Gates returns every gate in order, looked at again at now. m is what the
// latest decision remembers.
func Gates(p Program, o Observed, m Memory, now time.Time) []Gate {
	list := make([]Gate, 0, len(gates)+3)
	for _, g := range gates {
		v := g.look(p, o, now)
		v.Evidence += age(v.Name, o, now)
		list = append(list, v)
	}
	if p.MaxWait > 0 {
		list = append(list, paceGate(p, o, &m, now))
	}
	return append(list, rampGate(p, o, now), breakerGate(p, &m.Breaker, now), signalGate(o, m, now))
}

// JobGates are the gates that a job has.
func JobGates(p Program, o Observed, now time.Time) []Gate {
	var list []Gate
	for _, look := range []func(Program, Observed, time.Time) Gate{stoppedGate, pausedGate, connectionGate, budgetGate, storeGate} {
		v := look(p, o, now)
		v.Evidence += age(v.Name, o, now)
		list = append(list, v)
	}
	return list
}

// age says how old the evidence is; it is no part of the reason of a slot,
// which must not change every second.
func age(name string, o Observed, now time.Time) string {
	switch {
	case (name == "queue" || name == "depth") && o.Queue != nil:
		return fmt.Sprintf(", measured %s ago", ago(now.Sub(o.Queue.At)))
	case name == "connection" && len(o.Conns) > 0:
		oldest := o.Conns[0].At
		for _, c := range o.Conns {
			if c.At.Before(oldest) {
				oldest = c.At
			}
		}
		if !oldest.IsZero() {
			return fmt.Sprintf(", asked %s ago", ago(now.Sub(oldest)))
		}
	}
	return ""
}

func ago(d time.Duration) string {
	switch {
	case d < 0:
		return "0 s"
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	}
	return d.Round(time.Second).String()
}

func stoppedGate(_ Program, o Observed, _ time.Time) Gate {
	g := Gate{Name: "stopped", State: Open, Evidence: "nobody stopped it"}
	switch {
	case o.Shutdown:
		g.State, g.code, g.Evidence = Closed, slot.Shutdown, "the daemon is stopping"
	case o.Stopped != "":
		g.State, g.code, g.Evidence = Closed, slot.Stopped, "stopped "+o.Stopped
	}
	return g
}

func pausedGate(_ Program, o Observed, _ time.Time) Gate {
	if o.Paused != "" {
		return Gate{"paused", Closed, "paused " + o.Paused, slot.Paused}
	}
	return Gate{Name: "paused", State: Open, Evidence: "not paused"}
}

func windowGate(p Program, _ Observed, now time.Time) Gate {
	if p.Window == nil {
		return Gate{Name: "window", State: Skipped, Evidence: "no `active` window"}
	}
	next := p.Window.NextChange(now)
	until := "for ever"
	if !next.IsZero() {
		until = "until " + next.Format("Mon 15:04 MST")
	}
	if p.Window.Open(now) {
		return Gate{Name: "window", State: Open, Evidence: fmt.Sprintf("inside %q %s", p.Window, until)}
	}
	return Gate{"window", Closed, fmt.Sprintf("outside %q %s", p.Window, until), slot.Window}
}

func connectionGate(_ Program, o Observed, _ time.Time) Gate {
	if len(o.Conns) == 0 {
		return Gate{Name: "connection", State: Skipped, Evidence: "it requires no connection"}
	}
	up := ""
	for _, c := range o.Conns {
		switch c.State {
		case ConnDown:
			return Gate{"connection", Closed, fmt.Sprintf("%s does not answer: %s", c.Name, c.Err), slot.Connection}
		case ConnUnknown:
			return Gate{"connection", Unknown, c.Name + " has not answered yet", slot.Connection}
		}
		if up != "" {
			up += ", "
		}
		up += c.Name
	}
	return Gate{Name: "connection", State: Open, Evidence: up + " answers"}
}

func queueGate(p Program, o Observed, _ time.Time) Gate {
	if p.Queue == "" {
		return Gate{Name: "queue", State: Skipped, Evidence: "it has no queue"}
	}
	if !needsDepth(p) {
		return Gate{Name: "queue", State: Skipped, Evidence: "`spawn: always` does not ask for the depth"}
	}
	if o.Queue == nil {
		return Gate{"queue", Unknown, "queue " + p.Queue + " has not been measured yet", slot.QueueUnsure}
	}
	switch o.Queue.State {
	case health.Missing:
		if p.scaled() && p.Min > 0 { // they may be who makes it
			return Gate{Name: "queue", State: Open, Evidence: fmt.Sprintf("queue %s does not exist%s: %d run, as `min` says", p.Queue, because(o.Queue.Err), p.Min)}
		}
		return Gate{"queue", Closed, "queue " + p.Queue + " does not exist" + because(o.Queue.Err), slot.NoQueue}
	case health.OK:
		return Gate{Name: "queue", State: Open, Evidence: "queue " + p.Queue + " exists"}
	}
	return Gate{"queue", Unknown, "depth of " + p.Queue + " unknown" + because(o.Queue.Err), slot.QueueUnsure}
}

func because(err string) string {
	if err == "" {
		return ""
	}
	return ": " + err
}

func depthGate(p Program, o Observed, _ time.Time) Gate {
	switch {
	case p.Queue == "":
		return Gate{Name: "depth", State: Skipped, Evidence: "it has no queue"}
	case !needsDepth(p):
		return Gate{Name: "depth", State: Skipped, Evidence: "`spawn: always`" + depthText(o.Queue)}
	case o.Queue == nil || o.Queue.State != health.OK:
		return Gate{"depth", Unknown, "not known, which is not zero", slot.QueueUnsure}
	case p.OnMessages && o.Queue.Ready < 1 && p.Min == 0 || p.OnMessages && p.Min == p.Max && o.Queue.Ready < 1:
		return Gate{"depth", Closed, fmt.Sprintf("ready %d < 1%s", o.Queue.Ready, inFlightText(o.Queue)), slot.Empty}
	}
	return Gate{Name: "depth", State: Open, Evidence: fmt.Sprintf("ready %d%s", o.Queue.Ready, inFlightText(o.Queue))}
}

func depthText(d *Depth) string {
	if d == nil || d.State != health.OK {
		return ""
	}
	return fmt.Sprintf(" (ready %d%s)", d.Ready, inFlightText(d))
}

func inFlightText(d *Depth) string {
	text := ""
	if d.InFlight != health.NotKnown {
		text += fmt.Sprintf(", in flight %d", d.InFlight)
	}
	if d.Delayed > 0 {
		text += fmt.Sprintf(", delayed %d", d.Delayed)
	}
	return text
}

// breakerGate informs: who may start is decided in ration.
func breakerGate(p Program, b *Breaker, now time.Time) Gate {
	if p.Max < 2 {
		return Gate{Name: "breaker", State: Skipped, Evidence: "a single instance has its backoff only"}
	}
	g := Gate{Name: "breaker", State: Open, Evidence: b.evidence(now)}
	if b.Phase != Watching {
		g.State = Closed
	}
	return g
}

// needsDepth says whether the number of messages has a say at all.
func needsDepth(p Program) bool { return p.OnMessages || p.scaled() }

// scaled says whether the depth decides how many run.
func (p Program) scaled() bool { return p.PerInstance > 0 || p.MaxWait > 0 }
