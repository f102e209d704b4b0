package control

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

func groupOfProcess() string { return strconv.Itoa(os.Getegid()) }

func TestPolicy(t *testing.T) {
	g := uint32(7)
	cases := []struct {
		name   string
		policy policy
		peer   Peer
		want   bool
	}{
		{"root", policy{uid: 5}, Peer{UID: 0, GID: 9}, true},
		{"own uid", policy{uid: 5}, Peer{UID: 5, GID: 9}, true},
		{"stranger", policy{uid: 5, gid: &g}, Peer{UID: 6, GID: 9, Groups: []uint32{8, 9}}, false},
		{"primary group", policy{uid: 5, gid: &g}, Peer{UID: 6, GID: 7}, true},
		{"supplementary group", policy{uid: 5, gid: &g}, Peer{UID: 6, GID: 9, Groups: []uint32{8, 7}}, true},
		{"no group configured", policy{uid: 5}, Peer{UID: 6, GID: 0, Groups: []uint32{0}}, false},
	}
	for _, tc := range cases {
		if got := tc.policy.allows(tc.peer); got != tc.want {
			t.Errorf("%s: allowed = %v, want %v", tc.name, got, tc.want)
		}
	}
}

// TestOtherUsers connects as other users to a socket that the file system lets
// everybody open, so that only the peer's credentials can refuse.
func TestOtherUsers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Log("only root can become somebody else; TestPolicy covers the rule")
		return
	}
	dir, err := os.MkdirTemp("", "control") // t.TempDir is closed to others
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	r := newTestServer(t, &fakeDaemon{}, filepath.Join(dir, "s"))
	r.opts.Group, r.opts.Mode = "daemon", 0o666 // gid 1 on every Debian
	r.start(t)

	var many []uint32
	for i := range uint32(100) {
		many = append(many, 70000+i)
	}
	cases := []struct {
		name string
		cred syscall.Credential
		ok   bool
	}{
		{"stranger", syscall.Credential{Uid: 65534, Gid: 65534}, false},
		{"stranger in a hundred groups", syscall.Credential{Uid: 65534, Gid: 65534, Groups: many}, false},
		{"primary group", syscall.Credential{Uid: 65534, Gid: 1}, true},
		{"supplementary group", syscall.Credential{Uid: 65534, Gid: 65534, Groups: []uint32{1}}, true},
		{"last of a hundred groups", syscall.Credential{Uid: 65534, Gid: 65534, Groups: append(many, 1)}, true},
		{"root", syscall.Credential{Uid: 0, Gid: 0}, true},
	}
	for _, tc := range cases {
		cmd := exec.Command("/proc/self/exe") // reachable for others, unlike go test's directory
		cmd.Env = []string{asClient + "=" + r.path}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &tc.cred}
		cmd.Dir = "/"
		out, err := cmd.CombinedOutput()
		if (err == nil) != tc.ok {
			t.Errorf("%s: %v, %s", tc.name, err, out)
		}
		want := "ok"
		if tc.cred.Uid == 0 {
			want = "ok, admin" // may also end the daemon
		}
		if tc.ok && string(out) != want {
			t.Errorf("%s: %s", tc.name, out)
		}
		if _, ran := errors.AsType[*exec.ExitError](err); err != nil && !ran {
			t.Fatal(err)
		}
	}
	log := r.log.String()
	if n := strings.Count(log, "connection refused"); n != 1 || !strings.Contains(log, "uid=65534") {
		t.Errorf("want one line for two refusals of one user, got %d:\n%s", n, log)
	}
	if !strings.Contains(log, "asked to pause") || strings.Contains(log, "somebody else") {
		t.Errorf("operations must be logged with the kernel's word for who it was:\n%s", log)
	}
}
