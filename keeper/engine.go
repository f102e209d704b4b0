package keeper

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"qsuper/pidfile"
	"qsuper/proc"
)

// How soon an engine that died is started again: at once the first time, then
// firstDelay, twice as long each time up to maxDelay, from the beginning again
// after an engine was up for steady.
const (
	firstDelay = 100 * time.Millisecond
	maxDelay   = 5 * time.Second
	steady     = 10 * time.Second
)

const (
	readChunk  = 64 << 10
	socketSize = 1 << 20 // bytes the kernel may hold for either side; it grants less without privileges

	// maxBatch bounds the requests that are carried out before the loop looks at its
	// children again, a start counting startCost: a thousand of them must not hold
	// up an exit.
	maxBatch  = 512
	startCost = 32

	// lateTime is how long exits that were asked for, and starts while there are
	// more, are kept back at most, so that many are told at once.
	lateTime = 20 * time.Millisecond

	// queueBase and queueSlot bound what the engine has not read yet, in bytes:
	// enough for two answers to List. An engine that lets more come together is
	// hung; it is killed, for everything it has missed is in the next one's list.
	queueBase = 4 << 20
	queueSlot = 2 * (MaxMemo*4/3 + 1024)
)

// engine is the process behind the socket. The keeper lives without it.
type engine struct {
	k    *keeper
	p    *proc.Process // nil: none
	conn int           // -1: none

	in, out []byte
	more    bool          // in holds a whole frame
	behind  int           // bytes of in behind the request that is being carried out
	waiting bool          // for the socket to take more of out
	late    time.Duration // out has only what can wait, and until when; 0: it cannot
	reload  bool          // a Reload came before the engine said Hello
	greeted bool          // has said Hello
	listed  bool          // knows all slots: from here on it is told what happens
	lists   int           // answers it is still to be given, see keeper.list

	count   int
	upSince time.Duration
	delay   time.Duration
	deaths  int           // in a row, none of them of an engine that was up for steady
	startAt time.Duration // never: not waiting to start
	pulse   pulse

	listened time.Duration // when listen was called last
}

// start starts an engine with one end of a new socket.
func (e *engine) start() {
	e.startAt = never
	e.count++
	e.upSince = proc.Boottime()
	if err := e.spawn(); err != nil {
		e.k.log.Error("engine not started", "error", err)
		e.later()
		return
	}
	e.k.log.Debug("engine started", "pid", e.p.PID, "count", e.count)
}

func (e *engine) spawn() error {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("make a socket for the engine: %w", err)
	}
	defer unix.Close(fds[1])
	for _, fd := range fds {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, socketSize) // a smaller one is only slower
	}
	p, err := proc.Start(&proc.Spec{
		Path: e.k.opt.EnginePath, Argv: e.k.opt.EngineArgv, Env: e.k.opt.EngineEnv,
		Stdin: e.k.null, Stdout: int(os.Stdout.Fd()), Stderr: int(os.Stderr.Fd()), Extra: fds[1],
	})
	if err != nil {
		unix.Close(fds[0])
		return err
	}
	err = e.k.poll.add(p.PidFD(), unix.EPOLLIN, (*engineExit)(e))
	if err == nil {
		err = e.k.poll.add(fds[0], unix.EPOLLIN, e)
	}
	if err != nil {
		e.k.poll.remove(p.PidFD())
		unix.Close(fds[0])
		e.k.discard(p)
		return fmt.Errorf("watch the engine: %w", err)
	}
	e.p, e.conn = p, fds[0]
	e.k.pids[p.PID] = struct{}{}
	e.in, e.out, e.lists = nil, nil, 0
	e.more, e.waiting, e.reload, e.greeted, e.listed = false, false, false, false, false
	for _, s := range e.k.slots {
		s.specID = 0 // a new engine numbers its own
	}
	e.expect(bornTime)
	return nil
}

// later plans the next start.
func (e *engine) later() {
	now := proc.Boottime()
	if now-e.upSince >= steady {
		e.delay, e.deaths = 0, 0
	}
	e.deaths++
	e.startAt = now + e.delay
	e.k.poll.at(e.startAt)
	e.delay = min(max(2*e.delay, firstDelay), maxDelay)
}

// noteCrash tells those whom no engine answers.
func (e *engine) noteCrash(exit proc.Exit) {
	now := time.Now()
	err := pidfile.NoteCrashes(e.k.opt.StateDir, pidfile.Crashes{
		Keeper: os.Getpid(), Count: e.deaths, Code: exit.Code, Signal: int(exit.Signal), At: now, Next: now.Add(e.startAt - proc.Boottime()),
	})
	if err != nil {
		e.k.log.Debug("the engine's crash not noted", "error", err)
	}
}

// ready is called for the socket.
func (e *engine) ready(events uint32) {
	if e.conn < 0 {
		return
	}
	if events&unix.EPOLLOUT != 0 {
		e.flush()
	}
	if events&^unix.EPOLLOUT != 0 {
		e.receive()
	}
}

// receive reads once. The end of the stream is the end of this engine, as it
// has no other way to be asked anything.
func (e *engine) receive() {
	if e.more {
		return // first what is there: the socket keeps the rest, and the engine waits
	}
	n, err := e.fill()
	e.k.kin = kin{} // a request is for what is there when it is made
	switch {
	case n > 0:
	case err == unix.EAGAIN || err == unix.EINTR:
	case err == nil:
		for e.handle() {
		}
		e.drop(io.EOF)
	default:
		e.drop(err)
	}
}

