package systemd

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A box is made by two more processes of the test binary. The guard starts the
// first process of new namespaces and waits until that has ended, or until the
// test has; then it removes all there was. The first process makes a root of its
// own, over the machine's and with nothing of it enabled, and becomes systemd.
const (
	roleEnv  = "TEST_SYSTEMD_ROLE" // guard or init
	rolePath = "TEST_SYSTEMD_DIR"  // the box's folder
)

// The box's folder, as the test made it:
const (
	shareDir = "share" // /srv in the box, read-write
	unitsDir = "units" // /etc/systemd/system in the box
	rootDir  = "mnt"   // where the box's root is made, in its own mounts only
)

// masked units are of no use in a box, or touch what is the machine's.
var masked = []string{
	"getty.target", "systemd-logind.service", "systemd-user-sessions.service", "systemd-ask-password-wall.path",
	"systemd-ask-password-console.path", "systemd-update-utmp.service", "systemd-update-utmp-runlevel.service",
	"systemd-sysctl.service", "systemd-binfmt.service", "systemd-modules-load.service", "systemd-random-seed.service",
	"systemd-firstboot.service", "systemd-repart.service", "proc-sys-fs-binfmt_misc.automount", "dev-hugepages.mount",
	"sys-fs-fuse-connections.mount", "sys-kernel-config.mount", "sys-kernel-debug.mount", "sys-kernel-tracing.mount",
}

func guardMain(dir string) error {
	group, err := makeCgroup()
	if err != nil {
		return err
	}
	defer removeCgroup(group)
	fd, err := unix.Open(group, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), roleEnv+"=init")
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid: true, UseCgroupFD: true, CgroupFD: fd,
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWNET,
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("make namespaces: %w", err)
	}
	unix.Close(fd)
	fmt.Println(cmd.Process.Pid)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // ends with the test, however that ends
		_ = cmd.Process.Kill()               // and with the first process all others
	}()
	_ = cmd.Wait() // systemd was killed, or told to exit
	return nil
}

// makeCgroup makes the group that will look like the root of all to the box.
func makeCgroup() (string, error) {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return "", err
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	at, below := "", ""
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 2 && f[2] == "cgroup2" && at == "" {
			at = f[1]
		}
	}
	for line := range strings.Lines(string(own)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			below = path
		}
	}
	if at == "" {
		return "", errors.New("cgroup version 2 is not mounted: systemd cannot be booted beside this machine's own")
	}
	return os.MkdirTemp(filepath.Join(at, below), "qsuper-test-")
}

// removeCgroup removes a group with those below it, once the kernel has let go
// of their processes.
func removeCgroup(path string) {
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); <-time.After(5 * time.Millisecond) {
		var dirs []string
		_ = filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, p)
			}
			return nil
		})
		for i := len(dirs) - 1; i >= 0; i-- {
			_ = unix.Rmdir(dirs[i])
		}
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return
		}
	}
	fmt.Fprintln(os.Stderr, "left behind:", path)
}

// initMain makes the box's world and becomes its systemd.
func initMain(dir string) error {
	runtime.LockOSThread() // a cgroup namespace is a thread's until exec
	// Only now: at clone it would be rooted in the parent's group.
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		return fmt.Errorf("make a cgroup namespace: %w", err)
	}
	root, err := makeRoot(filepath.Join(dir, rootDir))
	if err != nil {
		return err
	}
	for _, name := range masked {
		if err := os.Symlink("/dev/null", filepath.Join(root, "run/systemd/system", name)); err != nil {
			return err
		}
	}
	for from, to := range map[string]string{shareDir: "srv", unitsDir: "etc/systemd/system"} {
		if err := mount(filepath.Join(dir, from), filepath.Join(root, to), "", unix.MS_BIND, ""); err != nil {
			return err
		}
	}
	if err := unix.Sethostname([]byte("box")); err != nil {
		return err
	}
	if err := enter(root); err != nil {
		return err
	}
	// It must not be able to set this machine's clock, or to reach its kernel.
	for _, c := range []uintptr{unix.CAP_SYS_TIME, unix.CAP_SYS_MODULE, unix.CAP_SYS_RAWIO, unix.CAP_SYS_BOOT} {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil {
			return fmt.Errorf("drop a capability: %w", err)
		}
	}
	const systemd = "/lib/systemd/systemd"
	argv := []string{systemd, "--system", "--unit=multi-user.target", "--show-status=no", "--log-target=journal"}
	env := []string{"container=qsuper-test", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "TERM=dumb"}
	return fmt.Errorf("execute %s: %w (apt-get install systemd)", systemd, syscall.Exec(systemd, argv, env))
}

