package main

import (
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// workload is what a peer is asked to keep running.
type workload struct {
	dir     string            // private to this session, on tmpfs; exists
	program string            // absolute path; takes no arguments
	n       int               // how many
	env     map[string]string // what the program needs in its environment
	capture bool              // keep its output, rotated at 10 MB with 5 old files; else drop it
}

// What captured output is rotated at, for every peer.
const (
	rotateBytes = 10 << 20
	rotateKeep  = 5
)

// setup is how a peer, configured for a workload, is operated.
type setup struct {
	start      []string            // runs in the foreground
	env        map[string]string   // for start and all it starts, besides the workload's
	stop       []string            // stops everything; nil: stopSignal to the process of start
	stopSignal unix.Signal         //
	status     map[string][]string // figure -> command that shows all
}

// peer is a supervisor under measurement. It only writes files and says what to
// execute; all measuring is the same code for every peer.
type peer interface {
	name() string
	tools() []tool
	// setUp writes the configuration below w.dir.
	setUp(w workload) (setup, error)
	// slow peers take part in fewer rounds.
	slow() bool
}

// floorPeer is native/floor.c. mode is how it captures output: rw, paced or splice.
type floorPeer struct{ binary, mode string }

func (p floorPeer) name() string {
	if p.mode == "rw" {
		return "floor"
	}
	return "floor-" + p.mode
}

func (floorPeer) tools() []tool { return nil }
func (floorPeer) slow() bool    { return false }

func (p floorPeer) setUp(w workload) (setup, error) {
	s := setup{start: []string{p.binary, "run", strconv.Itoa(w.n), w.program}, stopSignal: unix.SIGTERM}
	if w.capture {
		s.start = []string{p.binary, "log", p.mode, strconv.Itoa(w.n), w.program, w.dir}
	}
	return s, nil
}

// runitPeer is runit of Debian: runsvdir, one runsv per service, svlogd. The
// kernel starts ./run itself, no shell.
type runitPeer struct{}

func (runitPeer) name() string { return "runit" }
func (runitPeer) slow() bool   { return false }

func (runitPeer) tools() []tool {
	return []tool{{"runsvdir", "runit"}, {"sv", "runit"}, {"svlogd", "runit"}}
}

func (runitPeer) setUp(w workload) (setup, error) {
	services := filepath.Join(w.dir, "services")
	dirs, err := serviceDirs(w, services, func(logDir string) (string, error) {
		config := fmt.Sprintf("s%d\nn%d\n", rotateBytes, rotateKeep)
		return "exec svlogd -b 65536 " + logDir, os.WriteFile(filepath.Join(logDir, "config"), []byte(config), 0o644)
	})
	if err == nil {
		// runsvdir sleeps a second when its directory changed in this very second.
		old := time.Now().Add(-time.Hour)
		err = os.Chtimes(services, old, old)
	}
	return setup{
		start:      []string{"runsvdir", services},
		stopSignal: unix.SIGHUP, // TERM to every runsv, which ends its service first
		status:     map[string][]string{"status": append([]string{"sv", "status"}, dirs...)},
	}, err
}

// s6Peer is s6 of Debian. Its children announce readiness: without that s6 2.11
// waits a second before every restart.
type s6Peer struct{}

func (s6Peer) name() string { return "s6" }
func (s6Peer) slow() bool   { return false }

func (s6Peer) tools() []tool {
	return []tool{{"s6-svscan", "s6"}, {"s6-svscanctl", "s6"}, {"s6-svstat", "s6"}, {"s6-log", "s6"}}
}

func (s6Peer) setUp(w workload) (setup, error) {
	scan := filepath.Join(w.dir, "scan")
	dirs, err := serviceDirs(w, scan, func(logDir string) (string, error) {
		return fmt.Sprintf("exec s6-log n%d s%d %s", rotateKeep, rotateBytes, logDir), nil
	})
	for _, d := range dirs {
		if err == nil {
			err = os.WriteFile(filepath.Join(d, "notification-fd"), []byte("3\n"), 0o644)
		}
	}
	return setup{
		start: []string{"s6-svscan", "-c", "8192", scan},
		env:   map[string]string{"BENCH_NOTIFY": "3"},
		stop:  []string{"s6-svscanctl", "-t", scan},
		// s6-svstat takes one service at a time.
		status: map[string][]string{"status": {"sh", "-c", `for d in "$1"/*; do s6-svstat "$d"; done`, "sh", scan}},
	}, err
}

// serviceDirs makes the layout that runit and s6 share: a directory per service
// with ./run and, when output is captured, ./log/run. logger returns the shell
// line that logs to a directory. The service directories are returned.
func serviceDirs(w workload, root string, logger func(logDir string) (string, error)) ([]string, error) {
	var dirs []string
	for i := range w.n {
		dir := filepath.Join(root, fmt.Sprintf("%05d", i))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
		if err := os.Symlink(w.program, filepath.Join(dir, "run")); err != nil {
			return nil, err
		}
		dirs = append(dirs, dir)
		if !w.capture {
			continue
		}
		logDir := filepath.Join(w.dir, "logs", strconv.Itoa(i))
		if err := os.MkdirAll(logDir, 0o755); err != nil {
			return nil, err
		}
		line, err := logger(logDir)
		if err != nil {
			return nil, err
		}
		if err := os.Mkdir(filepath.Join(dir, "log"), 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(dir, "log", "run"), []byte("#!/bin/sh\n"+line+"\n"), 0o755); err != nil {
			return nil, err
		}
	}
	return dirs, nil
}

// supervisorPeer is Supervisor of Debian.
type supervisorPeer struct{}

func (supervisorPeer) name() string { return "supervisor" }
func (supervisorPeer) slow() bool   { return true }

func (supervisorPeer) tools() []tool {
	return []tool{{"supervisord", "supervisor"}, {"supervisorctl", "supervisor"}}
}

func (supervisorPeer) setUp(w workload) (setup, error) {
	output := "NONE"
	if w.capture {
		output = filepath.Join(w.dir, "bench-%(process_num)d.log")
	}
	socket := filepath.Join(w.dir, "s.sock")
	file := filepath.Join(w.dir, "supervisord.conf")
	// minfds: Supervisor keeps three pipes per child and raises its limit to this.
	text := fmt.Sprintf(`[unix_http_server]
file=%[1]s
[supervisord]
nodaemon=true
loglevel=error
logfile=/dev/null
logfile_maxbytes=0
pidfile=%[2]s/supervisord.pid
childlogdir=%[2]s
minfds=%[3]d
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://%[1]s
[program:bench]
command=%[4]s
process_name=bench_%%(process_num)d
numprocs=%[5]d
startsecs=0
autorestart=true
startretries=1000000
stdout_logfile=%[6]s
stdout_logfile_maxbytes=%[7]d
stdout_logfile_backups=%[8]d
stderr_logfile=NONE
`, socket, w.dir, 1024+8*w.n, w.program, w.n, output, rotateBytes, rotateKeep)
	return setup{
		start:  []string{"supervisord", "-c", file},
		stop:   []string{"supervisorctl", "-c", file, "shutdown"},
		status: map[string][]string{"status": {"supervisorctl", "-c", file, "status"}},
	}, os.WriteFile(file, []byte(text), 0o644)
}

// environ is the environment of a session: nothing of the caller's but PATH, so
// that every peer copies the same few strings.
func environ(maps ...map[string]string) []string {
	out := []string{"PATH=" + os.Getenv("PATH"), "HOME=/", "LC_ALL=C"}
	for _, m := range maps {
		for k, v := range m {
			out = append(out, k+"="+v)
		}
	}
	sort.Strings(out)
	return out
}
