package slot

import (
	"flag"
	"fmt"
	"os"
	"sort"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite generated files")

// world is what the slot's owner and the kernel know: the model that Step is
// explored against.
type world struct {
	checking, spawning, child, permit bool
}

type node struct {
	s State
	w world
}

var base = time.Unix(1_000_000, 0)

// normal folds a node onto a finite set: times become "none, due, later",
// counters are capped, texts go.
func normal(n node) node {
	s := &n.s
	rel := func(t time.Time) time.Time {
		switch {
		case t.IsZero():
			return t
		case !base.Before(t):
			return base
		}
		return base.Add(time.Hour)
	}
	s.Deadline = rel(s.Deadline)
	s.Asked = time.Time{}
	s.Since, s.Last = base, ExitRecord{}
	if !s.Started.IsZero() {
		s.Started = base
	}
	s.Run = 7
	s.Failures, s.Quick = min(s.Failures, 2), min(s.Quick, 2)
	for _, r := range []*Reason{&s.Wish, &s.Reason, &s.Again} {
		r.Text = ""
	}
	return n
}

// events offers every event: commands always, answers when the world owes them,
// and the answers of another run always.
func events(n node) []Event {
	const run, old = 7, 6
	exits := []ExitInfo{
		{Code: 0, Ran: time.Hour, Work: WorkDone}, {Code: 0, Ran: 0, Work: WorkNone}, {Code: 1, Ran: 0}, {Code: -1, Signal: 9, Ran: time.Hour},
		{Code: 99, Ran: time.Hour}, {Code: 77, Ran: 0}, {Code: -1, Unknown: true, Ran: 0}, {Code: -1, ExecError: "gone"}, {Code: 0, Ran: time.Hour, Fenced: true},
	}
	list := []Event{
		Tick{}, Wish{Up, Reason{Code: OK}}, Wish{Hold, Reason{Code: Empty}}, Wish{Down, Reason{Code: Stopped}},
		Finish{Reason{Code: Recycle}}, Finish{Reason{Code: LeaseLost}}, Retry{}, KillNow{}, KillNow{Reason{Code: MemoryHard}}, KillNow{Reason{Code: LeaseLost}},
		Unlocked{}, Fenced{old},
		Opened{old}, Closed{Run: old}, Spawned{Run: old, PID: 1}, SpawnFailed{Run: old}, Killed{old}, Exited{Run: old, Exit: exits[0]},
	}
	if n.w.checking {
		list = append(list, Opened{run}, Closed{Run: run, Reason: Reason{Code: StartRate}, Retry: base.Add(time.Hour)}, Closed{Run: run, Reason: Reason{Code: Elsewhere}, Retry: base.Add(time.Hour)})
	}
	if n.w.spawning {
		list = append(list, Spawned{run, 42}, SpawnFailed{run, FailExec, "x"}, SpawnFailed{run, FailLocked, "x"}, SpawnFailed{run, FailHost, "x"})
	}
	if n.w.child {
		list = append(list, Killed{run}, Fenced{run})
		for _, e := range exits {
			list = append(list, Exited{run, e})
		}
	}
	if n.w == (world{}) {
		for _, step := range []string{"", "signal", "kill", "idle"} {
			list = append(list, Adopt{Run: run, PID: 42, Started: base, Step: step}, Adopt{Run: run, PID: 42, Started: base, Step: step, Why: Reason{Code: Recycle}})
		}
		list = append(list, Succeeded{Run: run})
	}
	return list
}

func isStale(ev Event) bool {
	switch e := ev.(type) {
	case Opened:
		return e.Run != 7
	case Closed:
		return e.Run != 7
	case Spawned:
		return e.Run != 7
	case SpawnFailed:
		return e.Run != 7
	case Killed:
		return e.Run != 7
	case Exited:
		return e.Run != 7
	}
	return false
}

// advance is one step in slot and world, with every promise checked.
func advance(p Policy, n node, ev Event, edges map[string]bool) (node, error) {
	now := base
	if _, ok := ev.(Tick); ok && !n.s.Deadline.IsZero() {
		now = base.Add(2 * time.Hour)
	}
	s, eff := Step(p, n.s, now, ev)
	w := n.w
	switch ev.(type) {
	case Opened, Closed:
		if !isStale(ev) {
			_, opened := ev.(Opened)
			w.checking, w.permit = false, opened
		}
	case Spawned:
		if !isStale(ev) {
			w.spawning, w.child = false, true
		}
	case SpawnFailed:
		if !isStale(ev) {
			w.spawning = false
		}
	case Exited:
		if !isStale(ev) {
			w.child = false
		}
	case Adopt:
		w.child, w.permit = true, true
	case Succeeded:
		w.spawning, w.permit = true, true
	}
	if isStale(ev) && (s != n.s || eff != None) {
		return n, fmt.Errorf("a stale %T changed something", ev)
	}
	switch eff {
	case Check:
		if w.checking || w.spawning || w.child || w.permit {
			return n, fmt.Errorf("check while %+v", w)
		}
		w.checking = true
		if s.Run != n.s.Run+1 {
			return n, fmt.Errorf("a new attempt kept its run number")
		}
	case Spawn:
		if w.spawning || w.child || !w.permit {
			return n, fmt.Errorf("spawn while %+v: two children, or none allowed", w)
		}
		w.spawning = true
	case Stop, Kill:
		if !w.child {
			return n, fmt.Errorf("%v without a child", eff)
		}
	case Release:
		if w.child || w.spawning || !w.permit {
			return n, fmt.Errorf("release while %+v", w)
		}
		w.permit = false
	}
	if w.permit && !w.child && !w.spawning {
		return n, fmt.Errorf("permit leaked in %v", s.Phase)
	}
	if (w.child || w.spawning) != s.Phase.Alive() || w.checking != (s.Phase == Checking) {
		return n, fmt.Errorf("phase %v while %+v", s.Phase, w)
	}
	if s.Phase != n.s.Phase {
		edges[n.s.Phase.String()+" -> "+s.Phase.String()] = true
	}
	return normal(node{s, w}), nil
}

func testPolicy() Policy {
	return Policy{
		Key: "a/0", Clean: []int{0}, EmptyCodes: []int{77}, Permanent: []int{99},
		Initial: time.Second, Factor: 2, Max: time.Minute, Jitter: 0.5, ResetAfter: time.Minute, MinUptime: time.Second,
		TimeLimit: time.Minute, Spread: 0.1, Grace: time.Second,
	}
}

// explore visits every reachable node.
func explore(t *testing.T, p Policy) (map[node][]node, map[string]bool, int) {
	t.Helper()
	start := normal(node{s: State{Phase: Halted, Want: Down, Wish: Reason{Code: Stopped}, Reason: Reason{Code: Stopped}}})
	next, edges, steps := map[node][]node{}, map[string]bool{}, 0
	todo := []node{start}
	for len(todo) > 0 {
		n := todo[0]
		todo = todo[1:]
		if _, seen := next[n]; seen {
			continue
		}
		next[n] = []node{}
		for _, ev := range events(n) {
			steps++
			m, err := advance(p, n, ev, edges)
			if err != nil {
				t.Fatalf("%v\nin %+v\nafter %#v", err, n, ev)
			}
			next[n] = append(next[n], m)
			todo = append(todo, m)
		}
	}
	return next, edges, steps
}

func TestEveryReachableState(t *testing.T) {
	all := map[string]bool{}
	for _, restart := range []Restart{Always, Unexpected, Never} {
		for _, limit := range []time.Duration{0, time.Minute} {
			p := testPolicy()
			p.Restart, p.TimeLimit = restart, limit
			next, edges, steps := explore(t, p)
			for e := range edges {
				all[e] = true
			}
			t.Logf("restart %d, time limit %v: %d states, %d steps, %d edges", restart, limit, len(next), steps, len(edges))
			for n := range next {
				noDeadEnd(t, p, n)
			}
		}
	}
	diagram(t, all)
}

// noDeadEnd drives a node with a friendly world: wanted up it must run, wanted
// down it must halt, within a few steps and without any further command.
func noDeadEnd(t *testing.T, p Policy, n node) {
	t.Helper()
	for _, want := range []Want{Up, Down} {
		m := n
		script := []Event{Retry{}, Wish{want, Reason{Code: OK}}}
		for i := 0; i < 30; i++ {
			var ev Event = Tick{}
			switch {
			case len(script) > 0:
				ev, script = script[0], script[1:]
			case m.w.checking:
				ev = Opened{7}
			case m.w.spawning:
				ev = Spawned{7, 42}
			case m.s.Phase == Draining || m.s.Phase == Killing:
				ev = Exited{7, ExitInfo{Code: 0, Ran: time.Hour, Work: WorkDone}}
			case m.s.Phase == Running && want == Up && m.s.Again.Code == "" && !m.s.Now:
				i = 99
			case m.s.Phase == Halted && want == Down:
				i = 99
			case m.s.Phase == Halted && m.s.Final: // `restart` forbids it: a person may ask
				ev = Retry{}
			}
			if i == 99 {
				break
			}
			var err error
			if m, err = advance(p, m, ev, map[string]bool{}); err != nil {
				t.Fatalf("%v from %+v", err, n)
			}
		}
		if ok := m.s.Phase == Running && want == Up || m.s.Phase == Halted && want == Down; !ok {
			t.Fatalf("dead end: wanted %v, stuck in %v\nfrom %+v\nat   %+v", want, m.s.Phase, n, m)
		}
	}
}

// diagram compares the edges found with the drawing in doc.go.
func diagram(t *testing.T, edges map[string]bool) {
	t.Helper()
	from := map[string][]string{}
	for e := range edges {
		f, to, _ := strings.Cut(e, " -> ")
		from[f] = append(from[f], to)
	}
	var b strings.Builder
	b.WriteString("// Package slot is the life of one process: a pure state machine without clock,\n// goroutine, lock, log or I/O.\n//\n" +
		"// Step takes what happened and returns the new state and at most one effect.\n// What is wanted is kept apart from what is; there is one deadline, in the\n// state; every answer carries its run number, so that stale ones die in one\n// place. These are all the transitions there are, found by visiting every\n// reachable state with every event (go test ./slot -update):\n//\n")
	for _, p := range Phases {
		sort.Strings(from[p])
		fmt.Fprintf(&b, "//\t%-9s -> %s\n", p, strings.Join(from[p], ", "))
	}
	b.WriteString("package slot\n")
	if *update {
		if err := os.WriteFile("doc.go", []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile("doc.go")
	if err != nil || string(have) != b.String() {
		t.Errorf("doc.go does not show the transitions found (go test ./slot -update):\n%s", b.String())
	}
}
