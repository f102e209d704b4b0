// Package witness is a consumer that writes down when it acts, and the journal of
// what all of them have written: the truth that shared slots are judged by.
package witness

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	journalEnv = "WITNESS_JOURNAL"
	hostEnv    = "WITNESS_HOST"
)

// Tick is the time between two lines of a witness.
const Tick = 20 * time.Millisecond

// Boottime is the clock of the journal: CLOCK_BOOTTIME, the same for all processes.
func Boottime() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return time.Duration(ts.Nano())
}

// Main is the consumer, if the process was started as one; it does not return then.
// It says every Tick that it acts, until it is asked to end.
func Main() {
	path := os.Getenv(journalEnv)
	if path == "" {
		return
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		os.Exit(3)
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM)
	who := fmt.Sprintf("%s/%s %s %d %s", os.Getenv("QSUPER_CONSUMER"), os.Getenv("QSUPER_SLOT"), os.Getenv(hostEnv), os.Getpid(), cmp.Or(os.Getenv("QSUPER_FENCE_TOKEN"), "0"))
	for tick := time.NewTicker(Tick); ; {
		fmt.Fprintf(f, "%s %d\n", who, Boottime())
		select {
		case <-end:
			os.Exit(0)
		case <-tick.C:
		}
	}
}

// Life is what is known of one process: it has acted at From, at To, and between.
type Life struct {
	Slot, Host string // "work/0", as Env has named it
	PID        int
	Token      uint64
	From, To   time.Duration // CLOCK_BOOTTIME
}

// Journal is what the witnesses of all hosts have written. It is safe for
// concurrent use.
type Journal struct {
	path string

	mu   sync.Mutex
	read int64
	by   map[string]*Life
}

// New makes an empty journal, which goes with the test.
func New(t *testing.T) *Journal {
	return &Journal{path: filepath.Join(t.TempDir(), "journal"), by: map[string]*Life{}}
}

// Consumer is the beginning of a consumer's section in a file: a witness on a host.
func (j *Journal) Consumer(name, host string) string {
	exe, _ := os.Executable()
	return fmt.Sprintf("  %s:\n    command: [%q]\n    env: {%s: %q, %s: %s}\n    logs: {to: none}\n", name, exe, journalEnv, j.path, hostEnv, host)
}

// Lives lists all processes in the order of their beginnings.
func (j *Journal) Lives(t *testing.T) []Life {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	j.catchUp(t)
	list := make([]Life, 0, len(j.by))
	for _, l := range j.by {
		list = append(list, *l)
	}
	slices.SortFunc(list, func(a, b Life) int { return int(a.From - b.From) })
	return list
}

// catchUp reads what has been written since. It is called with mu held.
func (j *Journal) catchUp(t *testing.T) {
	f, err := os.Open(j.path)
	if os.IsNotExist(err) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.NewSectionReader(f, j.read, 1<<40))
	if err != nil {
		t.Fatal(err)
	}
	b = b[:bytes.LastIndexByte(b, '\n')+1] // the last line may be half written
	j.read += int64(len(b))
	for line := range strings.Lines(string(b)) {
		w := strings.Fields(line)
		if len(w) != 5 {
			t.Fatalf("a line of the journal makes no sense: %q", line)
		}
		n, _ := strconv.ParseInt(w[4], 10, 64)
		at := time.Duration(n)
		key := strings.Join(w[:4], " ")
		l := j.by[key]
		if l == nil {
			l = &Life{Slot: w[0], Host: w[1], From: at}
			l.PID, _ = strconv.Atoi(w[2])
			l.Token, _ = strconv.ParseUint(w[3], 10, 64)
			j.by[key] = l
		}
		l.To = max(l.To, at)
	}
}

// Acting are the processes that have acted within the last moment.
func (j *Journal) Acting(t *testing.T) []Life {
	t.Helper()
	list, now := j.Lives(t), Boottime()
	return slices.DeleteFunc(list, func(l Life) bool { return now-l.To > 15*Tick })
}

// Count is how many of a consumer act on a host now; "" is any of them.
func (j *Journal) Count(t *testing.T, consumer, host string) int {
	t.Helper()
	n := 0
	for _, l := range j.Acting(t) {
		if (host == "" || l.Host == host) && (consumer == "" || strings.HasPrefix(l.Slot, consumer+"/")) {
			n++
		}
	}
	return n
}
