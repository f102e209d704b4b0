package faults

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"qsuper/test/rig"
)

// soak is one long run of a fleet under random kills and commands. The seed
// decides what is done, so that a run can be done again; the moments it meets
// are the machine's own.
type soak struct {
	*fleet
	r      *rand.Rand
	steady int // instances of the consumer that nothing of this run kills
	counts map[string]int
	killed map[int]bool
	unseen int // processes that ended while neither keeper nor engine lived
	since  time.Duration
	rounds int
}

const soakStartRate = 40

// TestSoak runs for QSUPER_SOAK, a duration; make soak sets it. With every change
// it runs for a few seconds, so that it does not rot. QSUPER_SEED repeats a run.
func TestSoak(t *testing.T) {
	length := 8 * time.Second
	if text := os.Getenv("QSUPER_SOAK"); text != "" {
		var err error
		if length, err = time.ParseDuration(text); err != nil {
			t.Fatalf("QSUPER_SOAK: %v", err)
		}
	}
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("QSUPER_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("QSUPER_SEED: %v", err)
		}
	}
	s := &soak{
		r: rand.New(rand.NewPCG(seed, 0)), steady: 10, counts: map[string]int{}, killed: map[int]bool{},
	}
	t.Logf("seed %d (QSUPER_SEED=%d does it again), %s", seed, seed, length)
	s.fleet = newFleet(t)
	s.Serve(100)
	s.Write(s.soakFile())
	s.since = now()
	s.Start()
	s.begun(s.steady + 6 + 4 + 2 + 3)
	for until := time.Now().Add(length); time.Now().Before(until) && !t.Failed(); s.rounds++ {
		s.step()
		<-time.After(time.Duration(s.r.IntN(400)) * time.Millisecond)
		if s.rounds%20 == 19 {
			s.settle()
		}
	}
	s.settle()
	s.end(seed)
}

// soakFile is a fleet with some of everything: talkers, short lives, crashes,
// what needs long to stop, and children in its group. One number changes with
// each reload.
func (s *soak) soakFile() string {
	const files = "logs: {max_size: 256KiB, keep: 1000}"
	return s.file(fmt.Sprintf("  start_rate: %d\n", soakStartRate),
		crew("steady", "lines 50 pad 60", fmt.Sprintf("instances: %d", s.steady), files),
		crew("brief", "lines 50 pad 20 life 700ms parting 5", "instances: 6", "backoff: {min_uptime: 0s}", files),
		crew("crash", "lines 50 life 300ms code 3", "instances: 4", "backoff: {initial: 100ms, max: 1s}", files),
		crew("slow", "lines 20 finish 600ms", fmt.Sprintf("instances: %d", 2+s.r.IntN(4)), "stop: {grace: 60s}", files),
		crew("family", "lines 20 child group lines 10 end", "instances: 3", "stop: {grace: 60s, scope: group}", files),
	)
}

// step does one thing.
func (s *soak) step() {
	verbs := []struct {
		weight int
		name   string
		do     func()
	}{
		{6, "engine killed", s.killTheEngine},
		{8, "consumer killed", s.killConsumer},
		{2, "stop and start", func() { s.both("stop", "start") }},
		{2, "pause and resume", func() { s.both("pause", "resume") }},
		{3, "stop-workers", func() { s.ask("stop-workers", s.somebody()) }},
		{2, "restart --rolling", func() { s.ask("restart", "--rolling", "slow", "family") }}, // given up where successors do not live
		{2, "reload", func() { s.Write(s.soakFile()); s.ask("reload") }},
		{2, "scale", func() { s.ask("scale", fmt.Sprintf("brief=%d", 1+s.r.IntN(6))) }},
		{2, "keeper killed", func() { s.killTheKeeper(false) }},
		{2, "both killed", func() { s.killTheKeeper(true) }},
	}
	total := 0
	for _, v := range verbs {
		total += v.weight
	}
	n := s.r.IntN(total)
	for _, v := range verbs {
		if n -= v.weight; n < 0 {
			s.counts[v.name]++
			v.do()
			return
		}
	}
}

// somebody is never steady, whose pids tell whether any of this is noticed.
func (s *soak) somebody() string {
	return []string{"brief", "crash", "slow", "family"}[s.r.IntN(4)]
}

// ask runs a command that may meet a moment without an engine, and is repeated
// then. Anything else than done is a violation.
func (s *soak) ask(args ...string) {
	s.T.Helper()
	var r rig.Result
	for deadline := time.Now().Add(rig.Patience); time.Now().Before(deadline); <-time.After(50 * time.Millisecond) {
		if r = s.Run(args...); r.Code == 0 {
			return
		}
		if r.Code != 4 && r.Code != 1 {
			break
		}
	}
	s.T.Errorf("qsuper %s: exit %d\n%s%s", strings.Join(args, " "), r.Code, r.Stdout, r.Stderr)
}

