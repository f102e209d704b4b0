package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"qsuper/test/rig"
)

// terminal is a real one: a pane of a private tmux.
type terminal struct {
	t      *testing.T
	socket string
}

// newTerminal runs a shell command on a terminal of that size, then says how it ended.
func newTerminal(d *daemon, width, height int, env, command string) *terminal {
	d.T.Helper()
	dir, err := os.MkdirTemp("", "tmux") // a short path: it becomes a socket's
	if err != nil {
		d.T.Fatal(err)
	}
	term := &terminal{d.T, filepath.Join(dir, "s")}
	if _, err := exec.LookPath("tmux"); err != nil {
		d.T.Fatal("tmux is missing: apt-get install -y tmux")
	}
	line := "echo on the main screen; export QSUPER_CONFIG=" + d.Path("qsuper.yaml") + " LC_ALL=C.UTF-8 " + env + "; " + command + "; echo it ended with $?; sleep 1000"
	term.tmux("-f", "/dev/null", "new-session", "-d", "-x", strconv.Itoa(width), "-y", strconv.Itoa(height), line)
	d.T.Cleanup(func() {
		_ = exec.Command("tmux", "-u", "-S", term.socket, "kill-server").Run()
		_ = os.RemoveAll(dir)
	})
	return term
}

func (m *terminal) tmux(args ...string) string {
	m.t.Helper()
	out, err := exec.Command("tmux", append([]string{"-u", "-S", m.socket}, args...)...).CombinedOutput()
	if err != nil {
		m.t.Fatalf("tmux %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// keys sends keys by tmux's names.
func (m *terminal) keys(names ...string) {
	m.t.Helper()
	m.tmux(append([]string{"send-keys"}, names...)...)
}

// screen is what a person sees.
func (m *terminal) screen() string { return m.tmux("capture-pane", "-p") }

func (m *terminal) resize(width, height int) {
	m.tmux("resize-window", "-x", strconv.Itoa(width), "-y", strconv.Itoa(height))
}

// until waits until the screen shows all of these, and none with a leading "!".
func (m *terminal) until(words ...string) string {
	m.t.Helper()
	text := ""
	defer func() {
		if m.t.Failed() {
			m.t.Logf("expected %q on the screen:\n%s", words, text)
		}
	}()
	eventually(m.t, patience, "the screen shows "+strings.Join(words, ", "), func() bool {
		text = m.screen()
		for _, w := range words {
			if hidden, not := strings.CutPrefix(w, "!"); strings.Contains(text, hidden) == not {
				return false
			}
		}
		return true
	})
	return text
}

const topFleet = `consumers:
  orders:
    shell: 'while :; do printf "an order \033]0;evil\007\n"; sleep 0.2; done'
    instances: 2
  mails: {shell: "exec sleep 1000", group: post}
  broken: {shell: "exit 3", backoff: {initial: 30s}}
jobs:
  reindex: {schedule: "0 0 1 1 *", shell: "echo reindexed; exec sleep 1000"}
`

func TestTop(t *testing.T) {
	d := startDaemon(t, topFleet)
	d.UntilRunning("orders", 2)
	m := newTerminal(d, 80, 24, "X=1", rig.Binary+" top")
	m.until("NAME", "orders", "running", "2/2", "mails", "reindex", "? help", "!it ended with")

	t.Run("resize", func(t *testing.T) {
		m.resize(200, 40)
		wide := m.until("stop-workers", "LATEST EVENTS")
		if first, _, _ := strings.Cut(wide, "\n"); len(first) < 195 {
			t.Errorf("the first line does not use the width: %q", first)
		}
		m.resize(40, 8)
		m.until("orders", "!stop-workers")
		m.resize(100, 24)
		m.until("orders", "reindex", "restart")
	})
	t.Run("sort and filter", func(t *testing.T) {
		m.keys(">")
		text := m.until("NAME▲")
		if strings.Index(text, "broken ") > strings.Index(text, "  mails") {
			t.Errorf("not by name:\n%s", text)
		}
		m.keys("/", "@", "p", "o", "s", "t", "Enter")
		m.until("mails", "!broken ", `found by "@post"`)
		m.keys("Escape")
		m.until("mails ", "broken ", "!found by")
		m.keys("<", "Home", "/", "o", "r", "d")
		m.until("orders", "!mails ")
		m.keys("Enter", "Enter")
	})
	t.Run("pages", func(t *testing.T) {
		m.until("Gates, in the order", "nobody stopped it", "1 Why")
		m.keys("l")
		m.until(`an order \x1b]0;evil\x07`, "0 |", "1 |")
		m.keys("e")
		m.until("spawning → running", "started")
		m.keys("i")
		m.until("orders/0", "orders/1")
	})
	t.Run("restart of one instance", func(t *testing.T) {
		before := d.Consumer("orders")
		m.keys("Down")
		m.until("▸ orders/1")
		m.keys("r")
		m.until("Restart orders/1?", "[y/n]")
		m.keys("n")
		m.until("nothing was done")
		m.keys("r", "y")
		m.until("restarted orders: 1 instance")
		after := d.UntilRunning("orders", 2)
		if after.Slots[0].PID != before.Slots[0].PID || after.Slots[1].PID == before.Slots[1].PID {
			t.Errorf("pids %v became %v", before.PIDs(), after.PIDs())
		}
	})
	t.Run("actions", func(t *testing.T) { topActions(t, d, m) })
	t.Run("the engine and the daemon go and come back", func(t *testing.T) {
		m.keys("/", "C-u", "o", "r", "d", "Enter", "l")
		m.until("an order")
		d.KillEngine()
		m.until("the engine was restarted, following again", "an order")
		stopDaemon(d)
		m.until("no daemon answers", "asking again")
		d.Start()
		m.until("the daemon answers again", "!no daemon answers", "an order")
	})
	m.keys("q")
	m.until("on the main screen", "it ended with 0", "!an order", "!NAME")
}

// stopDaemon stops everything, while somebody looks on.
func stopDaemon(d *daemon) {
	d.T.Helper()
	d.Must("stop")
	eventually(d.T, patience, "the daemon has ended", d.Over)
}

// topActions gives every command, and looks at the daemon for what became of it.
func topActions(t *testing.T, d *daemon, m *terminal) {
	state := func(want string) func() bool { return func() bool { return d.Consumer("orders").State == want } }
	m.keys("Escape")
	m.until("SINCE", "!1 Why", "▸ orders")
	m.keys("x", "y")
	m.until("stopped orders: 2 instances")
	eventually(t, patience, "it is stopped", state("stopped"))
	m.keys("s", "y")
	m.until("started orders: 2 instances")
	d.UntilRunning("orders", 2)
	m.keys("n", "1", "Enter")
	m.until("scaled orders to 1: 1 instance")
	d.UntilRunning("orders", 1)
	m.keys("p", "y")
	m.until("paused orders")
	eventually(t, patience, "it is paused", state("held"))
	m.keys("u", "y")
	m.until("resumed orders")
	before := d.UntilRunning("orders", 1)
	m.keys("w", "y")
	m.until("renewed orders: 1 instance")
	if after := d.UntilRunning("orders", 1); after.Slots[0].PID == before.Slots[0].PID {
		t.Error("its workers were not renewed")
	}
	m.keys("Escape")
	m.until("mails ", "reindex ", "!found by")
	m.keys("End", "s")
	m.until("Run reindex now?")
	m.keys("y")
	m.until("reindex runs")
	m.keys("l")
	m.until("reindexed")
	m.keys("Escape")
	m.until("mails ", "!reindexed")
}

var coloured = regexp.MustCompile("\x1b\\[[0-9;]*(3[0-8]|4[0-8]|9[0-7])")

var cursorRow = regexp.MustCompile("\x1b\\[([0-9;]*;)?7m.*▸ orders")

func TestTopWithoutColours(t *testing.T) {
	d := startDaemon(t, topFleet)
	d.UntilRunning("orders", 2)
	for _, c := range []struct {
		env  string
		want bool
	}{{"NO_COLOR=1", false}, {"TERM=xterm", true}} {
		m := newTerminal(d, 100, 30, c.env, rig.Binary+" top")
		m.until("orders", "broken", "LATEST EVENTS")
		text := m.tmux("capture-pane", "-p", "-e")
		if got := coloured.MatchString(text); got != c.want {
			t.Errorf("%s: colours %v\n%q", c.env, got, text)
		}
		if !cursorRow.MatchString(text) {
			t.Errorf("%s: the row under the cursor is not marked\n%q", c.env, text)
		}
		m.keys("C-c")
		m.until("it ended with 0")
	}
}

func TestTopRefuses(t *testing.T) {
	d := startDaemon(t, topFleet)
	m := newTerminal(d, 80, 24, "TERM=dumb", rig.Binary+" top")
	m.until("top needs a terminal", "qsuper status --watch", "it ended with 2")
	if r := d.Run("top"); r.Code != 2 || !strings.Contains(r.Stderr, "qsuper status --watch") {
		t.Errorf("without a terminal: exit %d, %s", r.Code, r.Stderr)
	}
	stopDaemon(d)
	m = newTerminal(d, 80, 24, "X=1", rig.Binary+" top")
	m.until("no daemon answers", "it ended with 4")
}

// A signal must not leave the terminal without echo or on the other screen.
func TestTopIsToldToEnd(t *testing.T) {
	d := startDaemon(t, topFleet)
	pidFile := d.Path("top.pid")
	m := newTerminal(d, 80, 24, "X=1", "sh -c 'echo $$ >"+pidFile+"; exec "+rig.Binary+" top'; code=$?; stty -a | tr ' ;' '\\n\\n' | grep -x -e echo -e icanon; (exit $code)")
	m.until("orders", "NAME")
	pid, err := strconv.Atoi(strings.TrimSpace(tail(pidFile, 20)))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	m.until("on the main screen", "it ended with 0", "echo\n", "icanon\n", "!NAME")
}