// makeRoot lays a memory-backed root over the machine's: what is written in the
// box is gone with it.
func makeRoot(at string) (string, error) {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return "", fmt.Errorf("part from the machine's mounts: %w", err)
	}
	if err := mount("box", at, "tmpfs", 0, "mode=755,size=256m"); err != nil {
		return "", err
	}
	root, upper, work := filepath.Join(at, "root"), filepath.Join(at, "upper"), filepath.Join(at, "work")
	for _, dir := range []string{root, upper, work} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return "", err
		}
	}
	if err := mount("box", root, "overlay", 0, "lowerdir=/,upperdir="+upper+",workdir="+work); err != nil {
		return "", err
	}
	const quiet = unix.MS_NOSUID | unix.MS_NODEV
	for _, m := range []struct {
		to, kind string
		flags    uintptr
		options  string
	}{
		{"proc", "proc", quiet | unix.MS_NOEXEC, ""},
		{"sys", "sysfs", quiet | unix.MS_NOEXEC | unix.MS_RDONLY, ""},
		{"sys/fs/cgroup", "cgroup2", quiet | unix.MS_NOEXEC, ""},
		{"dev", "tmpfs", unix.MS_NOSUID, "mode=755"},
		{"dev/shm", "tmpfs", quiet, "mode=1777"},
		{"run", "tmpfs", quiet, "mode=755"},
		{"tmp", "tmpfs", quiet, "mode=1777"},
		{"var/log", "tmpfs", quiet, "mode=755"},
		{"var/lib/systemd", "tmpfs", quiet, "mode=755"},
		{"usr/lib/systemd/system-generators", "tmpfs", quiet, "mode=755"}, // fstab, init.d and the like are the machine's
	} {
		if err := os.MkdirAll(filepath.Join(root, m.to), 0o755); err != nil {
			return "", err
		}
		if err := mount("box", filepath.Join(root, m.to), m.kind, m.flags, m.options); err != nil {
			return "", err
		}
	}
	// Settings of the kernel that no namespace has of its own.
	sys := filepath.Join(root, "proc/sys")
	if err := mount(sys, sys, "", unix.MS_BIND, ""); err != nil {
		return "", err
	}
	if err := mount("", sys, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
		return "", err
	}
	for name, minor := range map[string]uint32{"null": 3, "zero": 5, "full": 7, "random": 8, "urandom": 9} {
		if err := unix.Mknod(filepath.Join(root, "dev", name), unix.S_IFCHR|0o666, int(unix.Mkdev(1, minor))); err != nil {
			return "", fmt.Errorf("make /dev/%s: %w", name, err)
		}
	}
	if err := os.Symlink("/proc/self/fd", filepath.Join(root, "dev/fd")); err != nil {
		return "", err
	}
	return root, os.MkdirAll(filepath.Join(root, "run/systemd/system"), 0o755)
}

func mount(from, to, kind string, flags uintptr, options string) error {
	if err := unix.Mount(from, to, kind, flags, options); err != nil {
		return fmt.Errorf("mount %s on %s: %w", kind, to, err)
	}
	return nil
}

// enter makes root the root, and lets go of the machine's.
func enter(root string) error {
	if err := unix.Chdir(root); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil { // the old one lies over the new one then
		return fmt.Errorf("change the root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("let go of the machine's root: %w", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return err
	}
	return unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, "") // as on a machine: services get their mounts from it
}
