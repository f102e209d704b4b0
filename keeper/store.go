package keeper

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"qsuper/proc"
)

const (
	// maxStored bounds the pipes in the service manager's store. It passes all their
	// names to the next keeper in one variable, which must be shorter than 128 KiB or
	// nothing can be executed.
	maxStored = 6000
	// storeAgain is when a full socket of the service manager is tried again; twice as
	// long each time, up to storeLate.
	storeAgain = 20 * time.Millisecond
	storeLate  = 10 * time.Second
	// listenFrom is the first descriptor that a service manager hands over.
	listenFrom = 3

	storePrefix = "fifo-" // of names in the store; the pipe's inode follows, in base 36
)

// Store is the service manager as sd_notify(3) describes it, with its file descriptor
// store: that holds the slots' pipes, so that what a consumer has printed is there for
// the next keeper though this one and its engine are dead, and the consumer has ended
// as well.
type Store struct {
	address string // "" = there is no service manager
	max     int    // pipes; 0: there is none, or none any more
	given   []int  // what it has handed over at the start of this process
}

// FindStore looks for it in the environment; nil: there is none. It is to be
// called once, before anything else is opened. What concerns only this process is
// taken out of the environment.
//
// FDSTORE is set by systemd 254 and newer, and by the unit that qsuper writes for
// older ones: to try without knowing would put a warning into the journal for
// every pipe.
func FindStore() *Store {
	s := &Store{address: os.Getenv("NOTIFY_SOCKET")}
	if os.Getenv("LISTEN_PID") == strconv.Itoa(os.Getpid()) {
		n, _ := strconv.Atoi(os.Getenv("LISTEN_FDS"))
		names := strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
		for i := range n {
			fd := listenFrom + i
			unix.CloseOnExec(fd)
			if ino, pipe := inodeOf(fd); pipe && i < len(names) && names[i] == storeName(ino) {
				s.given = append(s.given, fd)
			}
		}
		for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID"} {
			_ = os.Unsetenv(name) // the name is valid
		}
	}
	if !strings.HasPrefix(s.address, "/") && !strings.HasPrefix(s.address, "@") {
		s.address = ""
	}
	if most, err := strconv.Atoi(os.Getenv("FDSTORE")); err == nil && s.address != "" {
		s.max = min(most, maxStored)
	}
	if s.address == "" && len(s.given) == 0 {
		return nil
	}
	return s
}

func storeName(ino uint64) string { return storePrefix + strconv.FormatUint(ino, 36) }

// inodeOf is the number by which a pipe is known in the store; false: it is no pipe
// with a name.
func inodeOf(fd int) (uint64, bool) {
	var st unix.Stat_t
	err := unix.Fstat(fd, &st)
	return st.Ino, err == nil && st.Mode&unix.S_IFMT == unix.S_IFIFO
}

// storage is the keeper's side of a Store. Nothing in it waits.
type storage struct {
	k     *keeper
	sock  int // -1: there is no store
	to    unix.Sockaddr
	max   int
	has   map[uint64]struct{} // inodes of the pipes that are in it, or about to be
	queue []storing           // what the socket did not take, in order
	again time.Duration       // when that is tried again; never: there is nothing
	pause time.Duration       // until then
	full  bool                // it has been told that there are more pipes than places
}

// storing is one message: a slot's pipe is put into the store, or taken out, or
// something else is said.
type storing struct {
	ino   uint64
	slot  *slot  // nil: out
	state string // "" = it is about a pipe
}

func (k *keeper) openStorage(s *Store) storage {
	st := storage{k: k, sock: -1, again: never}
	if s == nil || s.address == "" {
		return st
	}
	sock, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		k.log.Warn("the service manager cannot be told anything", "error", err)
		return st
	}
	st.sock, st.to, st.has = sock, &unix.SockaddrUnix{Name: s.address}, map[uint64]struct{}{}
	if !k.opt.Ending { // with the end of this process the store is emptied
		st.max = s.max
	}
	return st
}

func (st *storage) close() {
	if st.sock >= 0 {
		unix.Close(st.sock)
		st.sock = -1
	}
}

// receive looks through what the store has handed over. While these descriptors are
// open nothing that is unread in a pipe is lost: a pipe of a run that has ended is
// put into its slot to be read, that of a run that goes on stays in the store, and
// all others are taken out. Only a pipe that lies in the state directory counts, as
// whoever reaches the socket can put something into the store.
func (st *storage) receive(s *Store) {
	if s == nil || len(s.given) == 0 {
		return
	}
	slots := st.k.pipes()
	for _, fd := range s.given {
		ino, _ := inodeOf(fd)
		name, known := slots[ino]
		if known && st.k.unheard(name) {
			st.k.lastWords(name) // of a run that no record tells of
		}
		if st.sock >= 0 {
			st.has[ino] = struct{}{}
			if !known || st.k.unheard(name) {
				st.takeOut(ino)
			}
		}
		unix.Close(fd)
	}
	st.k.log.Debug("the service manager has held pipes", "pipes", len(s.given))
	s.given = nil
}

// unheard says whether nobody has or holds the pipe of a slot here.
func (k *keeper) unheard(name string) bool {
	s := k.slots[name]
	return s == nil || s.hold == 0 && s.stream == nil
}

