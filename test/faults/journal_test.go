package faults

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// record is one line of a journal: what a consumer did, in its own words.
type record struct {
	At     time.Duration `json:"at"` // CLOCK_MONOTONIC, the same for all processes
	PID    int           `json:"pid"`
	Slot   string        `json:"slot"` // consumer/number
	Run    string        `json:"run"`
	Main   string        `json:"main"`  // pid of the consumer, also in its children's lines
	Event  string        `json:"event"` // begin tick signal end trouble
	Role   string        `json:"role"`  // main child between
	Lines  int64         `json:"lines"` // numbered lines written whole before this
	Detail string        `json:"detail,omitempty"`
}

// now is the clock of the journal.
func now() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(err)
	}
	return time.Duration(ts.Nano())
}

// writer is a journal in the hands of a consumer.
type writer struct{ f *os.File }

func openJournal(name string) *writer {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND|unix.O_CLOEXEC, 0o600)
	if err != nil {
		panic(err)
	}
	return &writer{f}
}

// add appends a line with one write, so that lines of several processes never mix.
func (w *writer) add(r record) {
	r.At, r.PID, r.Run = now(), os.Getpid(), os.Getenv("QSUPER_RUN_ID")
	r.Main = os.Getenv(mainEnv)
	r.Slot = os.Getenv("QSUPER_CONSUMER") + "/" + os.Getenv("QSUPER_SLOT")
	line, err := json.Marshal(r)
	if err != nil {
		panic(err)
	}
	if _, err := w.f.Write(append(line, '\n')); err != nil {
		panic(err)
	}
}

// journal is the same, read by the test: the truth that qsuper is held against.
type journal string

// read returns the whole lines so far.
func (j journal) read(t *testing.T) []record {
	t.Helper()
	b, err := os.ReadFile(string(j))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	var list []record
	for line := range strings.Lines(string(b)) {
		var r record
		if !strings.HasSuffix(line, "\n") {
			break
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%s: line %q: %v", j, line, err)
		}
		list = append(list, r)
	}
	return list
}

// begins are the starts of consumers, without their children.
func (j journal) begins(t *testing.T) (list []record) {
	t.Helper()
	for _, r := range j.read(t) {
		if r.Event == "begin" && r.Role == "main" {
			list = append(list, r)
		}
	}
	return list
}

// of are the records of one event.
func (j journal) of(t *testing.T, event string) (list []record) {
	t.Helper()
	for _, r := range j.read(t) {
		if r.Event == event {
			list = append(list, r)
		}
	}
	return list
}