// fill reads once behind what is there.
func (e *engine) fill() (int, error) {
	if cap(e.in)-len(e.in) < readChunk {
		e.in = append(make([]byte, 0, 2*len(e.in)+readChunk), e.in...)
	}
	n, err := unix.Read(e.conn, e.in[len(e.in):len(e.in)+readChunk])
	if n > 0 {
		e.in = e.in[:len(e.in)+n]
	}
	return n, err
}

// handle carries out requests worth maxBatch and tells whether there are more.
func (e *engine) handle() bool {
	rest := e.in
	e.more = false
	for cost := 0; len(rest) > 0; cost++ {
		t, body, after, ok, err := nextFrame(rest)
		if ok && t == frameStart {
			cost += startCost - 1
		}
		if ok && cost > maxBatch {
			e.more = true
			break
		}
		if ok {
			rest, e.behind = after, len(after)
			err = e.k.request(t, body)
		}
		if err != nil {
			e.drop(err)
		}
		if e.conn < 0 {
			return false
		}
		if !ok {
			break
		}
	}
	e.behind = 0
	if len(rest) == 0 && cap(e.in) > 4*readChunk {
		e.in = nil // a long frame should not be paid for for ever
	} else {
		e.in = e.in[:copy(e.in, rest)]
	}
	return e.more
}

// send queues a frame; flush writes what has come together in a turn of the loop.
func (e *engine) send(t frameType, body any) {
	if e.conn < 0 || !e.greeted {
		return
	}
	e.late = 0
	var err error
	if e.out, err = appendFrame(e.out, t, body); err != nil {
		e.k.log.Error("frame not sent to the engine", "error", err)
	}
	if bound := queueBase + queueSlot*len(e.k.slots); len(e.out) > bound {
		e.drop(fmt.Errorf("it does not read: more than %d bytes wait for it", bound))
	}
}

// tell reports what happened, to an engine that knows the slots. Any other will
// find it in the answer to its List.
func (e *engine) tell(t frameType, body any) {
	if e.listed {
		e.send(t, body)
	}
}

// tellLater is tell for what the engine itself has asked for, and can wait: while
// a fleet is being started or stopped, an engine that is woken for every process
// takes the processor from those that are still to start or to exit.
func (e *engine) tellLater(t frameType, body any) {
	late := e.late
	if len(e.out) == 0 {
		late = proc.Boottime() + lateTime
	}
	e.tell(t, body)
	if len(e.out) > 0 {
		e.late = late
	}
}

// canWait says whether nothing of what has come together is urgent, in a turn in
// which the loop has had something to do.
func (e *engine) canWait() bool {
	return e.late != 0 && len(e.out) > 0 && !e.k.poll.idle && proc.Boottime() < e.late
}

func (e *engine) flush() {
	sent := 0
	for e.conn >= 0 && sent < len(e.out) {
		n, err := unix.Write(e.conn, e.out[sent:])
		if n > 0 {
			sent += n
		} else if err == unix.EAGAIN {
			break
		} else if err != unix.EINTR {
			e.drop(err)
		}
	}
	if e.conn < 0 {
		return
	}
	if sent > 0 {
		e.out = e.out[:copy(e.out, e.out[sent:])]
	}
	if len(e.out) == 0 && cap(e.out) > readChunk {
		e.out = nil // a burst should not be paid for for ever
	}
	if want := len(e.out) > 0; want != e.waiting {
		e.waiting = want
		events := uint32(unix.EPOLLIN)
		if want {
			events |= unix.EPOLLOUT
		}
		if err := e.k.poll.change(e.conn, events); err != nil {
			e.drop(err)
		}
	}
}

// drop ends the connection and with it the engine. No consumer notices.
func (e *engine) drop(err error) {
	if e.conn < 0 {
		return
	}
	e.hangUp()
	if e.p != nil && !e.k.closing {
		if !errors.Is(err, io.EOF) {
			e.k.log.Error("engine dropped", "pid", e.p.PID, "error", err)
		}
		_ = e.p.SignalGroup(syscall.SIGKILL) // gone already is as good
	}
}

func (e *engine) hangUp() {
	e.k.poll.remove(e.conn)
	unix.Close(e.conn)
	e.pulse = noPulse
	e.conn, e.in, e.out, e.lists, e.more, e.greeted, e.listed = -1, nil, nil, 0, false, false, false
	for _, s := range e.k.slots {
		s.again = nil // nobody is there who could withdraw it
		if s.run != nil {
			s.run.thaw() // or would look whether it is idle
		}
	}
}

// engineExit is the engine as the source of its own exit.
type engineExit engine

func (x *engineExit) ready(uint32) {
	e := (*engine)(x)
	if e.p == nil {
		return
	}
	// What it asked for last counts: a QuitRequest followed by an exit is the
	// normal end. Its helpers die with it, while its unreaped pid still names them.
	_ = e.p.SignalGroup(syscall.SIGKILL)
	for {
		for e.handle() {
		}
		have := len(e.in)
		if e.conn >= 0 {
			e.receive()
		}
		if len(e.in) <= have { // the end, or nothing though a stray process holds the other end
			break
		}
	}
	exit, ok, err := e.p.Reap(true)
	if !ok && err == nil {
		return
	}
	if e.conn >= 0 {
		e.hangUp()
	}
	e.k.poll.remove(e.p.PidFD())
	delete(e.k.pids, e.p.PID)
	e.p.Close()
	pid := e.p.PID
	e.p = nil
	e.k.engineGone(pid, exit)
}
