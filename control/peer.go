package control

import (
	"context"
	"fmt"
	"math"
	"net"
	"os/user"
	"slices"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Peer is who sits at the other end of a connection, as the kernel noted it
// when they connected. The pid is for the log only: it may be gone by now.
type Peer struct {
	PID    int
	UID    uint32
	GID    uint32
	Groups []uint32 // supplementary
	guest  string   // not from the socket: who has let them in, and what it calls them
}

// Name is the peer's user name, or "uid 1000" when the host knows none.
func (p Peer) Name() string {
	if p.guest != "" {
		return p.guest
	}
	u, err := user.LookupId(strconv.FormatUint(uint64(p.UID), 10))
	if err != nil {
		return fmt.Sprintf("uid %d", p.UID)
	}
	return u.Username
}

func peerOf(c *net.UnixConn) (Peer, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return Peer{}, fmt.Errorf("read peer credentials: %w", err)
	}
	var p Peer
	var cred *unix.Ucred
	err = raw.Control(func(fd uintptr) {
		if cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			p = Peer{PID: int(cred.Pid), UID: cred.Uid, GID: cred.Gid, Groups: peerGroups(fd)}
		}
	})
	if err == nil && cred == nil {
		err = unix.ENODATA
	}
	if err != nil {
		return Peer{}, fmt.Errorf("read peer credentials: %w", err)
	}
	return p, nil
}

// peerGroups asks the socket rather than /proc/<pid>/status: the kernel keeps
// the groups of the moment of connect (SO_PEERGROUPS, Linux 4.13), so neither
// a pid used again nor a later exec can change the answer. When it cannot be
// asked there are no groups, which lets in fewer people, never more.
func peerGroups(fd uintptr) []uint32 {
	groups := make([]uint32, 32)
	for {
		const width = uint32(unsafe.Sizeof(groups[0]))
		size := uint32(len(groups)) * width
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&groups[0])), uintptr(unsafe.Pointer(&size)), 0)
		switch {
		case errno == 0:
			return groups[:size/width]
		case errno == unix.ERANGE && int(size/width) > len(groups):
			groups = make([]uint32, size/width)
		default:
			return nil
		}
	}
}

// policy says who is let in: root, uid, and whoever is in gid.
type policy struct {
	uid uint32
	gid *uint32 // nil: no group
}

func (a policy) allows(p Peer) bool {
	if p.UID == 0 || p.UID == a.uid {
		return true
	}
	return a.gid != nil && (p.GID == *a.gid || slices.Contains(p.Groups, *a.gid))
}

// administers says whether a peer that was let in has Admin routes as well.
func (a policy) administers(p Peer) bool { return p.UID == 0 || p.UID == a.uid }

type peerKey struct{}

// peerFrom returns who sent the request; every request has one.
func peerFrom(ctx context.Context) Peer {
	switch c := ctx.Value(peerKey{}).(type) {
	case *conn:
		return c.peer
	case guest:
		return Peer{UID: math.MaxUint32, guest: string(c)}
	}
	return Peer{UID: math.MaxUint32} // nobody: the zero Peer would be root
}

// guest is somebody whom another door than the socket has let in.
type guest string

// WithGuest is a request's context for a door other than the socket. It has
// checked who asks; name is what logs and events call them. Admin is never theirs.
func WithGuest(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, peerKey{}, guest(name))
}
