package runner

import (
	"qsuper/slot"
	"qsuper/trace"
)

// The decision log has a line for each fire that is started, skipped or another
// host's, and one for each new reason why a fire that is due has to wait.

// record notes what has been decided about a fire.
func (j *job) record(f trace.Fire, why slot.Reason) {
	if j.c.r.trace == nil {
		return
	}
	j.c.r.trace.Note(&trace.Record{
		At: j.w.wall.Round(0), Consumer: j.c.name, Observed: j.c.observed, Job: &f, Was: trace.Verdict{Reason: why},
	})
}

// recordSkip notes fires that do not start. That a person keeps the job from running
// is told once: it may be for months.
func (j *job) recordSkip(s skip) {
	if s.Code == j.told && (s.Code == slot.Stopped || s.Code == slot.Paused) {
		return
	}
	j.record(trace.Fire{At: s.At, Manual: s.Manual, Did: trace.FireSkipped, Count: s.Count}, slot.Reason{Code: s.Code, Text: s.Text})
}

// recordStart notes that the keeper is asked for the run of a fire.
func (j *job) recordStart(f *fire) {
	j.record(trace.Fire{At: f.At, Manual: f.Manual, Did: trace.FireStarted, Note: f.Note, Try: f.Try, Slot: f.Slot, Run: f.Run}, slot.Reason{Code: slot.Due})
}

// recordWaits notes why fires that are due do not run, when that has changed.
func (j *job) recordWaits() {
	for _, f := range j.rec.Open {
		if why := f.waits(); why.Code != f.waited {
			if f.waited = why.Code; why.Code != "" {
				j.record(trace.Fire{At: f.At, Manual: f.Manual, Did: trace.FireWaits, Try: f.Try}, why)
			}
		}
	}
}

// waits is why a fire does not run now; its Code is "" when it does, or is about to.
func (f *fire) waits() slot.Reason {
	switch {
	case f.Run != 0:
	case f.unit == nil && !f.Again.IsZero():
		return slot.Reason{Code: slot.Backoff, Text: "the run before failed"}
	case f.unit == nil:
		return slot.Reason{Code: slot.Overlap, Text: "waits for another run to end"}
	case f.unit.state.Reason.Code == slot.Due: // about to
	case f.unit.state.Phase == slot.Waiting, f.unit.state.Phase == slot.Halted:
		return f.unit.state.Reason
	}
	return slot.Reason{}
}
