package keeper

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"qsuper/lock"
	"qsuper/lock/backends/file"
	"qsuper/logs"
	"qsuper/pidfile"
	"qsuper/proc"
)

// slot is a place for one process at a time. What the engine must find again
// after a crash of its own is here.
type slot struct {
	k    *keeper
	name string

	spec   *Spec // of the last start request
	specID uint64
	memo   []byte
	run    *run    // nil: nothing runs
	exit   *Exited // nil: none, or acknowledged

	stream *logs.Stream // nil: output is thrown away
	fifo   string
	fifoFD int // the stream's, to open the same pipe again by
	owner  int // user who has the pipe
	log    Log
}

func (s *slot) remember(memo []byte) error {
	if len(memo) > MaxMemo {
		return fmt.Errorf("%w: a memo of %d bytes", errFrame, len(memo))
	}
	if memo != nil {
		s.memo = memo
	}
	return nil
}

func (s *slot) info(now time.Duration) SlotInfo {
	i := SlotInfo{Slot: s.name, Memo: s.memo, Exit: s.exit, Log: logState(s.stream)}
	if r := s.run; r != nil {
		i.Run, i.PID, i.StartedAt = r.id, r.p.PID, r.at
		i.Stopping, i.Remaining, i.Leftovers = r.step, r.remaining(now), len(r.members)
	} else if s.exit != nil {
		i.Run = s.exit.Run
	}
	return i
}

// start takes the lock, then starts the process, which inherits it.
func (s *slot) start(id uint64) error {
	spec := s.spec
	// First, for whoever holds the slot in our place may be waiting for a reader.
	if err := s.attach(spec); err != nil {
		return fmt.Errorf("prepare output of %s: %w", s.name, err)
	}
	held, err := s.lock(spec)
	if err != nil {
		return err
	}
	r := &run{slot: s, id: id, spec: spec, lock: held, at: time.Now(), deadline: never, signalAt: never, drainBy: never}
	if r.p, err = s.launch(r, spec.Path, spec.Argv, ""); err == nil {
		if err = s.k.poll.add(r.p.PidFD(), unix.EPOLLIN, r); err != nil {
			s.k.discard(r.p)
			err = fmt.Errorf("watch the process: %w", err)
		}
	}
	if err != nil {
		r.unlock()
		return err
	}
	s.run = r
	s.k.live++
	s.k.pids[r.p.PID] = struct{}{}
	if held != nil {
		// The process holds the lock from here on, and whatever inherits it. A
		// second copy here would guard nothing more, as the slot is known to be
		// taken, but each descriptor makes every later fork dearer.
		held.Note(r.p.PID)
		r.unlock()
	}
	err = s.k.runs.Put(pidfile.Run{Slot: s.name, Run: id, PID: r.p.PID, Began: r.p.Began, Started: r.p.Started})
	if err != nil { // the disk is full: the lock guards the slot all the same
		s.k.log.Warn("run not recorded; a later daemon will not know its process", "slot", s.name, "error", err)
	}
	return nil
}

// lock takes the slot's lock. A process that an earlier keeper left in the slot
// counts as its holder even if it closed the descriptor that says so.
func (s *slot) lock(spec *Spec) (*file.Lock, error) {
	if left, ok := s.k.left[s.name]; ok {
		if left.Alive() {
			return nil, &lock.HeldError{Name: s.name, By: fmt.Sprintf("pid %d, started by an earlier daemon", left.PID)}
		}
		delete(s.k.left, s.name)
	}
	if spec.Lock == "" {
		return nil, nil
	}
	return file.Acquire(spec.Lock)
}

// launch starts the run's process, or its stop command, which is not given the
// lock: it must not outlive the run as its holder.
func (s *slot) launch(r *run, path string, argv []string, pidOf string) (*proc.Process, error) {
	p := r.spec.process()
	p.Path, p.Argv = path, argv
	p.Env = append(slices.Concat(p.Env, r.spec.Own), "QSUPER_RUN_ID="+s.name+"."+strconv.FormatUint(r.id, 10)+"."+s.k.id)
	p.OOM = s.k.oom
	if pidOf != "" {
		p.Env = append(p.Env, "QSUPER_PID="+pidOf)
	} else if r.lock != nil {
		p.Lock = r.lock.FD()
	}
	out, err := s.output(r.spec)
	if err != nil {
		return nil, err
	}
	p.Stdin, p.Stdout, p.Stderr = s.k.null, out, out
	started, err := proc.Start(&p)
	if out != s.k.null {
		unix.Close(out)
	}
	return started, err
}

