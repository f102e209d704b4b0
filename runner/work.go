package runner

import (
	"time"

	"qsuper/health"
	"qsuper/slot"
)

// work judges from the depth whether runs that come and go do anything. Until
// a reading after them speaks against it, they are taken to have worked: a
// consumer that handles one message in a few milliseconds and exits must not
// wait for the next look at the queue.
type work struct {
	at      time.Time // of the reading the verdict rests on
	ready   int64
	verdict slot.Work
	quick   int // quick exits since that reading
}

// judge is asked at every exit with the latest reading; nil means that nobody
// measures, so that nobody can say.
func (w *work) judge(r *health.Reading, at time.Time, quick bool) slot.Work {
	if r == nil || r.State != health.OK {
		*w = work{}
		return slot.WorkUnknown
	}
	if at.After(w.at) {
		switch {
		case w.at.IsZero(), r.Ready < w.ready, w.quick == 0:
			w.verdict = slot.WorkDone
		default:
			w.verdict = slot.WorkNone
		}
		w.at, w.ready, w.quick = at, r.Ready, 0
	}
	if quick {
		w.quick++
	}
	return w.verdict
}
