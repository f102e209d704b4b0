package config

import (
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// identity is who a consumer runs as.
type identity struct {
	name string
	uid  int
	gids []int
}

// lookupIdentity finds `user[:group]`, names or numbers; "" is the daemon's own.
func lookupIdentity(text string) (*identity, error) {
	own := &identity{name: "this user", uid: os.Geteuid(), gids: []int{os.Getegid()}}
	if groups, err := os.Getgroups(); err == nil {
		own.gids = append(own.gids, groups...)
	}
	if text == "" {
		return own, nil
	}
	name, group, hasGroup := strings.Cut(text, ":")
	u, err := user.Lookup(name)
	if err != nil {
		u, err = user.LookupId(name)
	}
	if err != nil {
		return own, fmt.Errorf("user %s does not exist", name)
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return own, fmt.Errorf("user %s has no numeric id", name)
	}
	if own.uid != 0 && uid != own.uid {
		return own, fmt.Errorf("only root can run a consumer as %s", name)
	}
	who := &identity{name: name, uid: uid}
	ids, err := u.GroupIds()
	if err != nil {
		ids = []string{u.Gid}
	}
	for _, id := range ids {
		if gid, err := strconv.Atoi(id); err == nil {
			who.gids = append(who.gids, gid)
		}
	}
	if hasGroup {
		gid, err := groupID(group)
		if err != nil {
			return own, err
		}
		who.gids = append(who.gids, gid)
	}
	return who, nil
}

func groupID(name string) (int, error) {
	g, err := user.LookupGroup(name)
	if err != nil {
		g, err = user.LookupGroupId(name)
	}
	if err != nil {
		return 0, fmt.Errorf("group %s does not exist", name)
	}
	return strconv.Atoi(g.Gid)
}

// mayExecute applies the permission bits as the kernel does: the owner's, else
// the group's, else the others'; root needs any of them.
func (i *identity) mayExecute(info fs.FileInfo) bool {
	mode := info.Mode().Perm()
	st, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case i.uid == 0 || !ok:
		return mode&0o111 != 0
	case int(st.Uid) == i.uid:
		return mode&0o100 != 0
	case slices.Contains(i.gids, int(st.Gid)):
		return mode&0o010 != 0
	}
	return mode&0o001 != 0
}
