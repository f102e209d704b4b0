package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"qsuper/config"
	"qsuper/control"
	"qsuper/internal/kind"
	"qsuper/pidfile"
	"qsuper/proc"
)

// absent says more of a daemon that does not answer: it may live, with consumers
// that go on, and only its engine be down.
func (a *app) absent(err error) error {
	none, ok := errors.AsType[*control.NoDaemon](err)
	if !ok {
		return err
	}
	dir := a.stateDir()
	keeper := pidfile.Holder(dir)
	if keeper == 0 {
		return unwatched(dir, none)
	}
	alive := fmt.Sprintf("the daemon lives (keeper pid %d), and so do its consumers, but ", keeper)
	c, crashed := pidfile.ReadCrashes(dir, keeper)
	info, gone := os.Lstat(none.Socket)
	switch {
	case crashed:
		return &exitError{code: exitNoDaemon, err: errors.New(alive + crashes(c, time.Now())), hint: `its log says why: "journalctl -u qsuper", or wherever "qsuper run" writes to`}
	case gone == nil && info.Mode().Type() != os.ModeSocket:
		return &exitError{code: exitNoDaemon, err: fmt.Errorf("%sit cannot be reached: what lies at %s is no socket", alive, none.Socket), hint: "move it away; the daemon makes its socket within 10 s"}
	}
	return &exitError{
		code: exitNoDaemon, err: fmt.Errorf("%sit does not answer at %s", alive, none.Socket),
		hint: "it starts or ends, or its socket was removed and is made again within 10 s, or it listens elsewhere: try again, then look into its log",
	}
}

// maxNamed is how many processes of one consumer are named.
const maxNamed = 5

// unwatched names what a daemon that died has left running, by its record of runs.
// Who may not read that hears no more than that nobody answers.
func unwatched(dir string, none *control.NoDaemon) error {
	runs, err := pidfile.ReadRuns(dir)
	if err != nil {
		return none
	}
	slices.SortFunc(runs, func(a, b pidfile.Run) int { return cmp.Or(strings.Compare(a.Slot, b.Slot), cmp.Compare(a.PID, b.PID)) })
	alive := map[string][]string{}
	var names []string
	total := 0
	for _, r := range runs {
		name, _, _ := strings.Cut(r.Slot, "/")
		p, err := proc.Adopt(r.PID, r.Began, r.Started)
		if r.PID <= 0 || err != nil {
			continue
		}
		p.Close()
		if total++; alive[name] == nil {
			names = append(names, name)
		}
		alive[name] = append(alive[name], strconv.Itoa(r.PID))
	}
	if total == 0 {
		return none
	}
	for i, name := range names {
		pids := alive[name]
		more := ""
		if n := len(pids) - maxNamed; n > 0 {
			pids, more = pids[:maxNamed], fmt.Sprintf(" and %d more", n)
		}
		names[i] = fmt.Sprintf("%s (pid %s%s)", name, strings.Join(pids, ", "), more)
	}
	what := "one process"
	if total > 1 {
		what = fmt.Sprintf("%d processes", total)
	}
	return &exitError{
		code: exitNoDaemon,
		err:  fmt.Errorf("%w; a daemon that died has left %s running, and nobody watches: %s", none, what, strings.Join(names, ", ")),
		hint: `"qsuper start" (under systemd "systemctl start qsuper") goes on with what runs, "qsuper cleanup" stops it, each with its grace`,
	}
}

func crashes(c pidfile.Crashes, now time.Time) string {
	how := fmt.Sprintf("exit code %d", c.Code)
	if c.Signal != 0 {
		how = fmt.Sprintf("signal %d, %s", c.Signal, syscall.Signal(c.Signal))
	}
	times := "has crashed"
	if c.Count > 1 {
		times = fmt.Sprintf("has crashed %d times in a row", c.Count)
	}
	next := "another is being started"
	if left := c.Next.Sub(now); left > 0 {
		next = "next try in " + humane(left)
	}
	return fmt.Sprintf("its engine %s (last with %s); %s", times, how, next)
}

// stateDir is the state directory of the file that is meant, or the standard one.
func (a *app) stateDir() string {
	if path, err := config.Find(a.config); err == nil {
		if data, err := os.ReadFile(path); err == nil {
			root, _ := kind.Parse(path, data, os.LookupEnv)
			if s := valueOf(valueOf(root, "daemon"), "state_dir"); s != nil && s.Value != "" {
				return within(path, s.Value)
			}
		}
	}
	switch state := a.getenv("XDG_STATE_HOME"); {
	case os.Geteuid() == 0:
		return "/var/lib/qsuper"
	case filepath.IsAbs(state):
		return filepath.Join(state, "qsuper")
	}
	return filepath.Join(a.getenv("HOME"), ".local", "state", "qsuper")
}
