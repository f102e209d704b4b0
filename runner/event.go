package runner

import (
	"context"
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
	Slot     int
	Run      uint64
	PID      int
	From, To string // phases; "" = not a transition
	Reason   slot.Reason
}

// journal remembers the latest events and tells followers of new ones.
type journal struct {
	mu      sync.Mutex
	ring    []Event // oldest first once full, starting at seq % keepEvents
	seq     uint64
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

// Events emits the last n events that pass, and with follow those to come,
// until ctx is done or emit returns an error.
func (j *journal) events(ctx context.Context, n int, follow bool, pass func(Event) bool, emit func(Event) error) error {
	if follow {
		j.watch(1)
		defer j.watch(-1)
	}
	list, next := j.since(0)
	list = lastOf(list, n, pass)
	for {
		for _, e := range list {
			if !pass(e) {
				continue
			}
			if err := emit(e); err != nil {
				return err
			}
		}
		if !follow {
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
