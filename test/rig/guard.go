package rig

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// marker is in the environment of everything that the tests start.
const marker = "RIG_RUN"

// guardScript waits for the end of a pipe that only the test process holds,
// however that ends. Then it kills, by pid, what still carries the marker ($0),
// and removes mounts, control groups and the folder.
const guardScript = `read -r _
for g in /sys/fs/cgroup/freezer/"${0##*/}"*; do [ ! -d "$g" ] || echo THAWED >"$g/freezer.state"; done
found=yes
while [ -n "$found" ]; do
	found=
	for p in /proc/[0-9]*; do
		if tr '\0' '\n' <"$p/environ" 2>/dev/null | grep -qxF "RIG_RUN=$0"; then
			found=yes
			kill -KILL "${p#/proc/}" 2>/dev/null
		fi
	done 2>/dev/null
done
for g in /sys/fs/cgroup/freezer/"${0##*/}"* /sys/fs/cgroup/pids/"${0##*/}"* /sys/fs/cgroup/memory/"${0##*/}"*; do [ ! -d "$g" ] || rmdir "$g"; done
for g in /sys/fs/cgroup/"${0##*/}"-* /sys/fs/cgroup/unified/"${0##*/}"-*; do [ ! -d "$g" ] || find "$g" -depth -type d -exec rmdir {} \;; done
while read -r _ m _; do case "$m" in "$0"/*) umount -l "$m" ;; esac; done </proc/mounts
rm -rf "$0"`

// root is the folder of this run, in which every daemon has its own.
var root string

// guard makes the folder and starts its guard. What it returns ends the guard,
// and waits until all is gone.
func guard() (end func(), err error) {
	if root, err = os.MkdirTemp("", "qsuper-"); err != nil {
		return nil, err
	}
	if err := os.Chmod(root, 0o711); err != nil { // for consumers of other users
		return nil, err
	}
	cmd := exec.Command("/bin/sh", "-c", guardScript, root)
	cmd.Stderr = os.Stderr
	// What the terminal sends to the tests must not end it before its time.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the guard: %w", err)
	}
	guardPipe = pipe
	return func() { _ = pipe.Close(); _ = cmd.Wait() }, os.Setenv(marker, root)
}

// guardPipe is referred to until the process ends: the garbage collector would
// close it.
var guardPipe io.Closer

// Root is the folder of this run; what is named after it elsewhere on the host
// is removed with it.
func Root() string { return filepath.Base(root) }
