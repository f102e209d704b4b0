package simulate

import (
	"time"

	"qsuper/plan"
	"qsuper/slot"
)

// Own is qsuper: plan.Decide and slot.Step as the daemon runs them, without the
// daemon. Nothing but the gates that a Fleet has can be shut.
type Own struct {
	Program  plan.Program
	Interval time.Duration       // how often the queue is looked at
	Trace    func(r plan.Result) // told of each decision; nil: nobody is
	slots    []plan.Slot
	crew     []*Instance // of each slot; nil: none
	memory   plan.Memory
	queue    *plan.Depth
	conn     plan.Conn
	next     time.Duration
}

// epoch is the wall clock at the beginning of each day.
var epoch = time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)

// Look implements Rule.
func (w *Own) Look(f *Fleet) {
	now := epoch.Add(f.Now)
	if w.slots == nil {
		w.slots, w.crew = make([]plan.Slot, w.Program.Max), make([]*Instance, w.Program.Max)
		w.conn.Name = "queue"
	}
	if f.Now >= w.next {
		w.next = f.Now + w.Interval
		w.measure(f, now)
	}
	for i, in := range w.crew {
		if in != nil && in.Gone {
			w.crew[i] = nil
			w.step(f, i, now, slot.Exited{Run: w.slots[i].Run, Exit: slot.ExitInfo{At: now, Ran: f.Now - in.Began}})
		}
		w.slots[i].Quiet = time.Time{}
		if in != nil && !in.Busy {
			w.slots[i].Quiet = epoch.Add(in.Free)
		}
	}
	o := plan.Observed{Conns: []plan.Conn{w.conn}, Queue: w.queue}
	r := plan.Decide(w.Program, o, w.memory, w.slots, now)
	w.memory = r.Memory
	for i, d := range r.Decisions {
		w.step(f, i, now, slot.Wish{Want: d.Want, Reason: d.Reason})
	}
	if w.Trace != nil {
		w.Trace(r)
	}
}

func (w *Own) measure(f *Fleet, now time.Time) {
	w.queue = &plan.Depth{Reading: f.Reading(), At: now}
	before := w.conn.State
	w.conn.State, w.conn.At, w.conn.Err = plan.ConnUp, now, ""
	if f.Down {
		w.conn.State, w.conn.Err = plan.ConnDown, w.queue.Err
	} else if before == plan.ConnDown {
		w.conn.Back, w.conn.Sharers = now, 1
	}
}

// step carries out what a slot decides, at once.
func (w *Own) step(f *Fleet, i int, now time.Time, ev slot.Event) {
	s := &w.slots[i].State
	for range 8 {
		next, effect := slot.Step(w.Program.Policy, *s, now, ev)
		moved := next.Phase != s.Phase
		*s, ev = next, slot.Tick{}
		switch effect {
		case slot.Check:
			ev = slot.Opened{Run: s.Run}
		case slot.Spawn:
			w.crew[i] = f.Start()
			ev = slot.Spawned{Run: s.Run, PID: i + 1}
		case slot.Stop:
			w.crew[i].Finish = true
		case slot.None:
			if !moved {
				return
			}
		}
	}
}
