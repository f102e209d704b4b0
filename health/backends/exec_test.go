package backends_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"qsuper/health"
	"qsuper/health/healthtest"
)

// script writes an executable shell script and returns its path.
func script(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "depth.sh")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func execSpec(t testing.TB, text, more string) health.Spec {
	return spec(t, "exec", "{type: exec, command: [%q, \"{queue}\"]%s}", script(t, text), more)
}

// Queues are folders here, and messages are files in them.
func TestExec(t *testing.T) {
	program := script(t, `[ "$1" != broken ] || { echo "out of order" >&2; exit 3; }
ready=0 taken=0 later=0
for message in "$1"/*; do
	case $message in *taken) taken=$((taken+1)) ;; *later) later=$((later+1)) ;; *[0-9]) ready=$((ready+1)) ;; esac
done
printf '{"ready": %d, "in_flight": %d, "delayed": %d, "oldest_seconds": 2.5}' $ready $taken $later`)
	n := 0
	put := func(t *testing.T, q health.Queue, body, end string) {
		n++
		if err := os.WriteFile(filepath.Join(q.Name, fmt.Sprintf("%06d%s", n, end)), []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	healthtest.Run(t, healthtest.Suite{
		Row: "exec",
		Spec: func(t *testing.T, _, _ string) health.Spec {
			return spec(t, "exec", "{type: exec, command: [%q, \"{queue}\"]}", program)
		},
		Queues: &healthtest.Queues{
			New:    func(t *testing.T) health.Queue { return health.Queue{Name: t.TempDir()} },
			Broken: func(*testing.T) health.Queue { return health.Queue{Name: "broken"} },
			Publish: func(t *testing.T, q health.Queue, bodies ...string) {
				for _, b := range bodies {
					put(t, q, b, "")
				}
			},
			Delay: func(t *testing.T, q health.Queue) { put(t, q, "", "later") },
			Age:   func(t *testing.T, q health.Queue) { put(t, q, "", "") },
			Take: func(t *testing.T, q health.Queue) {
				files, err := os.ReadDir(q.Name)
				if err != nil {
					t.Fatal(err)
				}
				first := filepath.Join(q.Name, files[0].Name())
				if err := os.Rename(first, first+".taken"); err != nil {
					t.Fatal(err)
				}
			},
			Content: func(t *testing.T, q health.Queue) (bodies []string) {
				files, err := os.ReadDir(q.Name)
				if err != nil {
					t.Fatal(err)
				}
				for _, f := range files {
					b, err := os.ReadFile(filepath.Join(q.Name, f.Name()))
					if err != nil {
						t.Fatal(err)
					}
					bodies = append(bodies, string(b))
				}
				return bodies
			},
		},
	})
	nothingLeft(t)
}

// nothingLeft wants no child of the test process, not even a zombie.
func nothingLeft(t testing.TB) {
	t.Helper()
	if found := children(t); len(found) > 0 {
		t.Errorf("processes are left: %v", found)
	}
}

func children(t testing.TB) (found []string) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range stats {
		b, _ := os.ReadFile(file)
		_, after, _ := strings.Cut(string(b), ") ")
		var state string
		var parent int
		_, _ = fmt.Sscan(after, &state, &parent)
		if parent == os.Getpid() && strings.Contains(string(b), "depth.sh") {
			found = append(found, string(b))
		}
	}
	return found
}

func TestExecAnswers(t *testing.T) {
	for name, c := range map[string]struct{ script, want string }{
		"a number":         {"echo 12", "ok 12 -1 -1 -1ns -1"},
		"no newline":       {"printf 0", "ok 0 -1 -1 -1ns -1"},
		"everything":       {`echo '{"ready": 1, "in_flight": 2, "delayed": 3, "oldest_seconds": 1.5, "consumers": 4}'`, "ok 1 2 3 1.5s 4"},
		"null":             {`echo '{"ready": 1, "delayed": null}'`, "ok 1 -1 -1 -1ns -1"},
		"its name":         {`[ "$1" = 'a "b" $(c)' ] && echo 1`, "ok 1 -1 -1 -1ns -1"},
		"nothing":          {"", "nothing"},
		"text":             {"echo none", "not a whole number"},
		"negative":         {"echo -1", "negative"},
		"two numbers":      {"echo 1; echo 2", "not a whole number"},
		"not JSON":         {"echo '{ready: 1}'", "not JSON"},
		"no ready":         {`echo '{"delayed": 1}'`, "ready is missing"},
		"an unknown name":  {`echo '{"ready": 1, "retries": 1}'`, `"retries" is not one of`},
		"a text as number": {`echo '{"ready": "1"}'`, "not a number"},
		"exit code":        {"echo 5; echo 'no\tserver' >&2; exit 7", "exit status 7: no server"},
		"killed":           {"kill -9 $$", "signal: killed"},
		"endless":          {"yes", "more than 64 KiB"},
		"endless stderr":   {"echo 3; yes >&2 & sleep 0.1", "ok 3 -1 -1 -1ns -1"},
	} {
		t.Run(name, func(t *testing.T) {
			got := reading(t, execSpec(t, c.script, ""), health.Queue{Name: `a "b" $(c)`})
			text := fmt.Sprint(got.State, got.Ready, got.InFlight, got.Delayed, got.Oldest, got.Consumers)
			if got.State == health.OK {
				text = fmt.Sprintf("%s %d %d %d %s %d", got.State, got.Ready, got.InFlight, got.Delayed, got.Oldest, got.Consumers)
				if text != c.want {
					t.Errorf("got %s", text)
				}
				return
			}
			if got.State != health.Unknown || !strings.Contains(got.Err, c.want) {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// A program that hangs is killed with all it has started.
func TestExecHangs(t *testing.T) {
	dir := t.TempDir()
	s := execSpec(t, fmt.Sprintf(`trap "" TERM HUP INT
(trap "" TERM; sleep 1000 & echo $! >%[1]s/grandchild; wait) &
echo $$ >%[1]s/child; wait`, dir), ", timeout: 1s")
	o := look(t, s, health.Queue{Name: "x"})
	if got := o.Readings[0]; got.State != health.Unknown || !strings.Contains(got.Err, "did not end in time") || o.Latency > 2*time.Second {
		t.Errorf("got %+v", o)
	}
	for _, name := range []string{"child", "grandchild"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		var pid int
		if _, err := fmt.Sscan(string(b), &pid); err != nil {
			t.Fatal(err)
		}
		eventually(t, name+" is gone", func() bool { return !alive(pid) })
	}
	nothingLeft(t)
}

// alive reports whether a process runs; a zombie does not.
func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, after, _ := strings.Cut(string(b), ") ")
	return err == nil && !strings.HasPrefix(after, "Z") && syscall.Kill(pid, 0) == nil
}

// What a program leaves behind neither holds the probe up nor lives on, unless
// it made itself a session of its own; then its hold on the output is cut.
func TestExecLeavesBehind(t *testing.T) {
	pidfile := filepath.Join(t.TempDir(), "pid")
	pid := func() (pid int) {
		b, err := os.ReadFile(pidfile)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Sscan(string(b), &pid); err != nil {
			t.Fatal(err)
		}
		return pid
	}
	o := look(t, execSpec(t, "sleep 1000 & echo $! >"+pidfile+"; echo 6", ""), health.Queue{Name: "x"})
	if o.Readings[0].Ready != 6 || o.Latency > 2*time.Second {
		t.Errorf("got %+v", o)
	}
	eventually(t, "what it left is gone", func() bool { return !alive(pid()) })

	o = look(t, execSpec(t, "setsid sh -c 'echo $$ >"+pidfile+"; exec sleep 1000' & while ! [ -s "+pidfile+".new ]; do [ -s "+pidfile+" ] && break; done; sleep 0.2; echo 6", ""), health.Queue{Name: "x"})
	if got := o.Readings[0]; got.State != health.Unknown || !strings.Contains(got.Err, "holds its output open") || o.Latency > 3*time.Second {
		t.Errorf("got %+v", o)
	}
	_ = syscall.Kill(pid(), syscall.SIGKILL)
	nothingLeft(t)
}

func TestExecDown(t *testing.T) {
	q := health.Queue{Name: "x"}
	for command, reason := range map[string]string{
		`["/no/such/program", "{queue}"]`: "no such file",
		`["no-such-program", "{queue}"]`:  "not found",
		`["/etc/passwd", "{queue}"]`:      "permission denied",
	} {
		o := look(t, spec(t, "exec", "{type: exec, command: %s}", command), q)
		if o.Up || !strings.Contains(o.Err, reason) {
			t.Errorf("%s: %+v", command, o)
		}
	}
	// Without a queue's name in it, the program is the check.
	if o := look(t, spec(t, "exec", "{type: exec, command: [%q]}", script(t, "echo no >&2; exit 1"))); o.Up || o.Err != "exit status 1: no" {
		t.Errorf("got %+v", o)
	}
	if o := look(t, spec(t, "exec", "{type: exec, command: [%q]}", script(t, "exit 0"))); !o.Up {
		t.Errorf("got %+v", o)
	}
}

// A hundred queues are a hundred processes, a few at a time.
func TestExecMany(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	s := execSpec(t, "echo start >>"+log+"; sleep 0.05; echo end >>"+log+"; echo ${1#q}", ", timeout: 60s")
	var queues []health.Queue
	for i := range 40 {
		queues = append(queues, health.Queue{Name: fmt.Sprint("q", i)})
	}
	o := look(t, s, queues...)
	for i, r := range o.Readings {
		if r.Ready != int64(i) {
			t.Fatalf("queue %d: %+v", i, r)
		}
	}
	b, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	now, most := 0, 0
	for _, line := range strings.Fields(string(b)) {
		if now--; line == "start" {
			now += 2
		}
		most = max(most, now)
	}
	if most > 8 || most < 2 {
		t.Errorf("%d processes at a time", most)
	}
}

func TestExecRefuses(t *testing.T) {
	refused(t, "exec", map[string]string{
		"{type: exec}":                        "command is missing",
		"{type: exec, command: []}":           "must name a program",
		`{type: exec, command: [""]}`:         "must name a program",
		"{type: exec, command: ./depth.sh x}": "expected a list",
	})
	refusedQueues(t, "exec", map[string]health.Queue{"name is missing": {}})
	t.Setenv("NOTIFY_SOCKET", "/run/x")
	if got := reading(t, execSpec(t, `echo ${#NOTIFY_SOCKET}`, ""), health.Queue{Name: "x"}); got.Ready != 0 {
		t.Errorf("the program sees NOTIFY_SOCKET")
	}
}
