package main

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"qsuper/control"
)

// topRow is one consumer or job of the fleet.
type topRow struct {
	control.ConsumerStatus
	job      *control.JobStatus // nil: it is a consumer
	cpu      float64            // percent of one processor, over all instances
	rss      int64              // bytes
	known    bool               // cpu and rss are
	history  []int64            // of messages that wait, oldest first
	severity int                // 0 is worst
}

// topSlot is one instance of a consumer.
type topSlot struct {
	control.SlotStatus
	consumer string
	cpu      float64
}

// severity sorts by what a person has to look at first.
func severity(state string, healthy bool) int {
	if !healthy {
		return 0
	}
	return 1 + max(0, slices.Index([]string{"backoff", "stopping", "held", "running", "waiting", "stopped"}, state))
}

func byNumber[T any, N cmp.Ordered](of func(*T) N) func(a, b *T) int {
	return func(a, b *T) int { return cmp.Compare(of(b), of(a)) }
}

func byText[T any](of func(*T) string) func(a, b *T) int {
	return func(a, b *T) int { return strings.Compare(of(a), of(b)) }
}

// byAge has the youngest on top, and what has no moment below everything.
func byAge[T any](of func(*T) time.Time) func(a, b *T) int {
	return func(a, b *T) int { return of(b).Compare(of(a)) }
}

// newFleetGrid is the table of the whole fleet.
func newFleetGrid() *grid[topRow] {
	return newGrid(func(r *topRow) string { return r.Name }, fleetFinds,
		gridColumn[topRow]{column{title: "NAME"}, func(_ statusView, r *topRow) cell { return cell{text: oneLine(r.Name)} },
			byText(func(r *topRow) string { return r.Name })},
		gridColumn[topRow]{column{title: "STATE"}, func(_ statusView, r *topRow) cell { return cell{oneLine(r.State), stateStyle(r.State, r.Healthy)} },
			func(a, b *topRow) int { return cmp.Compare(a.severity, b.severity) }},
		gridColumn[topRow]{column{title: "RUN/WANT", right: true}, func(_ statusView, r *topRow) cell { return r.instances() },
			byNumber(func(r *topRow) int { return r.Running })},
		gridColumn[topRow]{column{title: "READY", right: true}, func(v statusView, r *topRow) cell { c, _, _ := v.queue(r.Queue); return c },
			byNumber(func(r *topRow) int64 {
				return orUnknown(r.Queue, func(q *control.QueueStatus) *int64 { return q.Ready })
			})},
		gridColumn[topRow]{column{title: "TREND", drop: 7}, func(v statusView, r *topRow) cell { return cell{sparkline(v, r.history), cyan} }, nil},
		gridColumn[topRow]{column{title: "IN FLIGHT", right: true, drop: 6}, func(v statusView, r *topRow) cell { _, c, _ := v.queue(r.Queue); return c },
			byNumber(func(r *topRow) int64 {
				return orUnknown(r.Queue, func(q *control.QueueStatus) *int64 { return q.InFlight })
			})},
		gridColumn[topRow]{column{title: "OLDEST", right: true, drop: 3}, func(v statusView, r *topRow) cell { _, _, c := v.queue(r.Queue); return c },
			byNumber(oldest)},
		gridColumn[topRow]{column{title: "CPU", right: true, drop: 4}, func(_ statusView, r *topRow) cell { return r.usage(percent(r.cpu)) },
			byNumber(func(r *topRow) float64 { return r.cpu })},
		gridColumn[topRow]{column{title: "MEM", right: true, drop: 5}, func(_ statusView, r *topRow) cell { return r.usage(size(r.rss)) },
			byNumber(func(r *topRow) int64 { return r.rss })},
		gridColumn[topRow]{column{title: "SINCE", right: true, drop: 2}, func(v statusView, r *topRow) cell { return cell{text: ago(v.now, r.Since)} },
			byAge(func(r *topRow) time.Time { return r.Since })},
		gridColumn[topRow]{column{title: "REASON", flex: true}, func(v statusView, r *topRow) cell { return cell{text: r.why(v.now)} }, nil},
	)
}

// fleetFinds looks for a filter in name and state; @group means a group.
func fleetFinds(r *topRow, want string) bool {
	if group, ok := strings.CutPrefix(want, "@"); ok {
		return strings.HasPrefix(strings.ToLower(r.Group), group) && r.Group != ""
	}
	return strings.Contains(strings.ToLower(r.Name), want) || strings.HasPrefix(r.State, want)
}

func (r *topRow) instances() cell {
	if r.job != nil {
		return cell{text: "job"}
	}
	c := cell{text: fmt.Sprintf("%d/%d", r.Running, r.Wanted)}
	if r.Running < r.Wanted {
		c.style = yellow
	}
	return c
}

func (r *topRow) usage(text string) cell {
	if !r.known {
		return cell{}
	}
	return cell{text: text}
}

