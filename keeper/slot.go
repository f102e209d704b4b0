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

	"qsuper/internal/failpoint"
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
	run    *run         // nil: nothing runs
	exit   *Exited      // nil: none, or acknowledged
	ghost  *pidfile.Run // once: the last run of an earlier keeper, which is gone; nil: none
	again  *Again       // standing order for the end of the run; nil: none
	lease  *Lease       // of the latest start; nil: the slot is this host's own

	stream  *logs.Stream // nil: output is thrown away
	fifo    string
	foreign bool         // somebody else may have written to it since
	fifoFD  int          // the stream's, to open the same pipe again by
	inode   uint64       // of the pipe; only looked for where there is a store
	group   *proc.Cgroup // nil: none, or not made yet
	limits  Limits       // that the group was made with
	missed  string       // which of them do not hold, and why
	spent   bool         // it was killed, and cannot have another process
	deaf    bool         // as keeper.deaf, for its group
	hold    int          // the pipe of an adopted process while nobody reads it; 0: none
	owner   int          // user who has the pipe
	log     Log
	told    string // LogState.Degraded that the engine was told last
}

func (s *slot) remember(memo []byte) error {
	if len(memo) > MaxMemo {
		return fmt.Errorf("%w: a memo of %d bytes", errFrame, len(memo))
	}
	if memo != nil {
		s.keepMemo(memo)
	}
	return nil
}

func (s *slot) info(now time.Duration) SlotInfo {
	i := SlotInfo{Slot: s.name, Memo: s.memo, Exit: s.exit, Log: logState(s.stream), Adopted: s.hold > 0}
	if r := s.run; r != nil {
		i.Lease = s.lease
		i.Run, i.PID, i.StartedAt = r.id, r.p.PID, r.at // r.p is set: list waits for it
		i.Stopping, i.Remaining, i.Why, i.Leftovers = r.step, r.remaining(now), r.stopping.Why, len(r.members)
		i.Adopted, i.Tag, i.Missed = i.Adopted || r.adopted, r.spec.Tag, r.missed
	} else if s.exit != nil {
		i.Run = s.exit.Run
	} else if s.ghost != nil {
		i.Run, i.Tag = s.ghost.Run, s.ghost.Tag
	}
	return i
}

// start takes the lock, then has the process started, which inherits it. When it
// returns without an error the answer comes from run.begun, at once or later.
func (s *slot) start(id uint64) error {
	spec := s.spec
	if err := s.lease.holds(proc.Boottime()); err != nil {
		return err
	}
	held, err := s.lock(spec)
	way := (*logs.Pump).AttachAfter // nobody lives who would end the line in the file
	if err != nil {
		way = (*logs.Pump).Attach // whoever has the slot in our place may be waiting for a reader
	}
	if failed := s.attach(spec, way); failed != nil {
		err = fmt.Errorf("prepare output of %s: %w", s.name, failed)
	}
	if err != nil {
		s.foreign = true
		if held != nil {
			_ = held.Release() // closing a lock file has nothing to lose
		}
		return err
	}
	if s.foreign && s.stream != nil {
		s.stream.EndOfRun(func() {})
	}
	s.foreign = false
	failpoint.Hit(failpoint.LockBeforeSpawn)
	r := newRun(s, id, spec)
	s.k.serial++ // numbers of runs begin again when a slot has been dropped
	r.lock, r.serial = held, s.k.id+"-"+strconv.FormatUint(s.k.serial, 36)
	p := s.process(r, "")
	if held != nil {
		p.Lock = held.FD()
	}
	if err = s.enclose(r); err == nil {
		p.Output, err = s.output()
	}
	if err != nil {
		r.unlock()
		return err
	}
	if s.group != nil {
		p.Cgroup = s.group.FD()
	}
	r.output = p.Output
	s.run, s.ghost = r, nil
	r.foretell()
	s.k.live++
	if !s.k.spawns() || p.NeedsHelper() {
		r.begun(proc.Start(p))
		return nil
	}
	s.k.starting++
	s.k.spawner.Start(p, func(started *proc.Process, err error) {
		s.k.starting--
		r.begun(started, err)
	})
	return nil
}

