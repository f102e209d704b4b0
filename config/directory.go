package config

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// directoryTime bounds one question to the host's user directory, and
// directoryRest is how long it is left alone after it has not answered: an
// unreachable LDAP server must not hold up every start for itself.
const (
	directoryTime = 2 * time.Second
	directoryRest = 30 * time.Second
)

// ErrDirectory means that the host's user directory (SSSD, LDAP, winbind, …)
// could not be asked. It says nothing of whether the user exists.
var ErrDirectory = errors.New("the user directory does not answer")

// directory asks for users who are not in the local files. qsuper is linked
// without libc, and so without the modules of nsswitch.conf: getent(1) and id(1),
// which every libc brings, ask them in its place. It asks one question at a time.
type directory struct {
	getent, id string // never looked for in PATH: root executes them

	mu    sync.Mutex
	quiet time.Time // not asked again before
}

var hostDirectory = &directory{getent: tool("getent"), id: tool("id")}

func tool(name string) string {
	for _, dir := range []string{"/usr/bin/", "/bin/"} {
		if _, err := os.Stat(dir + name); err == nil {
			return dir + name
		}
	}
	return ""
}

// user finds a user by name or number; user.UnknownUserError when there is none.
func (d *directory) user(name string) (*user.User, string, error) {
	fields, err := d.entry("passwd", name, 7)
	if err != nil {
		return nil, "", err
	}
	if fields == nil {
		return nil, "", user.UnknownUserError(name)
	}
	return &user.User{Username: fields[0], Uid: fields[2], Gid: fields[3], Name: fields[4], HomeDir: fields[5]}, fields[6], nil
}

// group finds the number of a group; user.UnknownGroupError when there is none.
func (d *directory) group(name string) (string, error) {
	fields, err := d.entry("group", name, 4)
	if err != nil {
		return "", err
	}
	if fields == nil {
		return "", user.UnknownGroupError(name)
	}
	return fields[2], nil
}

// groups are the numbers of all groups of a user, the primary one included.
func (d *directory) groups(name string) ([]string, error) {
	out, code, err := d.ask(d.id, "-G", "--", name)
	if err == nil && code != 0 {
		err = fmt.Errorf("%w: %s -G %s exits with code %d", ErrDirectory, d.id, name, code)
	}
	return strings.Fields(out), err
}

// entry is one line of getent, cut at its colons; nil when there is none.
func (d *directory) entry(database, key string, fields int) ([]string, error) {
	if key == "" || key[0] == '-' {
		return nil, nil
	}
	const notFound = 2 // getent(1)
	out, code, err := d.ask(d.getent, database, key)
	switch {
	case err != nil:
		return nil, err
	case code == notFound:
		return nil, nil
	case code != 0:
		return nil, fmt.Errorf("%w: %s %s %s exits with code %d", ErrDirectory, d.getent, database, key, code)
	}
	line, _, _ := strings.Cut(out, "\n")
	list := strings.Split(line, ":")
	if len(list) != fields {
		return nil, fmt.Errorf("%w: %s %s %s gives no entry of %d fields", ErrDirectory, d.getent, database, key, fields)
	}
	return list, nil
}

func (d *directory) ask(path string, args ...string) (out string, code int, err error) {
	if path == "" {
		return "", 2, nil // a host without the tool has local users only
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if time.Now().Before(d.quiet) {
		return "", 0, fmt.Errorf("%w: it is asked again in %d s", ErrDirectory, int(time.Until(d.quiet).Seconds())+1)
	}
	ctx, cancel := context.WithTimeout(context.Background(), directoryTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = directoryTime
	text, err := cmd.Output()
	var exited *exec.ExitError
	switch {
	case ctx.Err() != nil:
		d.quiet = time.Now().Add(directoryRest)
		return "", 0, fmt.Errorf("%w: %s took longer than %s", ErrDirectory, strings.Join(cmd.Args, " "), directoryTime)
	case errors.As(err, &exited) && exited.Exited():
		return "", exited.ExitCode(), nil
	case err != nil:
		return "", 0, fmt.Errorf("%w: %w", ErrDirectory, err)
	}
	return string(text), 0, nil
}

// lookupUser finds a user with its shell and groups: in the local files, else in
// the host's directory.
func lookupUser(name string) (u *user.User, shell string, groups []string, err error) {
	if u, err = user.Lookup(name); err != nil {
		u, err = user.LookupId(name)
	}
	if err == nil {
		groups, err = u.GroupIds()
		return u, loginShell(u.Username), groups, err
	}
	if u, shell, err = hostDirectory.user(name); err != nil {
		return nil, "", nil, err
	}
	groups, err = hostDirectory.groups(u.Username)
	return u, shell, groups, err
}

// GroupID finds the number of a group by its name or number: in the local files,
// else in the host's directory.
func GroupID(name string) (int, error) {
	g, err := user.LookupGroup(name)
	if err != nil {
		g, err = user.LookupGroupId(name)
	}
	if err == nil {
		return strconv.Atoi(g.Gid)
	}
	gid, err := hostDirectory.group(name)
	if errors.Is(err, ErrDirectory) {
		return 0, fmt.Errorf("find group %s: %w", name, err)
	}
	if err != nil {
		return 0, fmt.Errorf("group %s does not exist", name)
	}
	return strconv.Atoi(gid)
}
