package faults

import (
	"strings"
	"testing"
	"time"
)

// An oracle that sees nothing finds no fault: these see what they are there for.

func TestOverlapIsSeen(t *testing.T) {
	at := func(slot, run string, ms ...time.Duration) (list []record) {
		for _, m := range ms {
			list = append(list, record{At: m * time.Millisecond, Slot: slot, Run: run, Main: run})
		}
		return list
	}
	apart := append(at("a/0", "1", 10, 20, 30), at("a/0", "2", 31, 50)...)
	apart = append(apart, at("a/1", "1", 5, 60)...)
	if found := overlaps(apart); len(found) != 0 {
		t.Errorf("runs one after the other: %v", found)
	}
	if found := overlaps(append(apart, at("a/0", "3", 49, 70)...)); len(found) != 1 {
		t.Errorf("a run that began before the last one had ended: %v", found)
	}
}

func TestTornLinesAreSeen(t *testing.T) {
	for line, want := range map[string]string{
		"L a/0.1.x 12 3 4 xxxx;":                  "",
		"L a/0.1.x 12 3 0 ;":                      "",
		"hello":                                   "",
		"L a/0.1.x 12 3 4 xxx;":                   "torn",
		"L a/0.1.x 12 3 4 xxxx":                   "torn",
		"L a/0.1.x 12 3 4 xxL a/0.1.x 12 4 4 xx;": "torn",
		".1.x 12 3 4 xxxx;":                       "torn",
	} {
		if _, _, problem := parseLine(line); (problem == "") != (want == "") || !strings.HasPrefix(problem, want) {
			t.Errorf("%q: %q, expected %q", line, problem, want)
		}
	}
	if _, gap, _ := parseLine("qsuper: 33 bytes (7 lines) of output lost between a and b: no space left on device"); gap != 7 {
		t.Errorf("a gap of 7 lines is read as %d", gap)
	}
}
