package faults

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"qsuper/test/rig"
)

// The oracles say what is true, from the journal and from /proc, and hold
// qsuper's account against it. Each has the number it has in the catalogue.
// None of them takes slowness for a fault: what a busy machine delays is
// waited for, and times are compared only where delay cannot deceive.

// noOverlap (O1): no two runs of a slot were ever alive together, children
// included: the first word of a run comes after the last one of the run before.
func (f *fleet) noOverlap() {
	f.T.Helper()
	for _, o := range overlaps(f.journal.read(f.T)) {
		f.T.Errorf("O1 overlap: %s", o)
	}
}

func overlaps(list []record) (found []string) {
	type span struct {
		run         string
		first, last time.Duration
	}
	slots := map[string]map[string]*span{}
	for _, r := range list {
		if slots[r.Slot] == nil {
			slots[r.Slot] = map[string]*span{}
		}
		run := r.Run + " of pid " + r.Main // a run's id alone would hide two that have the same
		s := slots[r.Slot][run]
		if s == nil {
			s = &span{run, r.At, r.At}
			slots[r.Slot][run] = s
		}
		s.first, s.last = min(s.first, r.At), max(s.last, r.At)
	}
	for slot, runs := range slots {
		var spans []*span
		for _, s := range runs {
			spans = append(spans, s)
		}
		slices.SortFunc(spans, func(a, b *span) int { return cmp.Compare(a.first, b.first) })
		for i := 1; i < len(spans); i++ {
			if a, b := spans[i-1], spans[i]; b.first <= a.last {
				found = append(found, fmt.Sprintf("%s: %s began %s before %s had ended", slot, b.run, a.last-b.first, a.run))
			}
		}
	}
	return found
}

// noLeftovers (O2): no process carries a run of this daemon in its environment.
func (f *fleet) noLeftovers() {
	f.T.Helper()
	left := f.processes()
	for deadline := time.Now().Add(5 * time.Second); len(left) > 0 && time.Now().Before(deadline); left = f.processes() {
		<-time.After(50 * time.Millisecond) // a killed process needs a moment to vanish
	}
	for _, p := range left {
		f.T.Errorf("O2 left behind: %+v", p)
	}
}

// linesWhole (O3): every numbered line is in the files, rotated ones included,
// once, whole and in order. It returns how many there are. With gaps allowed,
// what is missing is what the lines about gaps count.
func (f *fleet) linesWhole(gaps bool) int {
	f.T.Helper()
	n, _ := f.countLines(gaps)
	return n
}

// countLines is linesWhole that tells as well how many are lost.
func (f *fleet) countLines(gaps bool) (n int, lost int64) {
	f.T.Helper()
	written := map[string]int64{} // by run and pid
	slotOf := map[string]string{}
	for _, r := range f.journal.read(f.T) {
		k := fmt.Sprint(r.Run, " ", r.PID)
		written[k], slotOf[k] = max(written[k], r.Lines), r.Slot
	}
	missing, counted := map[string]int64{}, map[string]int64{} // by slot
	seen := map[string]int64{}
	for _, slot := range f.slots() {
		for _, line := range f.logLines(slot) {
			l, gap, problem := parseLine(line)
			switch {
			case gap > 0:
				counted[slot] += gap
			case problem != "":
				f.T.Errorf("O3 lines: %s: %s", slot, problem)
			case l.n > 0:
				k := fmt.Sprint(l.run, " ", l.pid)
				if l.n <= seen[k] {
					f.T.Errorf("O3 lines: %s: pid %d line %d after %d", slot, l.pid, l.n, seen[k])
				}
				missing[slot] += max(l.n-seen[k]-1, 0)
				seen[k] = l.n
				n++
			}
		}
	}
	for k, w := range written {
		missing[slotOf[k]] += max(w-seen[k], 0)
	}
	for slot, m := range missing {
		lost += m
		if m != counted[slot] || m > 0 && !gaps {
			f.T.Errorf("O3 lines: %s: %d are missing, the gap lines count %d", slot, m, counted[slot])
		}
	}
	return n, lost
}

type numbered struct {
	run string
	pid int
	n   int64
}

var gapLine = regexp.MustCompile(`^qsuper: \d+ bytes \((\d+) lines\) of output lost between `)

// parseLine reads a line of a log file; lines of other kinds are nobody's problem.
func parseLine(line string) (l numbered, gap int64, problem string) {
	if m := gapLine.FindStringSubmatch(line); m != nil {
		gap, _ = strconv.ParseInt(m[1], 10, 64)
		return l, gap, ""
	}
	if !strings.HasPrefix(line, "L ") {
		if strings.Contains(line, "L ") || strings.HasSuffix(line, "x;") {
			return l, 0, fmt.Sprintf("torn line %.120q", line)
		}
		return l, 0, ""
	}
	var pad int
	var rest string
	if n, _ := fmt.Sscanf(line, "L %s %d %d %d %s", &l.run, &l.pid, &l.n, &pad, &rest); n != 5 || rest != strings.Repeat("x", pad)+";" {
		return numbered{}, 0, fmt.Sprintf("torn line %.120q", line)
	}
	return l, 0, ""
}

// slots are those that have written a journal.
func (f *fleet) slots() (list []string) {
	for _, r := range f.journal.read(f.T) {
		if !slices.Contains(list, r.Slot) {
			list = append(list, r.Slot)
		}
	}
	return list
}

