package main

import (
	"time"

	"qsuper/control"
)

// usageBefore is what each instance had used of the processor at the look before.
type usageBefore map[slotKey]usedCPU

type usedCPU struct {
	run     uint64
	seconds float64
	at      time.Time
	percent float64 // of the time between the two latest looks
}

// shares says how much of a processor each instance has used since the look
// before; of one that was not there then it is the average over its life.
func (u usageBefore) shares(st control.Status, now time.Time) map[slotKey]float64 {
	shares := map[slotKey]float64{}
	for _, c := range st.Consumers {
		for _, s := range c.Slots {
			if s.PID == 0 {
				continue
			}
			k := slotKey{c.Name, s.Slot}
			is := usedCPU{s.Run, s.CPUSeconds, now, s.CPUPercent}
			if was, ok := u[k]; ok && was.run == s.Run && s.CPUSeconds >= was.seconds {
				if now.Sub(was.at) < topEvery/2 { // too close for the kernel's ticks
					is = was
				} else {
					is.percent = 100 * (s.CPUSeconds - was.seconds) / now.Sub(was.at).Seconds()
				}
			}
			u[k], shares[k] = is, is.percent
		}
	}
	for k := range u {
		if _, ok := shares[k]; !ok {
			delete(u, k)
		}
	}
	return shares
}

// remember adds a look at each queue to the small graphs.
func (t *top) remember(st control.Status) {
	there := map[string]bool{}
	for _, c := range st.Consumers {
		if c.Queue == nil {
			continue
		}
		there[c.Name] = true
		past := append(t.depths[c.Name], orUnknown(c.Queue, func(q *control.QueueStatus) *int64 { return q.Ready }))
		t.depths[c.Name] = past[max(0, len(past)-trend):]
	}
	for name := range t.depths {
		if !there[name] {
			delete(t.depths, name)
		}
	}
}

// rows are the fleet's, consumers before jobs.
func (t *top) rows(share map[slotKey]float64) []topRow {
	rows := make([]topRow, 0, len(t.st.Consumers)+len(t.st.Jobs))
	for _, c := range t.st.Consumers {
		r := topRow{ConsumerStatus: c, history: t.depths[c.Name], severity: severity(c.State, c.Healthy)}
		for _, s := range c.Slots {
			if s.PID != 0 {
				r.known = true
				r.rss += s.RSSBytes
				r.cpu += share[slotKey{c.Name, s.Slot}]
			}
		}
		rows = append(rows, r)
	}
	for i := range t.st.Jobs {
		j := &t.st.Jobs[i]
		c := control.ConsumerStatus{Name: j.Name, Group: j.Group, State: j.State, Healthy: j.Healthy, Code: j.Code, Reason: j.Reason}
		rows = append(rows, topRow{ConsumerStatus: c, job: j, severity: severity(j.State, j.Healthy)})
	}
	return rows
}

// instances are those of the consumer that the page is about; without shares those
// of the latest look count.
func (t *top) instances(share map[slotKey]float64) []topSlot {
	for _, c := range t.st.Consumers {
		if c.Name != t.consumer() {
			continue
		}
		list := make([]topSlot, 0, len(c.Slots))
		for _, s := range c.Slots {
			is := topSlot{SlotStatus: s, consumer: c.Name}
			if is.cpu = share[slotKey{c.Name, s.Slot}]; share == nil {
				is.cpu = t.past[slotKey{c.Name, s.Slot}].percent
			}
			list = append(list, is)
		}
		return list
	}
	return nil
}
