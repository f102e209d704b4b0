package config

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Identity is who a consumer runs as.
type Identity struct {
	Name   string // of the user
	UID    int
	GID    int   // primary group, or the one given after the colon
	Groups []int // supplementary groups, the user's own included
	Home   string
	Shell  string
	Own    bool // the daemon's own: nothing has to be changed
}

// String names the identity in messages.
func (i *Identity) String() string {
	if i.Own {
		return "this user"
	}
	return "user " + i.Name
}

// LookupIdentity finds `user[:group]`, names or numbers, in /etc/passwd and
// /etc/group, else in the host's directory (SSSD, LDAP, …; errors.Is ErrDirectory
// when that does not answer within 2 s). "" is the daemon's own. It never falls back to somebody else: a user that does
// not exist, or that only root could become, is an error.
func LookupIdentity(text string) (*Identity, error) {
	if text == "" {
		return ownIdentity(), nil
	}
	name, group, hasGroup := strings.Cut(text, ":")
	who, err := identityOf(name)
	if err != nil {
		return nil, err
	}
	if hasGroup {
		if who.GID, err = GroupID(group); err != nil {
			return nil, err
		}
	}
	if euid := os.Geteuid(); euid != 0 {
		if who.UID != euid {
			return nil, fmt.Errorf("only root can run a consumer as %s", name)
		}
		who.Own = true
	}
	return who, nil
}

func identityOf(name string) (*Identity, error) {
	u, shell, groups, err := lookupUser(name)
	var unknown user.UnknownUserError
	switch {
	case errors.As(err, &unknown):
		return nil, fmt.Errorf("user %s does not exist", name)
	case err != nil:
		return nil, fmt.Errorf("find user %s: %w", name, err)
	}
	who := &Identity{Name: u.Username, Home: u.HomeDir, Shell: cmp.Or(shell, "/bin/sh")}
	if who.UID, err = strconv.Atoi(u.Uid); err != nil {
		return nil, fmt.Errorf("user %s has no numeric id", u.Username)
	}
	if who.GID, err = strconv.Atoi(u.Gid); err != nil {
		return nil, fmt.Errorf("user %s has no numeric group", u.Username)
	}
	for _, id := range groups {
		if gid, err := strconv.Atoi(id); err == nil {
			who.Groups = append(who.Groups, gid)
		}
	}
	return who, nil
}

// ownIdentity is the daemon's own, even where the user database does not know it.
func ownIdentity() *Identity {
	who := &Identity{Shell: "/bin/sh"}
	if u, err := user.Current(); err == nil {
		who.Name, who.Home, who.Shell = u.Username, u.HomeDir, loginShell(u.Username)
	}
	who.Own, who.UID, who.GID = true, os.Geteuid(), os.Getegid()
	if groups, err := os.Getgroups(); err == nil {
		who.Groups = groups
	}
	return who
}

// loginShell is the last field of the user's line in /etc/passwd, which os/user
// does not tell.
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

// mayExecute applies the permission bits as the kernel does: the owner's, else
// the group's, else the others'; root needs any of them.
func (i *Identity) mayExecute(info fs.FileInfo) bool {
	mode := info.Mode().Perm()
	st, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case i.UID == 0 || !ok:
		return mode&0o111 != 0
	case int(st.Uid) == i.UID:
		return mode&0o100 != 0
	case i.GID == int(st.Gid) || slices.Contains(i.Groups, int(st.Gid)):
		return mode&0o010 != 0
	}
	return mode&0o001 != 0
}