// logLines are the lines of a slot's files, the oldest file first.
func (f *fleet) logLines(slot string) []string {
	f.T.Helper()
	base := f.Path("logs/" + strings.ReplaceAll(slot, "/", ".") + ".log")
	names, _ := filepath.Glob(base + ".*")
	age := func(name string) int { n, _ := strconv.Atoi(strings.TrimPrefix(name, base+".")); return n }
	slices.SortFunc(names, func(a, b string) int { return age(b) - age(a) })
	var all []byte
	for _, name := range append(names, base) {
		b, err := os.ReadFile(name)
		if err != nil && !os.IsNotExist(err) {
			f.T.Fatal(err)
		}
		if len(b) > 0 && b[len(b)-1] != '\n' && name != base {
			f.T.Errorf("O3 lines: %s does not end with a line", filepath.Base(name))
		}
		all = append(all, b...)
	}
	return strings.Split(string(all), "\n")
}

// notBefore (O4): a process that is given a grace is there until it has ended.
// Both ends of the comparison are on the safe side: asked is from before the
// stop was asked for, and the death is seen after it happened.
func (f *fleet) notBefore(d *death, asked, grace time.Duration) {
	f.T.Helper()
	if at := d.wait(f.T); at < asked+grace {
		f.T.Errorf("O4 grace: pid %d was dead %s after the stop was asked for, its grace is %s", d.pid, at-asked, grace)
	}
}

// pids (O5) are the instances that run, with their start times: what must be the
// same before and after.
func (f *fleet) pids() string {
	f.T.Helper()
	var list []string
	eventually(f.T, rig.Patience, "the daemon answers", func() bool {
		st, ok := f.Status()
		list = nil
		for _, c := range st.Consumers {
			for _, s := range c.Slots {
				list = append(list, fmt.Sprintf("%s/%d=%d@%s", c.Name, s.Slot, s.PID, startTime(s.PID)))
			}
		}
		return ok
	})
	return strings.Join(list, " ")
}

func (f *fleet) samePIDs(before string) {
	f.T.Helper()
	if after := f.pids(); after != before {
		f.T.Errorf("O5 fleet: it was\n%s\nand is\n%s", before, after)
	}
}

// noSecret (O6): a canary is in no log, no reply and no command line.
func (f *fleet) noSecret(canary string, replies ...rig.Result) {
	f.T.Helper()
	for _, r := range replies {
		if strings.Contains(r.Stdout+r.Stderr, canary) {
			f.T.Errorf("O6 secrets: a reply holds it:\n%s%s", r.Stdout, r.Stderr)
		}
	}
	names, _ := filepath.Glob(f.Path("logs/*"))
	for _, name := range append(names, f.Path("daemon.log")) {
		if b, _ := os.ReadFile(name); bytes.Contains(b, []byte(canary)) {
			f.T.Errorf("O6 secrets: %s holds it", name)
		}
	}
	for _, p := range f.processes() {
		if b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", p.pid)); bytes.Contains(b, []byte(canary)) {
			f.T.Errorf("O6 secrets: a consumer has it in its environment")
		}
	}
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, name := range all {
		if b, _ := os.ReadFile(name); bytes.Contains(b, []byte(canary)) {
			f.T.Errorf("O6 secrets: %s holds it", name)
		}
	}
}

// alive (O8): status answers. Ten seconds, for the machine may be busy; a daemon
// that waits for what is broken would take for ever.
func (f *fleet) alive() rig.Status {
	f.T.Helper()
	began := time.Now()
	st, ok := f.Status()
	if took := time.Since(began); !ok || took > 10*time.Second {
		f.T.Errorf("O8 alive: status answered %v after %s", ok, took.Round(time.Millisecond))
	}
	return st
}

// truth (O9): what status says runs is exactly what /proc shows.
func (f *fleet) truth() {
	f.T.Helper()
	var said, seen string
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); <-time.After(50 * time.Millisecond) {
		st, _ := f.Status()
		var a, b []string
		for _, c := range st.Consumers {
			for _, s := range c.Slots {
				if s.PID != 0 {
					a = append(a, fmt.Sprintf("%s/%d=%d", c.Name, s.Slot, s.PID))
				}
			}
		}
		mains := map[int]bool{}
		for _, r := range f.journal.begins(f.T) {
			mains[r.PID] = true
		}
		for _, p := range f.processes() {
			if mains[p.pid] {
				b = append(b, fmt.Sprintf("%s=%d", p.slot, p.pid))
			}
		}
		slices.Sort(a)
		slices.Sort(b)
		if said, seen = strings.Join(a, " "), strings.Join(b, " "); said == seen {
			return
		}
	}
	f.T.Errorf("O9 truth: status says\n%s\n/proc shows\n%s", said, seen)
}

// rate (O10): no more starts than a limit allows in all of the time since then,
// and one second's worth at once.
func (f *fleet) rate(since time.Duration, perSecond float64) {
	f.T.Helper()
	n := 0
	for _, r := range f.journal.begins(f.T) {
		if r.At >= since {
			n++
		}
	}
	if most := perSecond * (1 + (now() - since).Seconds()); float64(n) > most+1 {
		f.T.Errorf("O10 rate: %d starts, at most %.0f are allowed", n, most)
	}
}
