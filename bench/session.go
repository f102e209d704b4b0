package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// commandTimeout bounds one command of a peer.
const commandTimeout = 60 * time.Second

// session is one peer running one workload.
type session struct {
	peer   peer
	load   workload
	setup  setup
	report *report
	main   *exec.Cmd
	exited chan error    // of main; closed after its one value
	began  int64         // monotonic ns, just before main was started
	family []process     // everything below main when it was asked to stop
	done   bool          // it has stopped everything, and need only leave
	live   map[int]int64 // running children: pid -> started, monotonic ns
	order  []int         // pids in the order of their starts, ended ones included
	ended  int           // children that said they end because they were asked to
}

// launch configures the peer (not timed) and starts it. The caller closes the session.
func launch(p peer, w workload, base string) (*session, error) {
	dir, err := os.MkdirTemp(base, p.name()+"-")
	if err != nil {
		return nil, err
	}
	w.dir = dir
	path := filepath.Join(dir, "report")
	w.env = merged(w.env, map[string]string{"BENCH_REPORT": path})
	s := &session{peer: p, load: w, live: map[int]int64{}, exited: make(chan error, 1)}
	if s.report, err = createReport(path); err != nil {
		return nil, err
	}
	if s.setup, err = p.setUp(w); err != nil {
		s.close()
		return nil, fmt.Errorf("configure %s: %w", p.name(), err)
	}
	if err := s.start(); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *session) start() error {
	out, err := os.Create(filepath.Join(s.load.dir, "output"))
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := s.command(s.setup.start)
	cmd.Stdout, cmd.Stderr = out, out
	s.began = monotonic()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", s.peer.name(), err)
	}
	s.main = cmd
	go func() {
		s.exited <- cmd.Wait()
		close(s.exited)
	}()
	return nil
}

func (s *session) command(argv []string) *exec.Cmd {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = environ(s.load.env, s.setup.env)
	cmd.Dir = s.load.dir
	return cmd
}

// collect takes in what the children have reported since the last call.
func (s *session) collect() ([]record, error) {
	records, err := s.report.next()
	for _, r := range records {
		switch r.kind {
		case started:
			s.live[r.pid] = r.at
			s.order = append(s.order, r.pid)
		case ended:
			delete(s.live, r.pid)
			s.ended++
		}
	}
	return records, err
}

// await collects until done says so of a record, and returns that record.
func (s *session) await(ctx context.Context, limit time.Duration, what string, done func(record) bool) (record, error) {
	deadline := time.Now().Add(limit)
	for {
		records, err := s.collect()
		if err != nil {
			return record{}, err
		}
		for _, r := range records {
			if done(r) {
				return r, nil
			}
		}
		switch {
		case ctx.Err() != nil:
			return record{}, ctx.Err()
		case time.Now().After(deadline):
			return record{}, fmt.Errorf("%s: no %s within %s%s", s.peer.name(), what, limit, s.words())
		}
		select {
		case err := <-s.exited:
			return record{}, fmt.Errorf("%s ended while waiting for %s: %v%s", s.peer.name(), what, err, s.words())
		case <-time.After(time.Millisecond):
		}
	}
}

// awaitStarts returns when the last of n children has started, monotonic ns.
func (s *session) awaitStarts(ctx context.Context, n int) (int64, error) {
	count := 0
	last, err := s.await(ctx, 60*time.Second, fmt.Sprintf("start of %d children", n), func(r record) bool {
		if r.kind == started {
			count++
		}
		return count == n
	})
	return last.at, err
}

// words is the end of what the peer printed, for an error message.
func (s *session) words() string {
	b, _ := os.ReadFile(filepath.Join(s.load.dir, "output"))
	text := strings.TrimSpace(string(b))
	if text == "" {
		return ""
	}
	return "; it said: " + text[max(0, len(text)-500):]
}

// own returns the supervisor's own processes: main and all below it that are
// not an instance of the workload.
func (s *session) own() []process {
	var out []process
	if p, ok := readProcess(s.main.Process.Pid); ok {
		out = append(out, p)
	}
	for _, p := range processTree(s.main.Process.Pid) {
		exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", p.pid))
		if err == nil && exe != s.load.program {
			out = append(out, p)
		}
	}
	return out
}