// output returns a descriptor for stdout and stderr. It is opened for reading
// too, so that a write never fails for want of a reader when the keeper dies.
func (s *slot) output(spec *Spec) (int, error) {
	if s.stream == nil {
		return s.k.null, nil
	}
	fd, err := unix.Open("/proc/self/fd/"+strconv.Itoa(s.fifoFD), unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open pipe %s for writing: %w", spec.FIFO, err)
	}
	return fd, nil
}

// attach has the pipe captured, once: it stays over runs.
func (s *slot) attach(spec *Spec) error {
	if s.fifo != spec.FIFO {
		s.detach()
		if spec.FIFO != "" {
			fd, err := openFIFO(spec.FIFO)
			if err != nil {
				return err
			}
			if s.stream, err = s.k.pump.Attach(fd, spec.Log.options()); err != nil {
				return err
			}
			s.fifo, s.fifoFD, s.owner, s.log = spec.FIFO, fd, os.Geteuid(), spec.Log
		}
	}
	if s.stream == nil {
		return nil
	}
	if owner := spec.uid(); owner != s.owner { // else opening /dev/stdout is refused
		if err := unix.Fchown(s.fifoFD, owner, -1); err != nil {
			return fmt.Errorf("give pipe %s to user %d: %w", spec.FIFO, owner, err)
		}
		s.owner = owner
	}
	return s.setLog(spec.Log)
}

func (s *slot) setLog(l Log) error {
	if s.stream == nil || l == s.log {
		return nil
	}
	if err := s.stream.Configure(l.options()); err != nil {
		return err
	}
	s.log = l
	return nil
}

func (s *slot) detach() {
	if s.stream != nil {
		s.stream.Close()
		s.stream, s.fifo = nil, ""
	}
}

func (s *slot) drop() {
	if fifo := s.fifo; fifo != "" {
		s.detach()
		_ = os.Remove(fifo) // one that stays does no harm
	}
	if err := s.k.runs.Forget(s.name); err != nil {
		s.k.log.Warn("end of slot not recorded", "slot", s.name, "error", err)
	}
}

// openFIFO opens a FIFO for reading in the way that has no end of file, and
// makes it if need be.
func openFIFO(path string) (int, error) {
	const flags = unix.O_RDWR | unix.O_NONBLOCK | unix.O_CLOEXEC | unix.O_NOFOLLOW
	fd, err := unix.Open(path, flags, 0)
	if err == unix.ENOENT {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return -1, err
		}
		if err := unix.Mkfifo(path, 0o600); err != nil {
			return -1, fmt.Errorf("make pipe %s: %w", path, err)
		}
		fd, err = unix.Open(path, flags, 0)
	}
	if err != nil {
		return -1, fmt.Errorf("open pipe %s: %w", path, err)
	}
	return fd, nil
}

func (l Log) options() logs.Options {
	return logs.Options{
		To: l.To, Path: l.Path, MaxSize: l.MaxSize, Keep: l.Keep, Compress: l.Compress,
		Prefix: l.Prefix, Consumer: l.Consumer, Slot: l.Slot,
	}
}

func (s *Spec) uid() int {
	if s.Cred == nil {
		return os.Geteuid()
	}
	return int(s.Cred.UID)
}

// sortError turns what kept a process from running into a StartFailed.
func sortError(err error) (kind, by, text string) {
	var held *lock.HeldError
	var failed *proc.StartError
	switch {
	case errors.As(err, &held):
		return KindLocked, held.By, err.Error()
	case errors.As(err, &failed) && failed.Kind == proc.Exec:
		return KindExec, "", err.Error()
	}
	return KindHost, "", err.Error()
}
