package test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"
)

// journal is what consumers wrote themselves, one JSON line at a time: the
// messages they handled (in one file), or their own starts and ends (in
// another). It is the ground truth that qsuper's account is held against.
type journal string

// entry is one line.
type entry struct {
	PID   int    `json:"pid"`
	Slot  string `json:"slot"`
	Run   string `json:"run"`
	ID    string `json:"id"`
	Event string `json:"event"` // start or end
	Code  int    `json:"code"`

	Start float64 `json:"start"` // of the message, seconds since 1970
	End   float64 `json:"end"`
}

func unix(at time.Time) float64 { return float64(at.UnixMicro()) / 1e6 }

// read returns the whole lines so far; none while the file does not exist.
func (j journal) read(t *testing.T) []entry {
	t.Helper()
	b, err := os.ReadFile(string(j))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	text := string(b)
	var list []entry
	for line := range strings.Lines(text) {
		if !strings.HasSuffix(line, "\n") {
			break
		}
		var e entry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%s: line %q: %v", j, line, err)
		}
		list = append(list, e)
	}
	return list
}

// len is the number of lines so far.
func (j journal) len(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile(string(j))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return strings.Count(string(b), "\n")
}

// once checks that so many messages were handled, none of them twice.
func (j journal) once(t *testing.T, want int) {
	t.Helper()
	times := map[string]int{}
	for _, e := range j.read(t) {
		times[e.ID]++
	}
	for id, n := range times {
		if n > 1 {
			t.Errorf("message %s was handled %d times", id, n)
		}
	}
	if len(times) != want {
		t.Errorf("%d different messages were handled, expected %d", len(times), want)
	}
}

// runs checks that every process that started ended of its own will with 0,
// and returns how many did. A process that was killed leaves no end.
func (j journal) runs(t *testing.T) int {
	t.Helper()
	started, ended := map[int]int{}, map[int]int{}
	for _, e := range j.read(t) {
		switch {
		case e.Event == "start":
			started[e.PID]++
		case e.Code != 0:
			t.Errorf("pid %d of slot %s, run %s ended with %d", e.PID, e.Slot, e.Run, e.Code)
			ended[e.PID]++
		default:
			ended[e.PID]++
		}
	}
	n := 0
	for pid, times := range started {
		if ended[pid] != times {
			t.Errorf("pid %d started %d times and ended %d times by itself", pid, times, ended[pid])
		}
		n += times
	}
	return n
}
