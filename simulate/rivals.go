package simulate

import (
	"math"
	"time"

	"qsuper/health"
)

// Horizon is Laravel Horizon's `balance: auto` for a supervisor with one queue, as
// its documentation and AutoScaler have it: every Cooldown the number moves by
// Shift at most towards max × (this queue's part of all work). With one queue that
// is max while anything waits, and min when nothing does; whether work is counted
// in jobs or in time makes no difference then.
type Horizon struct {
	Min, Max int
	Shift    int
	Cooldown time.Duration
	next     time.Duration
	number   int
}

// Look implements Rule.
func (h *Horizon) Look(f *Fleet) {
	h.number = max(h.number, h.Min)
	if q := f.Reading(); q.State == health.OK && f.Now >= h.next {
		h.next = f.Now + h.Cooldown
		wanted := h.Min
		if q.Ready > 0 {
			wanted = h.Max
		}
		switch {
		case wanted > h.number:
			h.number += min(h.Shift, wanted-h.number, max(h.Max-len(f.Crew()), 0))
		case wanted < h.number:
			h.number -= min(h.Shift, h.number-wanted)
		}
	}
	reach(f, h.number)
}

// KEDA is what its documentation and that of Kubernetes' HorizontalPodAutoscaler
// have for a queue with a target per pod: from nought when a look every Polling
// finds messages, ceil(messages / target) every Sync, at most the double or four
// more in that time, fewer only to the most that were wanted within Stabilization,
// and to nought when nothing has waited for Cooldown.
type KEDA struct {
	Min, Max      int
	PerPod        int
	Polling, Sync time.Duration
	Stabilization time.Duration
	Cooldown      time.Duration
	replicas      int
	poll, sync    time.Duration
	active        time.Duration
	advice        []int // of each sync
}

// Look implements Rule.
func (k *KEDA) Look(f *Fleet) {
	q := f.Reading()
	if q.State == health.OK && f.Now >= k.poll {
		k.poll = f.Now + k.Polling
		if q.Ready > 0 {
			k.active = f.Now
			k.replicas = max(k.replicas, 1)
		} else if f.Now-k.active >= k.Cooldown {
			k.replicas, k.advice = k.Min, nil
		}
	}
	if q.State == health.OK && f.Now >= k.sync && k.replicas > 0 {
		k.sync = f.Now + k.Sync
		k.scale(float64(q.Ready))
	}
	reach(f, k.replicas)
}

// scale is one look of the autoscaler.
func (k *KEDA) scale(messages float64) {
	const tolerance = 0.1
	wanted := int(math.Ceil(messages / float64(k.PerPod)))
	if math.Abs(messages/float64(k.PerPod*k.replicas)-1) <= tolerance {
		wanted = k.replicas
	}
	wanted = min(max(wanted, k.Min, 1), k.Max, max(2*k.replicas, k.replicas+4))
	k.advice = append(k.advice, wanted)
	if keep := int(k.Stabilization/k.Sync) + 1; len(k.advice) > keep {
		k.advice = k.advice[len(k.advice)-keep:]
	}
	if wanted < k.replicas {
		for _, a := range k.advice {
			wanted = max(wanted, a)
		}
		wanted = min(wanted, k.replicas)
	}
	k.replicas = wanted
}

// reach starts instances, or asks the youngest to finish, until there are so many;
// those that have ended by themselves are replaced.
func reach(f *Fleet, number int) {
	n := 0
	for _, i := range f.Crew() {
		if !i.Finish {
			n++
		}
	}
	for ; n < number; n++ {
		f.Start()
	}
	crew := f.Crew()
	for i := len(crew) - 1; i >= 0 && n > number; i-- {
		if !crew[i].Finish {
			crew[i].Finish = true
			n--
		}
	}
}
