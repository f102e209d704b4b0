package main

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"qsuper/config"
)

// asNobody runs f as a user without rights, on a thread that ends with it.
func asNobody(t *testing.T, f func()) {
	t.Helper()
	done := make(chan syscall.Errno)
	go func() {
		runtime.LockOSThread()
		const keep, nobody = ^uintptr(0), 65534
		_, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, keep, nobody, keep)
		if errno == 0 || os.Geteuid() != 0 {
			f()
			errno = 0
		}
		done <- errno
	}()
	if errno := <-done; errno != 0 {
		t.Fatal(errno)
	}
}

func TestCheckDirs(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	free, shut, file := filepath.Join(dir, "free"), filepath.Join(dir, "shut"), filepath.Join(dir, "file")
	for path, mode := range map[string]os.FileMode{free: 0o777, shut: 0o555} {
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil { // whatever the umask
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		state, log, socket string // below dir
		unit               string
		want               []string
	}{
		{free, free + "/logs/of/it", free + "/run/q.sock", "", nil},
		{shut, free, free + "/q.sock", "", []string{"daemon.state_dir: a daemon of nobody could not begin: " + shut + " cannot be written: permission denied"}},
		{free, shut + "/logs", free + "/q.sock", "", []string{"daemon.log_dir: a daemon of nobody could not keep what consumers print: " + shut + "/logs cannot be made in " + shut}},
		{free, free, shut + "/q.sock", "", []string{"daemon.socket.path: a daemon of nobody could not begin: " + shut}},
		{file, file + "/logs", free + "/q.sock", "", []string{file + " is not a directory", "what consumers print: " + file + " is not a directory"}},
		// The service is another's, and sees to its directories.
		{shut, shut, shut + "/q.sock", "ExecStart={ path=/usr/bin/qsuper ; argv[]=/usr/bin/qsuper run --config /q.yaml ; }\nUser=\n", nil},
		{free, shut, free + "/q.sock", "ExecStart={ path=/usr/bin/qsuper ; argv[]=/usr/bin/qsuper run --config /q.yaml ; }\nUser=nobody\n", []string{"install -d -o nobody " + shut}},
	} {
		cfg := &config.Config{Path: "/q.yaml", Files: []string{"/q.yaml"}}
		cfg.Daemon.StateDir, cfg.Daemon.LogDir, cfg.Daemon.Socket.Path = c.state, c.log, c.socket
		var got []config.Problem
		asNobody(t, func() { got = checkDirs(cfg, c.unit) })
		if len(got) != len(c.want) {
			t.Errorf("%+v: %v", c, got)
			continue
		}
		for i, want := range c.want {
			if !strings.Contains(got[i].String(), want) {
				t.Errorf("%s, expected %q in it", got[i], want)
			}
		}
	}
}
