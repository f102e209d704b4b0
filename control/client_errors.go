package control

import (
	"context"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// NoDaemon says that nobody answers at the socket. Commands exit with 4.
type NoDaemon struct {
	Socket string
	Other  string // what the daemon there says that was asked for another's; "" = nobody is there
}

func (e *NoDaemon) Error() string {
	if e.Other != "" {
		return e.Other
	}
	return "no daemon answers at " + e.Socket
}

// Hint says what to do.
func (e *NoDaemon) Hint() string {
	if e.Other != "" {
		return "to ask that one give --socket " + e.Socket + "; a second daemon needs its own daemon.socket.path and daemon.state_dir"
	}
	return `start it with "qsuper start", or give --socket`
}

// Lost says that the daemon closed the connection before its answer was whole:
// its engine was restarted or it has ended. What was asked may have been done.
type Lost struct{ Socket string }

func (e *Lost) Error() string {
	return fmt.Sprintf("the daemon at %s closed the connection before it had answered", e.Socket)
}

// Hint says what to do.
func (e *Lost) Hint() string { return `see what became of it with "qsuper status"` }

// Rejected is an answer of the daemon other than 2xx.
type Rejected struct {
	Status  int // HTTP
	Message string
	Advice  string
}

func (e *Rejected) Error() string { return e.Message }

// Hint is what the daemon advises; may be "".
func (e *Rejected) Hint() string { return e.Advice }

// Denied says that this user may not talk to the daemon.
type Denied struct {
	Socket string
	Owner  string // user; "" = cannot be seen
	Group  string // whose members may; "" = none, or cannot be seen

	uid, gid uint32
	grouped  bool // the group may connect
	seen     bool
}

// newDenied reads owner and group from the socket, or from its directory when
// that is as far as this user can see.
func newDenied(socket string) *Denied {
	d := &Denied{Socket: socket}
	info, err := os.Lstat(socket)
	if err != nil {
		if info, err = os.Stat(filepath.Dir(socket)); err != nil {
			return d
		}
	}
	st := info.Sys().(*syscall.Stat_t)
	d.uid, d.gid, d.seen = st.Uid, st.Gid, true
	open := info.Mode().Perm()&0o020 != 0 || info.IsDir() && info.Mode().Perm()&0o010 != 0
	d.grouped = open && st.Gid != 0 // group root is nobody's way in
	if u, err := user.LookupId(strconv.FormatUint(uint64(st.Uid), 10)); err == nil {
		d.Owner = u.Username
	}
	if g, err := user.LookupGroupId(strconv.FormatUint(uint64(st.Gid), 10)); err == nil && d.grouped {
		d.Group = g.Name
	}
	return d
}

// allowed judges by the socket's file whether the daemon lets this process in;
// it is the daemon who knows.
func (e *Denied) allowed() bool {
	uid := os.Geteuid()
	if !e.seen || uid == 0 || uint32(uid) == e.uid {
		return true
	}
	groups, _ := os.Getgroups()
	return e.grouped && (os.Getegid() == int(e.gid) || slices.Contains(groups, int(e.gid)))
}

func (e *Denied) Error() string { return "not allowed to talk to the daemon at " + e.Socket }

// Hint says who may.
func (e *Denied) Hint() string {
	switch {
	case e.Group != "":
		return fmt.Sprintf("be root or a member of group %s: usermod -aG %s USER, then log in again", e.Group, e.Group)
	case e.Owner != "" && e.Owner != "root":
		return fmt.Sprintf("be root or %s; daemon.socket.group lets more users in", e.Owner)
	default:
		return "be root; daemon.socket.group lets more users in"
	}
}

// answerLimit is how long the daemon has for an answer that needs no waiting.
const answerLimit = 10 * time.Second

// Hung means that the daemon took the question and did not answer.
type Hung struct{ Socket string }

func (e *Hung) Error() string {
	return fmt.Sprintf("the daemon at %s does not answer within %s; its consumers go on", e.Socket, answerLimit)
}

// Hint says how to get an answer again.
func (e *Hung) Hint() string {
	return `its engine hangs: end the process "qsuper engine" with SIGKILL, and a new one takes over within a second`
}

// bounded is ctx with a time limit whose end is a *Hung.
func (c *Client) bounded(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, limit, &Hung{Socket: c.socket})
}

// hung turns the end of a time limit into what it means.
func hung(ctx context.Context, err error) error {
	if h, ok := context.Cause(ctx).(*Hung); ok && err != nil {
		return h
	}
	return err
}
