package runner

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"qsuper/config"
	"qsuper/slot"
)

// fire is one moment at which a job is due, until it has been dealt with.
type fire struct {
	At     time.Time `json:"at"`
	Manual bool      `json:"manual,omitempty"` // a person asked for it
	Note   string    `json:"note,omitempty"`   // what is special about it
	Try    int       `json:"try"`              // number of the next run, or the present one, from 1
	Again  time.Time `json:"again,omitzero"`   // not before; zero: at once
	Begun  time.Time `json:"begun,omitzero"`   // its first run, on the clock; zero: there was none
	Slot   int       `json:"slot"`
	Run    uint64    `json:"run,omitempty"`  // that has been started for this try; 0: none
	Boot   string    `json:"boot,omitempty"` // in which that was

	Mark    string `json:"mark,omitempty"`    // of its claim, if hosts share the job
	Claimed string `json:"claimed,omitempty"` // the lock under which this host has it; "" = not yet

	unit   *unit     // that it has; nil: none yet
	pid    int       // in snapshots
	waited slot.Code // why it does not run, as the decision log knows it
	claim  claim
}

// Outcome of a fire.
type outcome struct {
	At      time.Time  `json:"at"` // the fire
	Manual  bool       `json:"manual,omitempty"`
	Note    string     `json:"note,omitempty"`
	Try     int        `json:"try"`
	Code    int        `json:"code"`
	Signal  int        `json:"signal,omitempty"`
	Class   slot.Class `json:"class"`
	Begun   time.Time  `json:"begun,omitzero"` // its first run; zero: not known, or there was none here
	Ended   time.Time  `json:"ended"`
	Seconds float64    `json:"seconds"`
	Detail  string     `json:"detail"`
	Host    string     `json:"host,omitempty"` // the other host that has it, of slot.ClassElsewhere
}

// record is what is remembered of one job.
type record struct {
	Schedule string         `json:"schedule"`
	Upto     time.Time      `json:"upto"` // every fire up to here has been decided on
	Open     []*fire        `json:"open,omitempty"`
	History  []outcome      `json:"history,omitempty"` // newest last
	Runs     map[int]uint64 `json:"runs,omitempty"`    // number of the last run of each slot
	Skipped  int            `json:"skipped,omitempty"` // fires, ever
	Skip     skip           `json:"skip,omitzero"`     // the last one
}

// skip is a fire that was not started, or the last of several.
type skip struct {
	At     time.Time `json:"at"`
	Manual bool      `json:"manual,omitempty"`
	Count  int       `json:"count"`
	Code   slot.Code `json:"code"`
	Text   string    `json:"text,omitempty"`
}

// entry is one line of the ledger.
type entry struct {
	Op   string    `json:"op"` // state base due start again end skip drop
	Job  string    `json:"job"`
	At   time.Time `json:"at,omitzero"`
	Fire *fire     `json:"fire,omitempty"`
	End  *outcome  `json:"end,omitempty"`
	Skip *skip     `json:"skip,omitempty"`
	Text string    `json:"schedule,omitempty"`
	All  *record   `json:"all,omitempty"`
}

// ledger is the durable memory of jobs: what has become of their fires. A start
// is on the disk before the keeper is asked for it, so that no fire is started
// twice, whatever dies in between. It is a file of JSON lines that is appended
// to, and written anew when it has grown.
type ledger struct {
	path    string
	boot    string // what the kernel calls this boot
	file    *os.File
	size    int64
	lines   bytes.Buffer // to be written
	sync    bool         // and to reach the disk
	err     error        // of the latest write
	records map[string]*record
}

// maxLedger is the size from which on the file is written anew, in bytes.
const maxLedger = 4 << 20

// openLedger reads what an earlier engine has left. A line that was cut off by
// the death of its writer is ignored: it had not begun to act on it.
func openLedger(stateDir string) (*ledger, error) {
	l := &ledger{path: filepath.Join(stateDir, "jobs.log"), records: map[string]*record{}}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return nil, fmt.Errorf("read boot id: %w", err)
	}
	l.boot = string(bytes.TrimSpace(boot))
	raw, err := os.ReadFile(l.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read what jobs have run: %w", err)
	}
	for line := range bytes.Lines(raw) {
		var e entry
		if json.Unmarshal(line, &e) == nil {
			l.apply(e)
		}
	}
	return l, l.rewrite()
}

