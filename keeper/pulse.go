package keeper

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"qsuper/proc"
)

const (
	// pulseEvery is how often an engine is asked whether it lives, and pulseTime how
	// long it has to answer, by asking each of its own parts. Both are generous:
	// nothing waits for an engine but decisions and commands.
	pulseEvery = 30 * time.Second
	pulseTime  = 30 * time.Second
	// bornTime is how long a new one may take until it has asked what runs.
	bornTime = 2 * time.Minute
	// pulseLate is by how much a deadline may be missed: beyond it the keeper has not
	// been awake itself, and the engine's answer may lie unread.
	pulseLate = 5 * time.Second
)

// Ping asks the engine whether it lives; it answers with Client.Pong.
type Ping struct{}

// pulse is what the keeper knows of the life of an engine.
type pulse struct {
	askAt time.Duration // when it is asked next; never: an answer is due, or it is too early
	by    time.Duration // CLOCK_BOOTTIME: when the answer is due; never: none is
	mono  time.Duration // CLOCK_MONOTONIC, likewise: it stands still in suspend
}

var noPulse = pulse{askAt: never, by: never}

func (p *pulse) expect(within, now, mono time.Duration) {
	p.askAt, p.by, p.mono = never, now+within, mono+within
}

// missed says that the answer has not come although the engine had its time. When
// host or keeper have slept, the time begins anew.
func (p *pulse) missed(now, mono time.Duration) bool {
	if p.by > now {
		return false
	}
	if mono < p.mono || now > p.by+pulseLate {
		p.expect(pulseTime, now, mono)
		return false
	}
	return true
}

// ping asks the engine whether it lives.
func (e *engine) ping() {
	if !e.listed || e.pulse.by != never {
		return
	}
	e.send(framePing, Ping{})
	e.expect(pulseTime)
}

func (e *engine) expect(within time.Duration) {
	e.pulse.expect(within, proc.Boottime(), monotonic())
	e.k.poll.at(e.pulse.by)
}

// lives notes that the engine has answered.
func (e *engine) lives() {
	e.pulse.by, e.pulse.askAt = never, proc.Boottime()+pulseEvery
	e.k.poll.at(e.pulse.askAt)
}

// beat does what is due. An engine that hangs is ended, for the next one goes on;
// not while somebody looks at it with a debugger.
func (e *engine) beat(now time.Duration) {
	if e.conn < 0 {
		return
	}
	if e.pulse.askAt <= now {
		e.ping()
	}
	if e.pulse.missed(now, monotonic()) {
		if e.p != nil && traced(e.p.PID) {
			e.expect(pulseTime)
		} else {
			e.drop(fmt.Errorf("it hangs: no answer within %s", pulseTime))
			return
		}
	}
	e.k.poll.at(min(e.pulse.askAt, e.pulse.by))
}

// traced says whether a debugger has stopped a process, or could.
func traced(pid int) bool {
	b, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	_, rest, ok := bytes.Cut(b, []byte("\nTracerPid:\t"))
	return ok && !bytes.HasPrefix(rest, []byte("0\n"))
}

func monotonic() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) // a clock that is always there
	return time.Duration(ts.Nano())
}