// run executes one of the peer's commands and returns its wall time in seconds.
func (s *session) run(ctx context.Context, argv []string) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	out, err := os.Create(filepath.Join(s.load.dir, "answer"))
	if err != nil {
		return 0, err
	}
	defer out.Close()
	cmd := s.command(argv)
	cmd.Stdout, cmd.Stderr = out, out // a file: nothing of this process is measured
	from := monotonic()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	defer stop()
	err = cmd.Wait()
	took := seconds(monotonic() - from)
	if ctx.Err() != nil {
		err = fmt.Errorf("no end within %s", commandTimeout)
	}
	if err != nil {
		b, _ := os.ReadFile(out.Name())
		return 0, fmt.Errorf("%s: %w: %s", strings.Join(argv[:min(len(argv), 4)], " "), err, b[max(0, len(b)-500):])
	}
	return took, nil
}

// stop asks the peer to stop everything and returns the seconds until no child
// is left, not even as a zombie.
func (s *session) stop(ctx context.Context) (float64, error) {
	s.family = processTree(s.main.Process.Pid)
	pids := make([]int, 0, len(s.live))
	for pid := range s.live {
		pids = append(pids, pid)
	}
	sort.Ints(pids)
	endedBefore, asked := s.ended, make(chan error, 1)
	from := monotonic()
	if s.setup.stop == nil {
		asked <- s.main.Process.Signal(s.setup.stopSignal)
	} else {
		go func() {
			_, err := s.run(ctx, s.setup.stop)
			asked <- err
		}()
	}
	last, err := awaitGone(ctx, pids, 60*time.Second)
	if err := errors.Join(err, <-asked); err != nil {
		return 0, fmt.Errorf("stop %s: %w", s.peer.name(), err)
	}
	if _, err := s.collect(); err != nil {
		return 0, err
	}
	if n := s.ended - endedBefore; n != len(pids) {
		return 0, fmt.Errorf("stop %s: %d of %d children did not end by themselves", s.peer.name(), len(pids)-n, len(pids))
	}
	s.done = true
	return seconds(last - from), nil
}

// awaitGone returns when the last of the processes was seen gone, monotonic ns.
// It looks at one process at a time: as cheap for 1,000 as for one.
func awaitGone(ctx context.Context, pids []int, limit time.Duration) (int64, error) {
	deadline := time.Now().Add(limit)
	for i, pid := range pids {
		for !gone(pid) {
			if ctx.Err() != nil {
				return 0, ctx.Err()
			}
			if time.Now().After(deadline) {
				return 0, fmt.Errorf("%d of %d children are still there after %s", len(pids)-i, len(pids), limit)
			}
			time.Sleep(200 * time.Microsecond)
		}
	}
	return monotonic(), nil
}

// close ends whatever is left of the session and removes its files. Sessions
// that run beside it are not touched.
func (s *session) close() {
	if s.main != nil {
		select {
		case <-s.exited:
		case <-time.After(s.patience()):
		}
		left := append(processTree(s.main.Process.Pid), s.family...)
		_ = s.main.Process.Kill()
		<-s.exited
		killAll(left)
	}
	_ = s.report.file.Close()
	_ = os.RemoveAll(s.load.dir)
}

// patience is how long a supervisor may take to leave after its children have.
func (s *session) patience() time.Duration {
	if s.done {
		return 5 * time.Second
	}
	return 0
}

// sweep ends every process below this one: the last resort at the end.
func sweep() {
	for range 100 {
		list := processTree(os.Getpid())
		if len(list) == 0 {
			return
		}
		killAll(list)
	}
}

func merged(maps ...map[string]string) map[string]string {
	out := map[string]string{}
	for _, m := range maps {
		for k, v := range m {
			out[k] = v
		}
	}
	return out
}

func seconds(ns int64) float64 { return float64(ns) / float64(time.Second) }

// pause waits, unless ctx ends first.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// killChild sends a child the signal on which it exits 0.
func killChild(pid int) error { return unix.Kill(pid, unix.SIGUSR1) }
