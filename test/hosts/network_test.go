package hosts

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"qsuper/test/rig"
)

// space is a network namespace, which lives as long as the process that waits in it.
// Its host name is its own, too.
type space struct{ pid int }

func newSpace(t *testing.T, name string) space {
	t.Helper()
	cmd := exec.Command("unshare", "--net", "--uts", "sh", "-c", `hostname "$0" && ip link set lo up && echo && exec sleep infinity`, name)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatalf("make a network namespace: %v (these tests need root)", err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if _, err := out.Read(make([]byte, 1)); err != nil {
		_ = cmd.Wait()
		t.Fatalf("make a network namespace: %v\n%s", err, said.String())
	}
	return space{cmd.Process.Pid}
}

func (s space) String() string { return fmt.Sprintf("/proc/%d/ns/net", s.pid) }

// words are what a command is to begin with to run in the space.
func (s space) words() []string {
	return []string{"nsenter", "--net=" + s.String(), fmt.Sprintf("--uts=/proc/%d/ns/uts", s.pid), "--"}
}

// run runs a command in the space.
func (s space) run(t *testing.T, words ...string) {
	t.Helper()
	words = append(s.words(), words...)
	if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(words, " "), err, out)
	}
}

// listen opens a port in the space. The thread that goes there does not come back.
func (s space) listen(t *testing.T, addr string) net.Listener {
	t.Helper()
	type result struct {
		l   net.Listener
		err error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread()
		f, err := os.Open(s.String())
		if err == nil {
			err = unix.Setns(int(f.Fd()), unix.CLONE_NEWNET)
			_ = f.Close()
		}
		r := result{err: err}
		if err == nil {
			r.l, r.err = net.Listen("tcp4", addr)
		}
		done <- r
	}()
	r := <-done
	if r.err != nil {
		t.Fatalf("listen on %s in %s: %v", addr, s, r.err)
	}
	return r.l
}

// cable connects host n with the switch: the switch is 10.79.n.1 on it, the host 10.79.n.2.
func cable(t *testing.T, sw, host space, n int) (gateway, addr string) {
	t.Helper()
	dev, gateway, addr := fmt.Sprintf("host%d", n), fmt.Sprintf("10.79.%d.1", n), fmt.Sprintf("10.79.%d.2", n)
	out, err := exec.Command("ip", "link", "add", "name", dev, "netns", fmt.Sprint(sw.pid), "type", "veth", "peer", "name", "eth0", "netns", fmt.Sprint(host.pid)).CombinedOutput()
	if err != nil {
		t.Fatalf("ip link add: %v\n%s", err, out)
	}
	sw.run(t, "ip", "addr", "add", gateway+"/30", "dev", dev)
	sw.run(t, "ip", "link", "set", dev, "up")
	host.run(t, "ip", "addr", "add", addr+"/30", "dev", "eth0")
	host.run(t, "ip", "link", "set", "eth0", "up")
	return gateway, addr
}

// The ways in which the network between a host and the switch may fail: packets
// vanish without a word. What the host sends arrives when only answers are lost.
const (
	loseNothing = iota
	loseAnswers
	loseAll
)

// lose makes packets vanish. The switch has no way back to the host; that it takes
// none from it either is what a strict filter of the reverse path does then.
func lose(t *testing.T, sw space, n, what int) {
	t.Helper()
	filter := "0"
	if what == loseAll {
		filter = "1"
	}
	sw.run(t, "sh", "-c", fmt.Sprintf("echo %s >/proc/sys/net/ipv4/conf/host%d/rp_filter", filter, n))
	sw.run(t, "ip", "route", "flush", "type", "blackhole", "exact", fmt.Sprintf("10.79.%d.2/32", n))
	if what != loseNothing {
		sw.run(t, "ip", "route", "add", "blackhole", fmt.Sprintf("10.79.%d.2/32", n))
	}
}

// group is a control group that has everything of one host.
type group string

func newGroup(t *testing.T, name string) group {
	t.Helper()
	mount := "/sys/fs/cgroup"
	if _, err := os.Stat(mount + "/unified"); err == nil {
		mount += "/unified"
	}
	g := group(filepath.Join(mount, rig.Root()+"-"+name))
	if err := os.Mkdir(string(g), 0o755); err != nil {
		t.Fatalf("make a control group: %v (these tests need root and cgroup version 2)", err)
	}
	t.Cleanup(func() {
		g.set(t, "cgroup.freeze", "0")
		g.set(t, "cgroup.kill", "1")
		rig.Eventually(t, rig.Patience, "the control group is gone", g.remove)
	})
	return g
}

// renew makes the group anew, as a machine's are that has booted. In one that was
// killed the kernel (6.18) kills whatever is started into a group below.
func (g group) renew(t *testing.T) {
	t.Helper()
	rig.Eventually(t, rig.Patience, "the control group is gone", g.remove)
	if err := os.Mkdir(string(g), 0o755); err != nil {
		t.Fatalf("make a control group: %v", err)
	}
}

// remove removes the group and those below it; false: something lives in one.
func (g group) remove() bool {
	below, _ := filepath.Glob(filepath.Join(string(g), "*"))
	for _, dir := range below {
		if info, err := os.Stat(dir); err == nil && info.IsDir() && !group(dir).remove() {
			return false
		}
	}
	err := os.Remove(string(g))
	return err == nil || os.IsNotExist(err)
}

func (g group) set(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(string(g), file), []byte(text), 0o600); err != nil && !os.IsNotExist(err) {
		t.Errorf("control group: %v", err)
	}
}

// await waits until cgroup.events says so.
func (g group) await(t *testing.T, line string) {
	t.Helper()
	rig.Eventually(t, rig.Patience, g.name()+" is "+line, func() bool {
		b, err := os.ReadFile(filepath.Join(string(g), "cgroup.events"))
		return err == nil && strings.Contains(string(b), line+"\n")
	})
}

func (g group) name() string { return filepath.Base(string(g)) }

// words are what a command is to begin with to run in the group.
func (g group) words() []string {
	return []string{"sh", "-c", `echo $$ >"$0/cgroup.procs" && exec "$@"`, string(g)}
}

// after is a channel that is ready when d has passed.
func after(d time.Duration) <-chan time.Time { return time.After(d) }