// successor is the run that a standing order wants after this exit; 0: none. An
// order serves once.
func (s *slot) successor(e *Exited) uint64 {
	again := s.again
	s.again = nil
	switch {
	case again == nil || s.k.terminating || s.k.quit || s.k.engine.conn < 0:
	case e.Step != StepNone || e.Signal != 0 || e.ExecError != "" || e.Leftovers > 0 || e.Ran < again.MinRan:
	case s.lease.holds(proc.Boottime()) != nil:
	case slices.Contains(again.Codes, e.Code):
		return e.Run + 1
	}
	return 0
}

// process is what to start for a run: its process or, with the arguments put in
// by the caller, its stop command, which is not given the lock: it must not
// outlive the run as its holder.
func (s *slot) process(r *run, pid string) *proc.Spec {
	p := r.spec.process()
	p.Env = append(slices.Concat(p.Env, r.spec.Own), runVariable+"="+runID(s.name, r.id, r.serial))
	if pid != "" {
		p.Env = append(p.Env, "QSUPER_PID="+pid)
	}
	p.OOM = s.k.oom
	p.Stdin, p.Stdout, p.Stderr = s.k.null, s.k.null, s.k.null
	return &p
}

// output opens the slot's pipe for its process; 0: there is none. For reading too,
// so that a write does not fail for want of a reader when the keeper dies. By
// number, as that is the pipe whatever is at its path.
func (s *slot) output() (int, error) {
	if s.stream == nil {
		return 0, nil
	}
	fd, err := unix.Open("/proc/self/fd/"+strconv.Itoa(s.fifoFD), unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("open pipe %s: %w", s.fifo, err)
	}
	return fd, nil
}

// lock takes the slot's lock.
func (s *slot) lock(spec *Spec) (*file.Lock, error) {
	if spec.Lock == "" {
		return nil, nil
	}
	return file.Acquire(spec.Lock)
}

// attach has the pipe captured in one of the pump's ways, once: it stays over runs.
func (s *slot) attach(spec *Spec, way func(*logs.Pump, int, logs.Options) (*logs.Stream, error)) error {
	if s.fifo != spec.FIFO {
		s.detach()
		if spec.FIFO != "" {
			fd, err := openFIFO(spec.FIFO)
			if err != nil {
				return err
			}
			if s.stream, err = way(s.k.pump, fd, spec.Log.options()); err != nil {
				return err
			}
			s.fifo, s.fifoFD, s.owner, s.log = spec.FIFO, fd, os.Geteuid(), spec.Log
			s.k.store.putIn(s)
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
		s.k.store.takeOut(s.inode)
		s.k.taken[s.consumer()] += s.stream.Stats().Bytes
		s.stream.Close()
		s.stream, s.fifo = nil, ""
		s.tellLog()
	}
}

func (s *slot) drop() {
	s.letGo()
	if fifo := s.fifo; fifo != "" {
		s.detach()
		_ = os.Remove(fifo) // one that stays does no harm
	}
	s.prune()
	s.k.runs.Forget(s.name)
	if s.k.memos != nil {
		s.k.memos.Forget(s.name)
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

func (s *slot) startFailed(run uint64, err error) {
	f := StartFailed{Slot: s.name, Run: run}
	f.Kind, f.By, f.Err = sortError(err)
	s.k.engine.tell(frameStartFailed, f)
}

// sortError turns what kept a process from running into a StartFailed.
func sortError(err error) (kind, by, text string) {
	var held *lock.HeldError
	var failed *proc.StartError
	switch {
	case errors.As(err, &held):
		return KindLocked, held.By, err.Error()
	case errors.Is(err, errLease):
		return KindLease, "", err.Error()
	case errors.As(err, &failed) && failed.Kind == proc.Exec:
		return KindExec, "", err.Error()
	}
	return KindHost, "", err.Error()
}
