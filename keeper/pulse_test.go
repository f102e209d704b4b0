package keeper

import (
	"os"
	"syscall"
	"testing"
	"time"
)

func TestPulse(t *testing.T) {
	const s = time.Second
	for _, tt := range []struct {
		name         string
		now, mono    time.Duration // since it was asked
		missed, anew bool
	}{
		{"in time", 29 * s, 29 * s, false, false},
		{"too late", 30 * s, 30 * s, true, false},
		{"the host was suspended", 31 * s, 5 * s, false, true},
		{"the keeper has slept", 100 * s, 100 * s, false, true},
	} {
		p := noPulse
		p.expect(pulseTime, 1000*s, 400*s)
		was := p.by
		if got := p.missed(1000*s+tt.now, 400*s+tt.mono); got != tt.missed || (p.by != was) != tt.anew {
			t.Errorf("%s: missed %v, due %v later", tt.name, got, p.by-was)
		}
	}
	p := noPulse
	if p.missed(never-1, never-1) {
		t.Error("an answer is missed that nobody has asked for")
	}
}

// An engine that answers lives, and is asked again; one that does not is replaced.
func TestPulseOfAnEngine(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	l, _ := r.connect()
	before := l.pings.Load()
	r.signal(syscall.SIGINT) // asks at once
	get[Terminate](l)
	eventually(t, "it is asked", func() bool { return l.pings.Load() > before })
	if traced(os.Getpid()) {
		t.Error("somebody traces this test")
	}
}
