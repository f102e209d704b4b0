package runner

import (
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"
	"sync"
	"time"

	"qsuper/keeper"
)

// account is who a process runs as.
type account struct {
	cred *keeper.Cred // nil: the daemon's own
	env  map[string]string
}

// userCache remembers accounts while the user database stays as it is.
type userCache struct {
	mu    sync.Mutex
	stamp [2]time.Time
	known map[string]account
}

func (u *userCache) lookup(name string) (account, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if stamp := [2]time.Time{modified("/etc/passwd"), modified("/etc/group")}; u.known == nil || stamp != u.stamp {
		u.known, u.stamp = map[string]account{}, stamp
	}
	if a, ok := u.known[name]; ok {
		return a, nil
	}
	a, err := findAccount(name)
	if err == nil {
		u.known[name] = a
	}
	return a, err
}

func modified(path string) time.Time {
	info, err := os.Stat(path)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

// findAccount resolves "user[:group]" with all supplementary groups. It never
// falls back to the daemon's own identity.
func findAccount(name string) (account, error) {
	if name == "" {
		me, err := user.Current()
		if err != nil {
			return account{env: map[string]string{}}, nil
		}
		return account{env: loginEnv(me)}, nil
	}
	login, group, _ := strings.Cut(name, ":")
	u, err := user.Lookup(login)
	if err != nil {
		if u, err = user.LookupId(login); err != nil {
			return account{}, fmt.Errorf("no user named %q", login)
		}
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return account{}, fmt.Errorf("user %q has no numeric id: %s", login, u.Uid)
	}
	gid, err := groupID(u.Gid, group)
	if err != nil {
		return account{}, err
	}
	a := account{env: loginEnv(u), cred: &keeper.Cred{UID: uint32(uid), GID: gid}}
	ids, err := u.GroupIds()
	if err != nil {
		return account{}, fmt.Errorf("groups of user %q: %w", login, err)
	}
	for _, id := range ids {
		if n, err := strconv.ParseUint(id, 10, 32); err == nil {
			a.cred.Groups = append(a.cred.Groups, uint32(n))
		}
	}
	if os.Geteuid() != 0 {
		if int(uid) != os.Geteuid() {
			return account{}, fmt.Errorf("cannot run as user %q: the daemon does not run as root", login)
		}
		a.cred = nil
	}
	return a, nil
}

func groupID(primary, name string) (uint32, error) {
	id := primary
	if name != "" {
		g, err := user.LookupGroup(name)
		if err != nil {
			if g, err = user.LookupGroupId(name); err != nil {
				return 0, fmt.Errorf("no group named %q", name)
			}
		}
		id = g.Gid
	}
	n, err := strconv.ParseUint(id, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("group %q has no numeric id: %s", name, id)
	}
	return uint32(n), nil
}

func loginEnv(u *user.User) map[string]string {
	return map[string]string{"HOME": u.HomeDir, "USER": u.Username, "LOGNAME": u.Username, "SHELL": loginShell(u.Username)}
}

// loginShell is the last field of the user's line in /etc/passwd, which
// os/user does not tell.
func loginShell(name string) string {
	raw, err := os.ReadFile("/etc/passwd")
	if err == nil {
		for line := range strings.Lines(string(raw)) {
			fields := strings.Split(strings.TrimSpace(line), ":")
			if len(fields) == 7 && fields[0] == name && fields[6] != "" {
				return fields[6]
			}
		}
	}
	return "/bin/sh"
}
