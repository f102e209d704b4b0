package faults

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"qsuper/test/rig"
)

var outputFaults = []fault{
	{name: "F013_RotationUnderLoad", score: 20, run: rotation(6, 15_000, 200)},
	{name: "F013_RotationUnderAHundredMegabytesASecond", score: 20, kind: slow, run: rotation(20, 50_000, 1000)}, // 20 of 5 MB/s
	{name: "F013_KeeperKilledWhileRotating", score: 20, run: keeperKilledWhileRotating},
	{name: "F014_LogDiskFull", score: 20, run: logDiskFull(0)},
	{name: "F014_LogDiskFullForTenMinutes", score: 20, kind: slow, run: logDiskFull(10 * time.Minute)},
	{name: "F015_LogDirectoryRemoved", score: 16, run: logDirRemoved},
	{name: "F015_LogDirectoryReadOnly", score: 16, run: logDirReadOnly},
	{name: "F046_ThousandLinesInTheTermHandler", score: 12, run: partingLines},
	{name: "F048_OneConsumerFloods", score: 12, run: flood},
	{name: "F047_BigLinesBinaryNoNewline", score: 12, run: oddOutput},
}

// rotation has n consumers write so many lines each, at 5,000 a second or, where that
// is more than the machine can do, as fast as it can.
func rotation(n, lines, pad int) func(t *testing.T) {
	return func(t *testing.T) {
		f := startFleet(t, crew("talk", fmt.Sprintf("lines 5000 limit %d pad %d", lines, pad), fmt.Sprintf("instances: %d", n), "logs: {max_size: 1MiB, keep: 100}"))
		eventually(t, 3*rig.Patience, "all lines are written", func() bool {
			done := map[string]bool{}
			for _, r := range f.journal.of(t, "tick") {
				if r.Lines == int64(lines) {
					done[r.Slot] = true
				}
			}
			return len(done) == n
		})
		f.alive()
		f.quiesce(0)
		if got := f.linesWhole(false); got != n*lines {
			t.Errorf("%d lines, expected %d", got, n*lines)
		}
		if _, err := os.Stat(f.Path("logs/talk.0.log.2")); err != nil {
			t.Errorf("nothing was rotated: %v", err)
		}
	}
}

// The keeper is killed again and again while a file is full every few milliseconds, so
// that it dies between the steps of a rotation as well.
func keeperKilledWhileRotating(t *testing.T) {
	const n = 4
	f := startFleet(t, crew("talk", "lines 1000 pad 200", fmt.Sprintf("instances: %d", n), "logs: {max_size: 16KiB, keep: 10000}"))
	f.begun(n)
	f.UntilRunning("talk", n)
	before := f.pids()
	for range 6 {
		f.killKeeper(false) // with its engine the pipes would only be full for a while
		f.Start()
		f.UntilRunning("talk", n)
		f.logged("after another keeper")
	}
	f.samePIDs(before)
	f.quiesce(0)
	f.linesWhole(false)
}

// neverBlocked checks that no consumer stood still: each goes on writing lines
// while its log cannot be written.
func (f *fleet) neverBlocked(what string, more int64) {
	f.T.Helper()
	count := func() map[string]int64 {
		last := map[string]int64{}
		for _, r := range f.journal.of(f.T, "tick") {
			last[r.Slot] = r.Lines
		}
		return last
	}
	before := count()
	eventually(f.T, rig.Patience, what+": all consumers go on", func() bool {
		after := count()
		for _, slot := range f.slots() { // also those that have not told of a line before
			if after[slot] < before[slot]+more {
				return false
			}
		}
		return true
	})
	f.alive()
}

// logged waits until what the consumers write is in the files again.
func (f *fleet) logged(what string) {
	f.T.Helper()
	before := map[string]int{}
	for _, slot := range f.slots() {
		before[slot] = len(f.logLines(slot))
	}
	for slot, n := range before {
		eventually(f.T, rig.Patience, what+": lines of "+slot+" come again", func() bool { return len(f.logLines(slot)) > n+5 })
	}
}

// logDiskFull fills the disk until the consumers have printed more than a pipe holds,
// and for so long.
func logDiskFull(long time.Duration) func(t *testing.T) {
	return func(t *testing.T) {
		f := newFleet(t)
		f.Write(f.file("", crew("talk", "lines 100 pad 500", "instances: 4")))
		disk := f.smallDisk("logs", "2M")
		f.Start()
		f.begun(4)
		before := f.pids()
		f.logged("at first")
		free, since := f.fill(disk), now()
		f.neverBlocked("disk full", 300)
		for now()-since < long {
			<-time.After(20 * time.Second) // each look reads a whole journal
			f.neverBlocked("disk full", 100)
		}
		free()
		f.logged("space again")
		f.samePIDs(before)
		f.quiesce(0)
		f.linesWhole(true)
		gaps := 0
		for _, slot := range f.slots() {
			for _, line := range f.logLines(slot) {
				if gapLine.MatchString(line) {
					gaps++
				}
			}
		}
		if gaps < 4 {
			t.Errorf("%d lines tell of a gap, expected one of each slot", gaps)
		}
	}
}