// why is the reason; of a job that only waits it is when it runs next.
func (r *topRow) why(now time.Time) string {
	j := r.job
	if j == nil || j.State != "waiting" || !j.Healthy || len(j.Open) > 0 {
		return oneLine(r.Reason)
	}
	text := "no fire to come"
	if j.Starts != nil {
		text = "next in " + humane(j.Starts.Sub(now).Truncate(time.Second))
	}
	if l := j.Last; l != nil {
		text += fmt.Sprintf(", last ended %s ago: %s", ago(now, l.Ended), endOf(*l))
	}
	return text
}

func percent(n float64) string {
	if n < 9.95 {
		return strconv.FormatFloat(n, 'f', 1, 64) + "%"
	}
	return strconv.FormatFloat(n, 'f', 0, 64) + "%"
}

// orUnknown sorts what is not known below zero.
func orUnknown(q *control.QueueStatus, of func(*control.QueueStatus) *int64) int64 {
	if q == nil || q.State != "ok" || of(q) == nil {
		return -1
	}
	return *of(q)
}

func oldest(r *topRow) float64 {
	q := r.Queue
	if q == nil || q.State != "ok" || q.OldestSeconds == nil || q.Ready == nil || *q.Ready == 0 {
		return -1
	}
	return *q.OldestSeconds
}

// trend is how many looks a small graph shows.
const trend = 12

// sparkline draws numbers from zero to the greatest of them; a look that did not
// know leaves a gap.
func sparkline(v statusView, history []int64) string {
	if v.ascii {
		return ""
	}
	highest := int64(0)
	for _, n := range history {
		highest = max(highest, n)
	}
	if highest == 0 {
		return ""
	}
	levels := []rune("▁▂▃▄▅▆▇█")
	var b strings.Builder
	for range trend - len(history) {
		b.WriteByte(' ')
	}
	for _, n := range history {
		if n < 0 {
			b.WriteByte(' ')
			continue
		}
		b.WriteRune(levels[int(float64(n)/float64(highest)*float64(len(levels)-1)+0.5)])
	}
	return b.String()
}

// newSlotGrid is the table of one consumer's instances.
func newSlotGrid() *grid[topSlot] {
	return newGrid(func(s *topSlot) string { return fmt.Sprintf("%s/%d", s.consumer, s.Slot) },
		func(s *topSlot, want string) bool {
			return strings.HasPrefix(s.Phase, want) || strconv.Itoa(s.Slot) == want || strconv.Itoa(s.PID) == want
		},
		gridColumn[topSlot]{column{title: "SLOT"}, func(_ statusView, s *topSlot) cell {
			return cell{text: fmt.Sprintf("%s/%d", oneLine(s.consumer), s.Slot)}
		}, nil},
		gridColumn[topSlot]{column{title: "PHASE"}, func(_ statusView, s *topSlot) cell { return cell{oneLine(s.Phase), phaseStyle(s.SlotStatus)} },
			byText(func(s *topSlot) string { return s.Phase })},
		gridColumn[topSlot]{column{title: "PID", right: true}, func(_ statusView, s *topSlot) cell { return s.alive(strconv.Itoa(s.PID)) },
			byNumber(func(s *topSlot) int { return s.PID })},
		gridColumn[topSlot]{column{title: "SINCE", right: true}, func(v statusView, s *topSlot) cell { return cell{text: ago(v.now, s.Since)} },
			byAge(func(s *topSlot) time.Time { return s.Since })},
		gridColumn[topSlot]{column{title: "RUN", right: true, drop: 3}, func(_ statusView, s *topSlot) cell { return cell{text: strconv.FormatUint(s.Run, 10)} },
			byNumber(func(s *topSlot) uint64 { return s.Run })},
		gridColumn[topSlot]{column{title: "MEM", right: true, drop: 1}, func(_ statusView, s *topSlot) cell { return s.alive(size(s.RSSBytes)) },
			byNumber(func(s *topSlot) int64 { return s.RSSBytes })},
		gridColumn[topSlot]{column{title: "CPU", right: true, drop: 2}, func(_ statusView, s *topSlot) cell { return s.alive(percent(s.cpu)) },
			byNumber(func(s *topSlot) float64 { return s.cpu })},
		gridColumn[topSlot]{column{title: "FAILED", right: true, drop: 4}, func(_ statusView, s *topSlot) cell { return cell{text: strconv.Itoa(s.Failures)} },
			byNumber(func(s *topSlot) int { return s.Failures })},
		gridColumn[topSlot]{column{title: "REASON, LAST EXIT", flex: true}, func(v statusView, s *topSlot) cell { return cell{text: s.story(v)} }, nil},
	)
}

// alive is a cell that only a process has.
func (s *topSlot) alive(text string) cell {
	if s.PID == 0 {
		return cell{}
	}
	return cell{text: text}
}

// story is why it does not run, or else how the run before ended.
func (s *topSlot) story(v statusView) string {
	var parts []string
	if s.Reason != "" && s.Phase != "running" {
		parts = append(parts, oneLine(s.Reason))
	}
	if s.Output != nil {
		parts = append(parts, "output cannot be written: "+oneLine(s.Output.Error))
	}
	if last := v.lastExit(s.LastExit); last != "" {
		parts = append(parts, "last: "+last)
	}
	return strings.Join(parts, "; ")
}
