// Package fleet has daemons share slots through real lock servers, as hosts would.
package fleet

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"qsuper/test/rig"
)

const roleEnv = "FLEET_CONSUMER"

func TestMain(m *testing.M) {
	if journal := os.Getenv(roleEnv); journal != "" {
		consume(journal)
	}
	os.Exit(rig.Main(m))
}

func boottime() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return time.Duration(ts.Nano())
}

// consume is a consumer that says every 20 ms that it acts, until it is stopped.
// One that is told to be stubborn ignores that.
func consume(journal string) {
	f, err := os.OpenFile(journal, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		os.Exit(3)
	}
	end := make(chan os.Signal, 1)
	if len(os.Args) > 1 && os.Args[1] == "stubborn" {
		ignore()
	} else {
		notify(end)
	}
	for tick := time.NewTicker(20 * time.Millisecond); ; {
		fmt.Fprintf(f, "%s/%s %s %d %d %s\n", os.Getenv("QSUPER_CONSUMER"), os.Getenv("QSUPER_SLOT"), os.Getenv("FLEET_HOST"),
			os.Getpid(), boottime(), os.Getenv("QSUPER_FENCE_TOKEN"))
		select {
		case <-end:
			os.Exit(0)
		case <-tick.C:
		}
	}
}

// life is when one process has acted.
type life struct {
	slot, host string
	pid        int
	from, to   time.Duration
	token      uint64
}

// journal is what the consumers of all hosts have written.
type journal string

func newJournal(t *testing.T) journal {
	return journal(filepath.Join(t.TempDir(), "journal"))
}

func (j journal) lives(t *testing.T) []life {
	t.Helper()
	f, err := os.Open(string(j))
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	by := map[string]*life{}
	for s := bufio.NewScanner(f); s.Scan(); {
		w := strings.Fields(s.Text())
		if len(w) != 5 {
			continue // the last line may be half written
		}
		pid, _ := strconv.Atoi(w[2])
		at, _ := strconv.ParseInt(w[3], 10, 64)
		token, _ := strconv.ParseUint(w[4], 10, 64)
		key := w[0] + w[1] + w[2]
		if by[key] == nil {
			by[key] = &life{slot: w[0], host: w[1], pid: pid, from: time.Duration(at), token: token}
		}
		by[key].to = time.Duration(at)
	}
	var list []life
	for _, l := range by {
		list = append(list, *l)
	}
	slices.SortFunc(list, func(a, b life) int { return int(a.from - b.from) })
	return list
}

// judge fails the test when two processes have acted in one slot at the same time,
// or when a token does not grow. It returns how long the longest overlap was.
func (j journal) judge(t *testing.T) (overlap time.Duration) {
	t.Helper()
	list := j.lives(t)
	for i, b := range list {
		for _, a := range list[:i] {
			if a.slot != b.slot {
				continue
			}
			if a.to >= b.from {
				overlap = max(overlap, a.to-b.from)
				t.Errorf("two at a time for %s: %+v\n%+v", a.to-b.from, a, b)
			}
			if a.host != b.host && a.token >= b.token {
				t.Errorf("the token does not grow: %+v\n%+v", a, b)
			}
		}
	}
	return overlap
}

// holders says which host acts in each slot now.
func (j journal) holders(t *testing.T) map[string]string {
	t.Helper()
	m := map[string]string{}
	for _, l := range j.lives(t) {
		if boottime()-l.to < 300*time.Millisecond {
			m[l.slot] = l.host
		}
	}
	return m
}

// count is how many slots a host acts in now.
func (j journal) count(t *testing.T, host string) int {
	n := 0
	for _, h := range j.holders(t) {
		if h == host {
			n++
		}
	}
	return n
}

// file is a host's configuration: the lock store, and one consumer "work".
func file(host string, j journal, head, keys string) string {
	exe, _ := os.Executable()
	return head + fmt.Sprintf(`
consumers:
  work:
    command: [%q]
    lock: fleet
    env: {FLEET_CONSUMER: %q, FLEET_HOST: %s}
    logs: {to: none}
%s
`, exe, string(j), host, keys)
}

func has(name string) bool { _, err := exec.LookPath(name); return err == nil }
