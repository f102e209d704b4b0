// Package servers starts the real servers that tests run against, on loopback
// and on ports from the kernel: one private RabbitMQ, MariaDB, PostgreSQL and
// Redis per test binary, and small ones per test.
//
// A server dies with the test process, however that ends: each runs under a
// shell that waits for the end of a pipe only the test process holds, then
// kills the server's process group and removes its folder. No TestMain is
// needed.
package servers

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// guard is the shell above a server. It reports the pid of the server, which
// leads its own session, then waits; $0 is the folder that goes with it.
const guard = `setsid -- "$@" </dev/null >>"$0/log" 2>&1 3>&- &
echo $! >&3
exec 3>&-
read -r _
kill -KILL -$! 2>/dev/null
wait
[ "$REMOVE" != yes ] || rm -rf "$0"`

// server is one program under its guard.
type server struct {
	dir string
	pid int // of the server; also its process group
	cmd *exec.Cmd
	end io.Closer // closing it ends the guard
}

// running keeps every server until the process ends: the end of a pipe that
// nobody refers to would be closed by the garbage collector.
var running struct {
	sync.Mutex
	servers []*server
}

// start runs a program in dir, which the guard removes at the end if remove is
// set. The program gets exactly env.
func start(dir string, remove bool, env []string, argv ...string) (*server, error) {
	s := &server{dir: dir, cmd: exec.Command("/bin/sh", append([]string{"-c", guard, dir}, argv...)...)}
	s.cmd.Env = append(env, "REMOVE=no")
	if remove {
		s.cmd.Env = append(env, "REMOVE=yes")
	}
	s.cmd.Dir = dir
	// A session of its own keeps the terminal's Ctrl-C from ending the guard
	// before it has cleaned up.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	end, err := s.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	s.end, s.cmd.ExtraFiles = end, []*os.File{w}
	err = s.cmd.Start()
	w.Close()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", argv[0], err)
	}
	line, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", argv[0], err)
	}
	if s.pid, err = strconv.Atoi(strings.TrimSpace(string(line))); err != nil {
		return nil, fmt.Errorf("start %s: %w", argv[0], err)
	}
	running.Lock()
	defer running.Unlock()
	running.servers = append(running.servers, s)
	return s, nil
}

// stop kills the server and waits until it is gone.
func (s *server) stop() {
	_ = s.end.Close()
	_ = s.cmd.Wait()
}

// log returns the end of what the server printed.
func (s *server) log() string {
	b, _ := os.ReadFile(filepath.Join(s.dir, "log"))
	if len(b) > 4000 {
		b = b[len(b)-4000:]
	}
	return string(bytes.ToValidUTF8(b, []byte("?")))
}

// gone reports whether the server has ended; its guard reaps it later.
func (s *server) gone() bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.pid))
	_, after, _ := bytes.Cut(stat, []byte(") "))
	return err != nil || bytes.HasPrefix(after, []byte("Z"))
}

// await polls ready until it is true, and fails when the server ends or the
// time is up.
func (s *server) await(name string, limit time.Duration, ready func() bool) error {
	for deadline := time.Now().Add(limit); ; {
		if ready() {
			return nil
		}
		if s.gone() || time.Now().After(deadline) {
			return fmt.Errorf("%s did not become ready; its output ends with:\n%s", name, s.log())
		}
		<-time.After(20 * time.Millisecond)
	}
}

// ports returns n different free ports of 127.0.0.1.
func ports(n int) ([]int, error) {
	var found []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		found = append(found, l.Addr().(*net.TCPAddr).Port)
	}
	return found, nil
}

// require fails, with the command that helps, when a program is missing.
func require(pkg string, programs ...string) error {
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			return fmt.Errorf("%s is not installed, and this test needs it; run: apt-get install -y --no-install-recommends %s", p, pkg)
		}
	}
	return nil
}
