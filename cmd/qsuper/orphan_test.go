package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
)

// Only an engine for the same state directory whose keeper is not this one.
func TestEndOrphans(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "engine"), []byte("echo; exec 1>&-; while :; do read -r x; done\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	start := func(args ...string) *exec.Cmd {
		cmd := exec.Command("/bin/sh")
		cmd.Args, cmd.Dir = append([]string{"qsuper"}, args...), dir
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait(); stdin.Close() })
		if _, err := stdout.Read(make([]byte, 1)); err != nil { // it is what it is to be
			t.Fatal(err)
		}
		return cmd
	}
	hung := start("engine", "--config", "x", "--state-dir", dir)
	if err := hung.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	others := []*exec.Cmd{
		start("engine", "--config", "x", "--state-dir", dir+"2"),
		start("engine", "--config", "x", dir, "--state-dir"),
	}
	if ended := endOrphans(dir, os.Getpid()); len(ended) > 0 {
		t.Errorf("the keeper's own were ended: %v", ended)
	}
	if ended := endOrphans(dir, 1); !slices.Equal(ended, []int{hung.Process.Pid}) {
		t.Errorf("ended %v, not %d", ended, hung.Process.Pid)
	}
	for pid, dead := range map[int]bool{others[0].Process.Pid: true, os.Getpid(): false, 0: false} {
		if bereft(1, pid) != dead {
			t.Errorf("%d has lost its keeper: %v", pid, !dead)
		}
	}
	if bereft(os.Getpid(), others[0].Process.Pid) {
		t.Error("an engine whose keeper lives counts as one that has lost it")
	}
	for _, cmd := range others {
		if err := cmd.Process.Signal(syscall.Signal(0)); err != nil {
			t.Errorf("%v: %v", cmd.Args, err)
		}
	}
	if err := hung.Wait(); err == nil {
		t.Error("it ended well")
	}
}
