package runner

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"qsuper/slot"
)

// keepEvents is how many transitions are remembered.
const keepEvents = 2000

// Event is one transition of a slot, or something that happened to the daemon.
type Event struct {
	Seq      uint64
	At       time.Time
	Consumer string // "" = the daemon itself
	Slot     int    // -1: none in particular
	Run      uint64
	PID      int
	From, To string // phases; "" = not a transition
	Reason   slot.Reason
}

// Since is a place in the events of one engine, each of which has its own.
type Since struct {
	Engine string
	Seq    uint64 // of the last event seen
}

// EventQuery says which events are to be told.
type EventQuery struct {
	Names  []string // of consumers and slots; empty: all
	Last   int      // how many to begin with
	Follow bool
	After  *Since // nil: Last counts
}

// missedEvents is told where events are missing: those of an engine that has died
// have died with it, and no more than keepEvents are remembered.
const missedEvents = "events may be missing here: the engine was restarted, or more came than are remembered"

// journal remembers the latest events and tells followers of new ones.
type journal struct {
	mu      sync.Mutex
	ring    []Event // oldest first once full, starting at seq % keepEvents
	seq     uint64
	engine  string        // tells its numbers from those of other engines
	changed chan struct{} // closed and replaced at each event while somebody follows
	follow  int
}

func (j *journal) add(e Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	e.Seq = j.seq
	if len(j.ring) < keepEvents {
		j.ring = append(j.ring, e)
	} else {
		j.ring[j.seq%keepEvents] = e
	}
	j.seq++
	if j.follow > 0 {
		close(j.changed)
		j.changed = make(chan struct{})
	}
}

// since returns the events from seq on, and the number of the next one.
func (j *journal) since(seq uint64) ([]Event, uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if low := j.seq - min(j.seq, uint64(len(j.ring))); seq < low {
		seq = low
	}
	list := make([]Event, 0, j.seq-min(seq, j.seq))
	for ; seq < j.seq; seq++ {
		list = append(list, j.ring[seq%keepEvents])
	}
	return list, j.seq
}

// begin returns the events that q begins with, and the number of the next one.
func (j *journal) begin(q EventQuery, pass func(Event) bool) ([]Event, uint64) {
	if q.After == nil {
		list, next := j.since(0)
		return lastOf(list, q.Last, pass), next
	}
	from := uint64(0)
	if q.After.Engine == j.engine {
		from = q.After.Seq + 1
	}
	list, next := j.since(from)
	if q.After.Engine != j.engine || len(list) > 0 && list[0].Seq > from {
		list = append([]Event{{At: time.Now(), Reason: slot.Reason{Text: missedEvents}}}, list...)
	}
	return list, next
}

// events emits the events that q asks for and that pass, and with q.Follow those
// to come, until ctx is done or emit returns an error.
func (j *journal) events(ctx context.Context, q EventQuery, pass func(Event) bool, emit func(Event) error) error {
	if q.Follow {
		j.watch(1)
		defer j.watch(-1)
	}
	list, next := j.begin(q, pass)
	for {
		for _, e := range list {
			if !pass(e) && e.Reason.Text != missedEvents {
				continue
			}
			if err := emit(e); err != nil {
				return err
			}
		}
		if !q.Follow {
			return nil
		}
		j.mu.Lock()
		changed, more := j.changed, j.seq > next
		j.mu.Unlock()
		if !more {
			select {
			case <-changed:
			case <-ctx.Done():
				return nil
			}
		}
		list, next = j.since(next)
	}
}

func lastOf(list []Event, n int, pass func(Event) bool) []Event {
	i := len(list)
	for ; i > 0 && n > 0; i-- {
		if pass(list[i-1]) {
			n--
		}
	}
	return list[i:]
}

func (j *journal) watch(n int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.changed == nil {
		j.changed = make(chan struct{})
	}
	j.follow += n
}

// moved records a transition: in the journal, and in the daemon's log at a
// level that keeps an eventless day quiet.
func (c *consumer) moved(u *unit, old slot.State) {
	from, to, pid := old.Phase, u.state.Phase, max(old.PID, u.state.PID)
	if from == slot.Spawning && to.Alive() {
		c.tally.Starts++
	}
	if to == slot.Checking || to == slot.Spawning || from == slot.Checking {
		return // half-steps: what comes of them is told
	}
	if from == slot.Halted && to == slot.Waiting || from == slot.Waiting && to == slot.Halted {
		return // no process was concerned; explain tells the reason
	}
	c.r.journal.add(Event{
		At: u.state.Since, Consumer: c.name, Slot: u.n, Run: u.state.Run, PID: pid,
		From: from.String(), To: to.String(), Reason: u.state.Reason,
	})
	level := slog.LevelInfo
	if u.state.Reason.Code == slot.Backoff || to == slot.Killing {
		level = slog.LevelWarn
	}
	if !c.r.log.Enabled(context.Background(), level) {
		return
	}
	c.r.log.LogAttrs(context.Background(), level, to.String(),
		slog.String("consumer", c.name), slog.Int("slot", u.n), slog.Uint64("run", u.state.Run), slog.Int("pid", pid),
		slog.String("from", from.String()), slog.String("code", string(u.state.Reason.Code)), slog.String("reason", u.state.Reason.String()))
}