func (s *soak) both(first, second string) {
	who := s.somebody()
	slow := time.AfterFunc(15*time.Second, func() { s.whyStill(who) })
	s.ask(first, who)
	slow.Stop()
	for _, p := range s.processes() {
		if first == "stop" && strings.HasPrefix(p.slot, who+"/") { // a pause does not wait
			s.T.Errorf("O2 left behind: after %s %s there is %+v", first, who, p)
		}
	}
	s.ask(second, who)
}

// whyStill tells what is known of a consumer's processes that take long to stop.
func (s *soak) whyStill(who string) {
	for _, p := range s.processes() {
		if !strings.HasPrefix(p.slot, who+"/") {
			continue
		}
		unread := -1
		if fd, err := unix.Open(fmt.Sprintf("/proc/%d/fd/1", p.pid), unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0); err == nil {
			unread, _ = unix.IoctlGetInt(fd, unix.TIOCINQ)
			unix.Close(fd)
		}
		status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid))
		s.T.Logf("%+v does not end: %d bytes unread in its pipe\n%s", p, unread, status)
		for _, r := range s.journal.read(s.T) {
			if r.PID == p.pid && r.Event != "tick" {
				s.T.Logf("  %+v", r)
			}
		}
	}
	s.T.Logf("the daemon's log ends with:\n%s", rig.Tail(s.Path("daemon.log"), 8000))
}

func (s *soak) killTheEngine() {
	st, ok := s.Status()
	if ok {
		kill(s.T, st.Daemon.EnginePID)
	}
}

// killTheKeeper leaves its engine, or kills that with it. Then nobody holds the
// consumers' pipes but the service manager, for as long as a restart may take; some
// end meanwhile, and one is made to.
func (s *soak) killTheKeeper(both bool) {
	if st, ok := s.Status(); ok && both {
		kill(s.T, st.Daemon.EnginePID)
	}
	kill(s.T, s.Cmd.Process.Pid)
	eventually(s.T, rig.Patience, "the keeper is gone", s.Over)
	if both {
		before := s.processes()
		s.killConsumer()
		<-time.After(time.Duration(s.r.IntN(1500)) * time.Millisecond)
		for _, p := range before {
			if state := statField(p.pid, 3); state == "" || state == "Z" {
				s.unseen++
			}
		}
	}
	s.Launch()
	eventually(s.T, rig.Patience, "the daemon answers", func() bool { _, ok := s.Status(); return ok })
}

func (s *soak) killConsumer() {
	var list []process
	for _, p := range s.processes() {
		if !strings.HasPrefix(p.slot, "steady/") {
			list = append(list, p)
		}
	}
	if len(list) > 0 {
		p := list[s.r.IntN(len(list))]
		s.killed[p.pid] = true
		kill(s.T, p.pid)
	}
}

// settle waits until all is as wanted, and judges what can be judged then.
func (s *soak) settle() {
	s.T.Helper()
	s.UntilRunning("steady", s.steady)
	if n := len(s.starts("steady")); n != s.steady {
		s.T.Errorf("O5 fleet: %d starts of steady, expected %d", n, s.steady)
	}
	s.noOverlap()
	s.rate(s.since, soakStartRate)
	s.alive()
	for _, r := range s.journal.of(s.T, "trouble") {
		s.T.Errorf("%s had trouble: %s", r.Slot, r.Detail)
	}
}

func (s *soak) starts(consumer string) (list []record) {
	for _, r := range s.journal.begins(s.T) {
		if strings.HasPrefix(r.Slot, consumer+"/") {
			list = append(list, r)
		}
	}
	return list
}

// end stops everything, judges it all, and sums it up.
func (s *soak) end(seed uint64) {
	s.T.Helper()
	began := len(s.journal.begins(s.T))
	overlapped := len(overlaps(s.journal.read(s.T)))
	s.quiesce(0)
	lines, lost := s.countLines(false)
	s.T.Logf("seed %d: %d rounds, %d starts, %d lines, %d lost, %d overlaps, %d left behind", seed, s.rounds, began, lines, lost, overlapped, len(s.processes()))
	s.T.Logf("%d processes ended while neither keeper nor engine lived", s.unseen)
	for what, n := range s.counts {
		s.T.Logf("  %-18s %d", what, n)
	}
	if s.T.Failed() {
		s.T.Logf("VIOLATED: repeat with make soak SEED=%d", seed)
	}
}