// pipes are the slots of all pipes in the state directory, by inode.
func (k *keeper) pipes() map[uint64]string {
	dir := filepath.Join(k.opt.StateDir, FIFODir)
	entries, _ := os.ReadDir(dir) // it is not there before the first run
	slots := make(map[uint64]string, len(entries))
	for _, e := range entries {
		var st unix.Stat_t
		i := strings.LastIndexByte(e.Name(), '.')
		if i > 0 && unix.Lstat(filepath.Join(dir, e.Name()), &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFIFO {
			slots[st.Ino] = e.Name()[:i] + "/" + e.Name()[i+1:]
		}
	}
	return slots
}

// putIn has the slot's pipe held, unless it is.
func (st *storage) putIn(s *slot) {
	if st.sock < 0 || st.max <= 0 {
		return
	}
	s.inode, _ = inodeOf(s.fifoFD)
	if _, ok := st.has[s.inode]; ok {
		return
	}
	if len(st.has) >= st.max {
		if !st.full {
			st.full = true
			st.k.log.Warn("the service manager holds no more pipes; output that nobody has read is lost when keeper and engine are killed together (FileDescriptorStoreMax=)", "pipes", st.max)
		}
		return
	}
	st.has[s.inode] = struct{}{}
	st.send(storing{ino: s.inode, slot: s})
}

// stored notes that the keeper before this one, in the same process, has put the
// slot's pipe in.
func (st *storage) stored(s *slot) {
	if ino, ok := inodeOf(s.fifoFD); ok && st.sock >= 0 {
		st.has[ino] = struct{}{}
	}
}

// notify says something for the engine.
func (k *keeper) notify(n Notify) error {
	k.store.send(storing{state: n.State})
	return nil
}

// takeOut ends the holding of a pipe.
func (st *storage) takeOut(ino uint64) {
	if _, ok := st.has[ino]; ok {
		delete(st.has, ino)
		st.send(storing{ino: ino})
	}
}

// holds says whether the store has a slot's pipe by now.
func (st *storage) holds(s *slot) bool {
	for _, m := range st.queue {
		if m.slot == s {
			return false
		}
	}
	_, ok := st.has[s.inode]
	return ok && s.stream != nil
}

// send keeps the order: a pipe that is taken out may come back under the same name.
func (st *storage) send(m storing) {
	if st.sock < 0 || len(st.queue) == 0 && st.tell(m) {
		return
	}
	if st.queue = append(st.queue, m); st.again == never {
		st.later(storeAgain)
	}
}

func (st *storage) later(pause time.Duration) {
	st.pause, st.again = pause, proc.Boottime()+pause
	st.k.poll.at(st.again)
}

// retry sends what the socket takes now of what it has not taken before.
func (st *storage) retry() {
	queue, sent := st.queue, 0
	for sent < len(queue) && st.tell(queue[sent]) {
		sent++
	}
	switch st.queue = queue[sent:]; {
	case st.sock < 0 || len(st.queue) == 0:
		st.queue = nil
	case sent > 0:
		st.later(storeAgain)
	default:
		st.later(min(2*st.pause, storeLate))
	}
}

// tell sends one message. It is false when that is to be tried again.
func (st *storage) tell(m storing) bool {
	if m.state != "" {
		err := unix.Sendmsg(st.sock, []byte(m.state), nil, st.to, unix.MSG_NOSIGNAL)
		if err != nil && !passing(err) {
			st.k.log.Warn("tell the service manager", "state", m.state, "error", err)
		}
		return !passing(err)
	}
	name := "FDNAME=" + storeName(m.ino)
	if m.slot == nil {
		return st.sent(unix.Sendmsg(st.sock, []byte("FDSTOREREMOVE=1\n"+name), nil, st.to, unix.MSG_NOSIGNAL))
	}
	if st.sock < 0 || m.slot.stream == nil || m.slot.inode != m.ino {
		return true // it is gone meanwhile
	}
	// The store has a description of its own: the pump's would stay in the pump's epoll
	// after it was closed here.
	fd, err := m.slot.output()
	if err != nil {
		return st.sent(err)
	}
	defer unix.Close(fd)
	// A store that polls the pipe makes each write of its consumer dearer.
	return st.sent(unix.Sendmsg(st.sock, []byte("FDSTORE=1\nFDPOLL=0\n"+name), unix.UnixRights(fd), st.to, unix.MSG_NOSIGNAL))
}

// sent is false when it is worth trying again. A service manager that is executed
// anew is away for a moment.
func (st *storage) sent(err error) bool {
	if err == nil {
		return true
	}
	if passing(err) {
		return false
	}
	st.k.log.Warn("the service manager does not hold pipes; output that nobody has read is lost when keeper and engine are killed together", "error", err)
	st.max = 0
	clear(st.has)
	return true
}

func passing(err error) bool {
	return slices.ContainsFunc([]error{unix.EAGAIN, unix.EINTR, unix.ENOBUFS, unix.ENOMEM, unix.ETOOMANYREFS, unix.EMFILE, unix.ENFILE, unix.ECONNREFUSED}, func(e error) bool {
		return errors.Is(err, e)
	})
}