// of is the record of a job; a new one is empty.
func (l *ledger) of(job string) *record {
	r := l.records[job]
	if r == nil {
		r = &record{}
		l.records[job] = r
	}
	return r
}

// note applies an entry and has it written with the next flush.
func (l *ledger) note(e entry) {
	l.apply(e)
	if raw, err := json.Marshal(e); err == nil { // plain values: cannot fail
		l.lines.Write(append(raw, '\n'))
	}
	l.sync = l.sync || e.Op == "start" || e.Op == "due"
}

func (l *ledger) apply(e entry) {
	r := l.of(e.Job)
	switch {
	case e.Op == "drop":
		delete(l.records, e.Job)
	case e.Op == "state" && e.All != nil:
		l.records[e.Job] = e.All
	case e.Op == "base":
		r.Upto, r.Schedule = e.At, e.Text
	case e.Op == "skip" && e.Skip != nil:
		r.Skip, r.Skipped = *e.Skip, r.Skipped+e.Skip.Count
		if !e.Skip.Manual {
			r.decided(e.Skip.At)
		}
		r.close(e.Skip.At)
	case e.Op == "end" && e.End != nil:
		r.close(e.End.At)
		if len(r.History) == keepExits {
			r.History = slices.Delete(r.History, 0, 1)
		}
		r.History = append(r.History, *e.End)
	case e.Fire != nil:
		r.put(e.Fire)
	}
}

// put records a fire in its present state.
func (r *record) put(f *fire) {
	if !f.Manual {
		r.decided(f.At)
	}
	if f.Run > 0 {
		if r.Runs == nil {
			r.Runs = map[int]uint64{}
		}
		r.Runs[f.Slot] = max(r.Runs[f.Slot], f.Run)
	}
	i := slices.IndexFunc(r.Open, func(o *fire) bool { return o.At.Equal(f.At) })
	if i < 0 {
		r.Open = append(r.Open, f)
	} else {
		r.Open[i] = f
	}
}

// waits is a fire that could not start yet; nil: one runs, or there is none.
func (r *record) waits() *fire {
	for _, f := range r.Open {
		if f.Run != 0 {
			return nil
		}
	}
	if len(r.Open) > 0 {
		return r.Open[0]
	}
	return nil
}

func (r *record) decided(at time.Time) {
	if at.After(r.Upto) {
		r.Upto = at
	}
}

func (r *record) close(at time.Time) {
	r.Open = slices.DeleteFunc(r.Open, func(f *fire) bool { return f.At.Equal(at) })
}

// flush writes what was noted; starts and fires that are due reach the disk
// before it returns. Without the disk the memory has to do.
func (l *ledger) flush() error {
	if l.lines.Len() == 0 {
		return nil
	}
	if l.size+int64(l.lines.Len()) > maxLedger || l.err != nil {
		return l.rewrite()
	}
	n, err := l.file.Write(l.lines.Bytes())
	l.size += int64(n)
	if err == nil && l.sync {
		err = l.file.Sync()
	}
	l.lines.Reset()
	l.sync, l.err = false, err
	return err
}

// rewrite replaces the file by one with the present state.
func (l *ledger) rewrite() error {
	var all bytes.Buffer
	for name, r := range l.records {
		raw, err := json.Marshal(entry{Op: "state", Job: name, All: r})
		if err != nil {
			return err
		}
		all.Write(append(raw, '\n'))
	}
	l.lines.Reset()
	l.sync = false
	if l.err = config.ReplaceFile(l.path, all.Bytes()); l.err != nil {
		return fmt.Errorf("write what jobs have run: %w", l.err)
	}
	l.close()
	l.file, l.err = os.OpenFile(l.path, os.O_WRONLY|os.O_APPEND, 0)
	l.size = int64(all.Len())
	return l.err
}

func (l *ledger) close() {
	if l.file != nil {
		l.file.Close()
		l.file = nil
	}
}
