// Package storetest plays the service manager for tests: it holds the descriptors
// that a daemon gives to it, and hands them over to the next one that it starts.
package storetest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// Manager is a service manager with a file descriptor store, as systemd has it.
type Manager struct {
	t    testing.TB
	conn *net.UnixConn
	max  int
	gate sync.Mutex // held: messages are left in the socket, but for one

	mu       sync.Mutex
	held     []stored
	received int
	said     []Saying
}

// Saying is a message that was not for the store, and which process it came from.
type Saying struct {
	PID   int
	State string
}

type stored struct {
	fd   int
	name string
}

// New listens at a path and holds up to max descriptors until the end of the test.
func New(t testing.TB, path string, max int) *Manager {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := conn.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1) })
	}
	if err != nil {
		t.Fatal(err)
	}
	m := &Manager{t: t, conn: conn, max: max}
	var loop sync.WaitGroup
	loop.Go(m.listen)
	t.Cleanup(func() {
		conn.Close()
		loop.Wait()
		for _, s := range m.held {
			unix.Close(s.fd)
		}
	})
	return m
}

func (m *Manager) listen() {
	text, rights := make([]byte, 4096), make([]byte, 4096)
	for {
		n, rn, _, _, err := m.conn.ReadMsgUnix(text, rights)
		if err != nil {
			return
		}
		m.gate.Lock()
		pid, fds := parse(rights[:rn])
		m.take(string(text[:n]), pid, fds)
		m.gate.Unlock()
	}
}

// parse reads what comes beside a message: who has sent it, and descriptors.
func parse(beside []byte) (pid int, fds []int) {
	messages, _ := unix.ParseSocketControlMessage(beside)
	for i := range messages {
		if cred, err := unix.ParseUnixCredentials(&messages[i]); err == nil {
			pid = int(cred.Pid)
		} else if more, err := unix.ParseUnixRights(&messages[i]); err == nil {
			fds = append(fds, more...)
		}
	}
	return pid, fds
}

// take carries out one message.
func (m *Manager) take(text string, pid int, fds []int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	name, in, out := "stored", false, false
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		in, out = in || line == "FDSTORE=1", out || line == "FDSTOREREMOVE=1"
		if n, ok := strings.CutPrefix(line, "FDNAME="); ok {
			name = n
		}
	}
	if in || out {
		m.received++
	} else {
		m.said = append(m.said, Saying{pid, text})
	}
	if out {
		kept := m.held[:0]
		for _, s := range m.held {
			if s.name != name {
				kept = append(kept, s)
				continue
			}
			unix.Close(s.fd)
		}
		m.held = kept
	}
	for _, fd := range fds {
		if in && len(m.held) < m.max {
			m.held = append(m.held, stored{fd, name})
		} else {
			unix.Close(fd)
		}
	}
}

// Put puts a descriptor into the store as a stranger would; the Manager owns it
// from now on.
func (m *Manager) Put(fd int, name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.held = append(m.held, stored{fd, name})
}

// Held are the names of what the store holds.
func (m *Manager) Held() (names []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.held {
		names = append(names, s.name)
	}
	return names
}

// Received is how many messages were for the store.
func (m *Manager) Received() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.received
}

// Said are the messages that were not for the store.
func (m *Manager) Said() []Saying {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.said)
}

// Hang leaves messages in the socket until the function that it returns is called.
func (m *Manager) Hang() (resume func()) {
	m.gate.Lock()
	return m.gate.Unlock
}

// Equip has a command that is not started yet begin as a service, with what the
// store holds. It goes through a shell, as a process learns its own number only
// after the fork.
func (m *Manager) Equip(cmd *exec.Cmd) {
	m.t.Helper()
	if cmd.Env == nil {
		cmd.Env = os.Environ()
	}
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+m.conn.LocalAddr().String(), fmt.Sprint("FDSTORE=", m.max))
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.held) == 0 {
		return
	}
	var names []string
	for _, s := range m.held {
		fd, err := unix.FcntlInt(uintptr(s.fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			m.t.Fatal(err)
		}
		f := os.NewFile(uintptr(fd), s.name)
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
		names = append(names, s.name)
	}
	cmd.Env = append(cmd.Env, fmt.Sprint("LISTEN_FDS=", len(names)), "LISTEN_FDNAMES="+strings.Join(names, ":"))
	program := cmd.Path
	if program == "/proc/self/exe" { // would be the shell's
		program, _ = os.Executable()
	}
	cmd.Path = "/bin/sh"
	cmd.Args = append([]string{"sh", "-c", `export LISTEN_PID=$$; exec "$0" "$@"`, program}, cmd.Args[1:]...)
}

// Started closes what Equip has opened for a command that has been started.
func Started(cmd *exec.Cmd) {
	for _, f := range cmd.ExtraFiles {
		f.Close()
	}
}
