package test

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// What a consumer of the whole daemon is born with: nothing of the daemon's own
// business, whichever way it is started.
func TestConsumersInheritNothing(t *testing.T) {
	for name, keys := range map[string]string{"directly": "", "through the helper": `umask: "027", limits: {nofile: 64, nice: 1, no_new_privs: true}, `} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("NOTIFY_SOCKET", "@nobody-listens")
			t.Setenv("LISTEN_FDS", "1")
			t.Setenv("LISTEN_PID", fmt.Sprint(os.Getpid()))
			t.Setenv("WATCHDOG_USEC", "30000000")
			t.Setenv("INVOCATION_ID", "x")
			t.Setenv("QSUPER_HIDDEN", "x")
			t.Setenv("DEPTH_TOKEN", "s3cret")
			t.Setenv("KEEP_ME", "kept")
			d := newDaemon(t, `
connections:
  depth: {type: exec, command: [/bin/echo, "${DEPTH_TOKEN}"]}
consumers:
  one: {user: "nobody", dir: /, `+keys+`command: [/bin/sleep, "1000"]}
`)
			// A daemon with an open descriptor of its parent, and signals that are ignored, as
			// by nohup. TSTP, TTIN and TTOU would stay so: a consumer is in a session of its
			// own without a terminal, which is where these come from.
			d.StartWith("/bin/sh", "-c", `trap "" HUP INT QUIT USR1 USR2 PIPE CHLD 34; exec 7</etc/hostname; exec "$0" "$@"`)
			pid := 0
			eventually(t, patience, "it runs", func() bool {
				c := d.Consumer("one")
				if len(c.Slots) == 1 {
					pid = c.Slots[0].PID
				}
				line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
				return strings.HasPrefix(string(line), "/bin/sleep")
			})
			environmentIsClean(t, pid)
			fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
			if err != nil {
				t.Fatal(err)
			}
			for _, fd := range fds {
				target, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, fd.Name()))
				if len(fd.Name()) > 1 && target != d.Path("state/locks/one.0") || fd.Name() > "2" && len(fd.Name()) == 1 {
					t.Errorf("descriptor %s is %s", fd.Name(), target)
				}
			}
			whoItIs(t, pid)
			d.StopAll()
		})
	}
}

func environmentIsClean(t *testing.T, pid int) {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		t.Fatal(err)
	}
	env := "\n" + strings.ReplaceAll(string(raw), "\x00", "\n")
	for _, name := range []string{"NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "WATCHDOG_USEC", "INVOCATION_ID", "QSUPER_HIDDEN", "QSUPER_CONFIG", "DEPTH_TOKEN"} {
		if strings.Contains(env, "\n"+name+"=") {
			t.Errorf("it sees %s", name)
		}
	}
	for _, want := range []string{"KEEP_ME=kept", "USER=nobody", "LOGNAME=nobody", "HOME=", "QSUPER_CONSUMER=one", "QSUPER_SLOT=0", "QSUPER_RUN_ID="} {
		if !strings.Contains(env, "\n"+want) {
			t.Errorf("it has no %s", want)
		}
	}
}

// whoItIs compares with id(1), which asks the same user database.
func whoItIs(t *testing.T, pid int) {
	t.Helper()
	id := func(flag string) string {
		out, err := exec.Command("id", flag, "nobody").Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(out))
	}
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	uid, gid := id("-u"), id("-g")
	for name, want := range map[string]string{
		"Uid": strings.Join([]string{uid, uid, uid, uid}, " "), "Gid": strings.Join([]string{gid, gid, gid, gid}, " "),
		"Groups": id("-G"), "SigBlk": "0000000000000000", "SigIgn": "0000000000000000", "CapEff": "0000000000000000",
	} {
		m := regexp.MustCompile(`(?m)^` + name + `:(.*)$`).FindStringSubmatch(string(raw))
		if m == nil || strings.Join(strings.Fields(m[1]), " ") != want {
			t.Errorf("%s is %q, want %q", name, m, want)
		}
	}
	score, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid))
	if err != nil || strings.TrimSpace(string(score)) != "0" {
		t.Errorf("oom_score_adj %s, %v", score, err)
	}
}
