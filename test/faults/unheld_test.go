package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"qsuper/test/rig"
)

// unheldMargin is how long before the end of its last holder a process may have
// ended with something unread in its pipe.
const unheldMargin = 100 * time.Millisecond

// held are the slots whose pipes are held by an engine at this moment: what their
// consumers print survives the keeper.
func (f *fleet) held() map[string]bool {
	list := map[string]bool{}
	for pid, line := range rig.ProcessesOf(f.Dir) {
		if strings.HasPrefix(line, "qsuper engine ") {
			for _, slot := range f.heldBy(pid) {
				list[slot] = true
			}
		}
	}
	return list
}

func (f *fleet) heldBy(pid int) (slots []string) {
	names, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	for _, name := range names {
		to, _ := os.Readlink(name)
		if slot, ok := strings.CutPrefix(to, f.Path("state/fifo/")); ok {
			i := strings.LastIndexByte(slot, '.')
			slots = append(slots, slot[:i]+"/"+slot[i+1:])
		}
	}
	return slots
}

// unheldSince notes the processes that have ended since a keeper was killed, and
// until the next one has opened their pipes, where nobody but consumers has held the pipe in between: the last of these to
// end takes what is unread with it, which is promised to nobody.
func (f *fleet) unheldSince(killed time.Duration, held map[string]bool) {
	f.T.Helper()
	if f.unheld == nil {
		f.unheld = map[string]bool{}
	}
	first, last := map[string]record{}, map[string]record{}
	for _, r := range f.journal.read(f.T) {
		k := fmt.Sprint(r.Run, " ", r.PID)
		if _, ok := first[k]; !ok {
			first[k] = r
		}
		last[k] = r
	}
	lives := map[string]bool{}
	for _, p := range f.processes() {
		lives[fmt.Sprint(p.run, " ", p.pid)] = true
	}
	for k, r := range last {
		if !lives[k] && !held[r.Slot] && first[k].At <= killed && r.At >= killed-unheldMargin {
			f.unheld[k] = true
		}
	}
}

// unheldLine tells whether a torn line is what is left of the last one of a
// process whose pipe nobody held.
func (f *fleet) unheldLine(line string) bool {
	for k := range f.unheld {
		if head := "L " + k + " "; strings.HasPrefix(line, head) || strings.HasPrefix(head, line) {
			return true
		}
	}
	return false
}
