package proc

import (
	"bytes"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Mark is what a run's processes are known by where there is no cgroup: an
// entry of the environment that they were executed with, and that they hand on.
type Mark struct {
	Entry string // NAME=VALUE; "" = there is none
	UID   int    // whom the run was started as: another user's process is not its own. Root's may have become anybody
}

// maxEnviron bounds what is read of one environment, in bytes; the kernel's own
// bound is a quarter of the stack limit, 2 MiB as a rule.
const maxEnviron = 4 << 20

// Orphans lists the processes that have become children of the caller because
// their parent has died, apart from those that known claims and zombies. Processes
// that the caller's first thread has started must be known, others need not be.
func Orphans(known func(pid int) bool) []int {
	buf := make([]byte, 4096)
	list := firstThreads(buf, known)
	for {
		alive := slices.DeleteFunc(slices.Clone(list), func(pid int) bool {
			s, ok := readStat(pid, buf)
			return !ok || s.state == 'Z'
		})
		// A zombie may have left children after the list was made.
		again := firstThreads(buf, known)
		if len(alive) == len(list) || slices.Equal(list, again) {
			return alive
		}
		list = again
	}
}

// firstThreads are the children of the caller's first thread: the kernel gives
// orphans to that.
func firstThreads(buf []byte, known func(pid int) bool) []int {
	list, ok := taskChildren("/proc/self/task/"+strconv.Itoa(os.Getpid())+"/children", nil, buf)
	if !ok { // a kernel without CONFIG_PROC_CHILDREN
		list = childrenByStat(os.Getpid(), buf)
	}
	return slices.DeleteFunc(list, known)
}

func childrenByStat(parent int, buf []byte) (list []int) {
	for _, pid := range pids() {
		if s, ok := readStat(pid, buf); ok && s.ppid == parent {
			list = append(list, pid)
		}
	}
	return list
}

// Everybody is the processes of the host.
func Everybody() []int { return pids() }

// MarkOf is the entry of a variable in the environment that a process was executed
// with; "" = it has none, or it may not be read. It costs some 20 µs.
func MarkOf(pid int, variable string) string {
	return entry(readEnviron(pid, nil), variable+"=")
}

// readEnviron reads into buf, which grows as need be; empty if there is nothing
// to be read.
func readEnviron(pid int, buf []byte) []byte {
	buf = buf[:0]
	buf, may := readEnvironOnce(pid, buf)
	for look := 0; len(buf) == 0 && may && look < execLooks; look++ {
		was := executing(pid)
		if buf, may = readEnvironOnce(pid, buf); !was {
			break
		}
		ts := unix.NsecToTimespec(int64(execPause))
		_ = unix.Nanosleep(&ts, nil)
	}
	return buf
}

func readEnvironOnce(pid int, buf []byte) (environ []byte, may bool) {
	fd, err := unix.Open("/proc/"+strconv.Itoa(pid)+"/environ", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return buf, false
	}
	defer unix.Close(fd)
	for len(buf) < maxEnviron {
		buf = slices.Grow(buf, 4<<10)
		n, err := unix.Read(fd, buf[len(buf):cap(buf)])
		if n <= 0 || err != nil {
			break
		}
		buf = buf[:len(buf)+n]
	}
	return buf, true
}

// For a moment of its exec a process has no environment yet, which must not be
// taken for an empty one.
const (
	execLooks = 20
	execPause = 200 * time.Microsecond
)

// executing says whether a process whose environment may be read is in the middle
// of its exec: the place of that is not known then. See proc(5).
func executing(pid int) bool {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	f := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	const state, flags, envEnd, kernelThread = 3 - 3, 9 - 3, 51 - 3, 0x200000
	if err != nil || len(f) <= envEnd || f[state][0] == 'Z' || f[state][0] == 'X' {
		return false
	}
	return atoi(f[flags])&kernelThread == 0 && string(f[envEnd]) == "0"
}

// entry returns the first entry that begins with a prefix, as getenv(3) would.
func entry(environ []byte, prefix string) string {
	for rest := environ; len(rest) > 0; {
		var e []byte
		e, rest, _ = bytes.Cut(rest, []byte{0})
		if bytes.HasPrefix(e, []byte(prefix)) {
			return string(e)
		}
	}
	return ""
}

// Kin finds the processes of a run that has no cgroup, apart from its main process
// and those in known: what is in the session of the main process, what descends
// from it, those in marked that do carry the mark, and what descends from any of
// these. Zombies are not alive: the caller's own are reaped on the way, others are
// their parent's affair. What has left the session, lost its parent and cleared
// its environment is not found.
//
// marked is called after the descendants were looked for, as they may lose their
// parent meanwhile. With sure false others may be there as well: somebody ended, or
// moved, while he was looked at.
func (p *Process) Kin(mark Mark, marked func() []int, known func(pid int) bool) (found []Member, sure bool) {
	k := kin{p: p, mark: mark, known: known, buf: make([]byte, 4096), sure: true}
	k.session()
	from := 0
	if !p.reaped {
		k.below(p.PID, func() bool { return !p.gone() })
		from = k.descend(0)
		k.sure = true // whoever was lost has no parent now, and is an orphan
	}
	if mark.Entry != "" {
		for _, pid := range marked() {
			k.take(pid, k.carries)
		}
	}
	k.descend(from)
	return k.found, k.sure
}

// kin is one search.
type kin struct {
	p       *Process
	mark    Mark
	known   func(pid int) bool
	found   []Member
	sure    bool
	buf     []byte
	environ []byte
}

// take holds a process and looks then, when its number stays what it is, whether
// it belongs to the run.
func (k *kin) take(pid int, ours func(stat) bool) {
	if pid == k.p.PID || k.known(pid) || slices.ContainsFunc(k.found, func(m Member) bool { return m.PID == pid }) {
		return
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		k.sure = false
		return
	}
	m := Member{pid, fd}
	s, ok := readStat(pid, k.buf)
	switch {
	case !ok || m.Gone():
		k.sure = false
	case s.started+time.Second/userHZ >= k.p.Began && ours(s):
		k.found = append(k.found, m)
		return
	}
	m.Close()
}

// session takes what is in the session of the main process. A number is not given
// away while a session still uses it. So if a process with the number of a main
// process that has been reaped exists, the session had become empty and nobody in
// it is ours; and what carries the mark is found by that.
func (k *kin) session() {
	var list []int
	for _, pid := range pids() {
		sid, err := unix.Getsid(pid) // one cheap call sorts out nearly all
		if err != nil || sid != k.p.PID {
			continue
		}
		if pid == k.p.PID && k.p.reaped {
			return
		}
		list = append(list, pid)
	}
	for _, pid := range list {
		k.take(pid, func(s stat) bool { return s.session == k.p.PID })
	}
}

// descend takes what descends from those that were found, from one of them on, and
// says how many there are then.
func (k *kin) descend(from int) int {
	for ; from < len(k.found); from++ { // it grows on the way
		m := k.found[from]
		k.below(m.PID, func() bool { return !m.Gone() })
	}
	return from
}

// carries says whether a process has the mark, and is one of the user's.
func (k *kin) carries(s stat) bool {
	if k.mark.UID != 0 && realUID(s.pid, k.buf) != k.mark.UID {
		return false
	}
	name, _, _ := bytes.Cut([]byte(k.mark.Entry), []byte("="))
	k.environ = readEnviron(s.pid, k.environ)
	return entry(k.environ, string(name)+"=") == k.mark.Entry
}

// below takes the children of a process that is held: lives says whether that is
// still it, and so whether they are its own.
func (k *kin) below(parent int, lives func() bool) {
	list := children(parent, nil, k.buf)
	if !lives() {
		k.sure = false
	}
	for _, pid := range list {
		k.take(pid, func(s stat) bool {
			is := s.ppid == parent && lives()
			k.sure = k.sure && is
			return is
		})
	}
}

// realUID is the real user of a process; -1 if it is gone.
func realUID(pid int, buf []byte) int {
	fd, err := unix.Open("/proc/"+strconv.Itoa(pid)+"/status", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1
	}
	defer unix.Close(fd)
	n, _ := unix.Read(fd, buf)
	_, after, ok := bytes.Cut(buf[:max(n, 0)], []byte("\nUid:\t"))
	if !ok {
		return -1
	}
	return atoi(after)
}

// Stopped says whether the member stands still (SIGSTOP).
func (m *Member) Stopped() bool { return standsStill(m.PID) }

// Stopped says whether the process stands still (SIGSTOP).
func (p *Process) Stopped() bool { return standsStill(p.PID) }

// standsStill is for processes that are held. One that is gone or a zombie moves
// no more.
func standsStill(pid int) bool {
	s, ok := readStat(pid, make([]byte, 1024))
	return !ok || bytes.IndexByte([]byte("TtZX"), s.state) >= 0
}