func logDirRemoved(t *testing.T) {
	f := startFleet(t, crew("talk", "lines 100 pad 500", "instances: 3"))
	f.begun(3)
	before := f.pids()
	f.logged("at first")
	if err := os.RemoveAll(f.Path("logs")); err != nil {
		t.Fatal(err)
	}
	f.neverBlocked("directory removed", 300)
	f.logged("made again")
	f.samePIDs(before)
	f.quiesce(0)
	// What was in the files that were removed is nobody's loss; what follows is whole.
	for _, slot := range f.slots() {
		last := int64(0)
		for _, line := range f.logLines(slot) {
			l, _, problem := parseLine(line)
			if problem != "" {
				t.Errorf("O3 lines: %s: %s", slot, problem)
			}
			if l.n > 0 && l.n <= last {
				t.Errorf("O3 lines: %s: %d after %d", slot, l.n, last)
			}
			last = max(last, l.n)
		}
	}
}

func logDirReadOnly(t *testing.T) {
	f := newFleet(t)
	f.Write(f.file("", crew("talk", "lines 100 pad 500", "instances: 3", "logs: {max_size: 64KiB, keep: 200}")))
	disk := f.smallDisk("logs", "64M")
	f.Start()
	f.begun(3)
	before := f.pids()
	f.logged("at first")
	// A file system with open files cannot be made read-only; a bind mount can,
	// and it is for everybody who opens a file after that: rotation has to fail.
	if err := unix.Mount(disk, disk, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	undone := false
	undo := func() {
		if !undone {
			undone = true
			if err := unix.Unmount(disk, unix.MNT_DETACH); err != nil {
				t.Errorf("unmount: %v", err)
			}
		}
	}
	t.Cleanup(undo)
	if err := unix.Mount("", disk, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	f.neverBlocked("read-only", 300)
	undo()
	f.logged("writable again")
	f.samePIDs(before)
	f.quiesce(0)
	f.linesWhole(true)
}

func partingLines(t *testing.T) {
	f := startFleet(t, crew("talk", "lines 5 pad 100 parting 1000", "instances: 4"))
	f.begun(4)
	f.UntilRunning("talk", 4)
	f.quiesce(0)
	if n := f.linesWhole(false); n < 4000 {
		t.Errorf("%d lines, expected 4000 and more", n)
	}
}

// One that writes as fast as it can costs the others nothing.
func flood(t *testing.T) {
	f := startFleet(t, crew("flood", "lines -1 pad 1000", "logs: {max_size: 8MiB, keep: 3}"), talkers(6))
	f.begun(7)
	f.UntilRunning("talk", 6)
	f.neverBlocked("flood", 40)
	f.alive()
	f.quiesce(0)
	seen := map[string]int64{}
	for _, slot := range f.slots() {
		for _, line := range f.logLines(slot) {
			l, gap, problem := parseLine(line)
			switch {
			case gap > 0 || problem != "":
				t.Errorf("O3 lines: %s: %d lost; %s", slot, gap, problem)
			case l.n > 0 && seen[slot] > 0 && l.n != seen[slot]+1:
				t.Errorf("O3 lines: %s: %d after %d", slot, l.n, seen[slot])
			case l.n > 0:
				seen[slot] = l.n
			}
		}
	}
	for _, r := range f.journal.of(t, "end") {
		if seen[r.Slot] != r.Lines {
			t.Errorf("O3 lines: %s wrote %d, the last one in its file is %d", r.Slot, r.Lines, seen[r.Slot])
		}
	}
}

// What is no text and no line is kept all the same, byte for byte.
func oddOutput(t *testing.T) {
	const odd = 100_000_000 // bytes in one line
	f := startFleet(t, crew("big", "lines -1 limit 5 pad 5000000", "logs: {max_size: 0}"),
		crew("binary", fmt.Sprint("bytes ", odd), "logs: {max_size: 0}"), crew("open", "say the-beginning", "logs: {max_size: 0}"))
	f.begun(3)
	eventually(t, rig.Patience, "the lines are written", func() bool {
		for _, r := range f.journal.of(t, "tick") {
			if r.Slot == "big/0" && r.Lines == 5 {
				return true
			}
		}
		return false
	})
	eventually(t, 10*time.Second, "what has no newline can be seen", func() bool {
		return strings.Join(f.logLines("open/0"), "\n") == "the-beginning"
	})
	f.quiesce(0)
	if n := f.linesWhole(false); n != 5 {
		t.Errorf("%d big lines, expected 5", n)
	}
	if got := strings.Join(f.logLines("binary/0"), "\n"); got != strings.Repeat("\x00\xff\x1b[31m\r", odd/8)+"\n" {
		t.Errorf("binary output: %d bytes, expected %d", len(got), odd+1)
	}
	if got := strings.Join(f.logLines("open/0"), "\n"); got != "the-beginning\n" {
		t.Errorf("a last line without newline: %q", got)
	}
}
