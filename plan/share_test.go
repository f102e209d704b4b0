package plan

import (
	"math/rand/v2"
	"testing"
	"time"

	"qsuper/slot"
)

func TestQuotasSumUp(t *testing.T) {
	for n := range 60 {
		for hosts := 1; hosts <= 12; hosts++ {
			sum := 0
			for rank := range hosts {
				q := quota(n, hosts, rank)
				if sum += q; q < n/hosts || q > (n+hosts-1)/hosts {
					t.Fatalf("%d slots, %d hosts: place %d is due %d", n, hosts, rank, q)
				}
			}
			if sum != n {
				t.Fatalf("%d slots, %d hosts: %d in all", n, hosts, sum)
			}
		}
	}
}

// sharing are hosts that share the slots of one consumer.
type sharing struct {
	t      *testing.T
	target int
	here   []int
	there  []bool // the host is there
	busy   []bool // its instances never end
	unable []bool // it could run them, as far as it knows, and does not
	result []Result
	short  []int // what each tells the others
	now    time.Time
}

const patience = 30 * time.Second

// observe is what a host knows of the others.
func (s *sharing) observe(me int) *Fleet {
	f := &Fleet{Known: true, Patience: patience, Here: s.here[me], Least: s.here[me]}
	for i, there := range s.there {
		if !there {
			continue
		}
		f.Hosts++
		if i < me {
			f.Rank++
		}
		if i != me {
			f.Elsewhere += s.here[i]
			f.Short += s.short[i]
			f.Least = min(f.Least, s.here[i])
		}
	}
	return f
}

func (s *sharing) taken() (n int) {
	for _, h := range s.here {
		n += h
	}
	return n
}

// turn lets a host do what it should, and returns what it wants.
func (s *sharing) turn(me int) int {
	f := s.observe(me)
	s.result[me].Short = 0
	want := local(&s.result[me], f, s.target, s.now)
	if s.short[me] = s.result[me].Short; s.unable[me] { // its instances crash
		s.short[me] = 0
	}
	switch {
	case want < 0 || want > s.target:
		s.t.Fatalf("%+v wants %d of %d", f, want, s.target)
	case s.unable[me]:
	case want > s.here[me]:
		s.here[me] += min(want-s.here[me], s.target-s.taken())
	case !s.busy[me]:
		s.here[me] = want
	}
	return want
}

// round lets all that are there have a turn, in any order.
func (s *sharing) round(r *rand.Rand) (changed bool) {
	before := append([]int(nil), s.here...)
	for _, i := range r.Perm(len(s.here)) {
		if s.there[i] {
			s.turn(i)
		}
		if s.taken() > max(s.target, sum(before)) {
			s.t.Fatalf("%v: more than %d", s.here, s.target)
		}
	}
	s.now = s.now.Add(time.Second)
	for i := range before {
		changed = changed || before[i] != s.here[i]
	}
	return changed
}

func sum(list []int) (n int) {
	for _, x := range list {
		n += x
	}
	return n
}

func newSharing(t *testing.T, target, hosts int) *sharing {
	s := &sharing{
		t: t, target: target, here: make([]int, hosts), there: make([]bool, hosts), busy: make([]bool, hosts),
		unable: make([]bool, hosts), result: make([]Result, hosts), short: make([]int, hosts), now: time.Unix(0, 0),
	}
	for i := range s.there {
		s.there[i] = true
	}
	return s
}

// settle runs rounds until nothing changes, and then some for what waits in vain.
func (s *sharing) settle(r *rand.Rand) {
	for range 200 {
		if !s.round(r) && !s.round(r) && s.now.Unix()%50 == 0 {
			return
		}
	}
}

// fair fails the test when slots are left, or a host has another part than the rest.
func (s *sharing) fair(what string) {
	s.t.Helper()
	hosts := 0
	for _, there := range s.there {
		if there {
			hosts++
		}
	}
	for i, there := range s.there {
		if there && (s.here[i] < s.target/hosts || s.here[i] > (s.target+hosts-1)/hosts) {
			s.t.Fatalf("%s: %v of %d", what, s.here, s.target)
		}
	}
	if s.taken() != s.target {
		s.t.Fatalf("%s: %v are not %d", what, s.here, s.target)
	}
}

// Whatever hosts there are and whoever has what: all slots end up taken and spread,
// and stay where they are. When hosts go and come, so again.
func TestSharesSettle(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 3))
	for range 20 * *rounds {
		s := newSharing(t, r.IntN(40), 1+r.IntN(7))
		for free := s.target; free > 0 && r.IntN(4) > 0; {
			n := 1 + r.IntN(free)
			s.here[r.IntN(len(s.here))] += n
			free -= n
		}
		s.settle(r)
		s.fair("in the beginning")
		before := append([]int(nil), s.here...)
		if s.round(r) {
			t.Fatalf("it does not come to rest: %v, %v", before, s.here)
		}
		gone := r.IntN(len(s.here))
		if len(s.here) > 1 {
			s.there[gone], s.here[gone] = false, 0
			s.short[gone] = 0
			s.settle(r)
			s.fair("after a host has died")
			s.there[gone] = true
			s.settle(r)
			s.fair("when it is back")
		}
		if s.target = r.IntN(40); s.target < s.taken() { // a reload to fewer
			for i := range s.here {
				s.here[i] = min(s.here[i], quota(s.target, len(s.here), i))
			}
		}
		s.settle(r)
		s.fair("with another number")
	}
}

// What each wants, when all know the same and nothing runs yet, is all there is.
func TestWantsSumUp(t *testing.T) {
	for target := range 40 {
		for hosts := 1; hosts <= 8; hosts++ {
			s := newSharing(t, target, hosts)
			total := 0
			for i := range hosts {
				total += local(&s.result[i], s.observe(i), target, s.now)
			}
			if total != target {
				t.Fatalf("%d hosts want %d of %d", hosts, total, target)
			}
		}
	}
}

// A host that joins gets nothing from those whose instances are at work, and its part
// as they end; a slot moves only to one that is short of a whole.
func TestAJoiningHostWaits(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	s := newSharing(t, 8, 3)
	s.here = []int{4, 4, 0}
	s.busy[0], s.busy[1] = true, true
	s.settle(r)
	if s.here[0] != 4 || s.here[1] != 4 || s.here[2] != 0 {
		t.Fatalf("%v", s.here)
	}
	s.busy[0] = false
	s.settle(r)
	if s.here[0] < 2 || s.here[2] < 1 || s.taken() != 8 {
		t.Errorf("%v", s.here)
	}
	s.busy[1] = false
	s.settle(r)
	s.fair("when all have ended")

	s = newSharing(t, 3, 2) // 2 and 1, or 1 and 2: nobody is short of a whole slot
	s.here = []int{1, 2}
	if s.round(r) {
		t.Errorf("moved for nothing: %v", s.here)
	}
}

// What a host should run and does not is taken by the others, in time, and given back
// when it does.
func TestNobodyIsWaitedForForEver(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	s := newSharing(t, 6, 3)
	s.unable[1] = true
	s.round(r)
	if s.taken() != 4 {
		t.Fatalf("%v at once", s.here)
	}
	for s.now.Before(time.Unix(0, 0).Add(patience - 2*time.Second)) {
		s.round(r)
	}
	if s.taken() != 4 {
		t.Errorf("%v before the time", s.here)
	}
	for range 10 {
		s.round(r)
	}
	if s.taken() != 6 || s.here[1] != 0 {
		t.Errorf("%v in the end", s.here)
	}
	s.unable[1] = false
	s.settle(r)
	s.fair("when it can")
}

// A store that does not answer lets nobody have more than what it has.
func TestUnknownHoldsShares(t *testing.T) {
	for here := range 10 {
		f := &Fleet{Here: here, Hosts: 3}
		if got := local(&Result{}, f, 6, time.Unix(0, 0)); got != min(here, 6) {
			t.Errorf("%d of 6: %d", here, got)
		}
	}
}

// Only instances that do nothing make room.
func TestEvenLeavesTheBusyAlone(t *testing.T) {
	now := time.Unix(1000, 0)
	f := &Fleet{Known: true, Hosts: 2, Here: 4, Patience: patience}
	slots := make([]Slot, 4)
	r := Result{Target: 2, Decisions: make([]Decision, 4), Memory: Memory{Target: 4}}
	for i := range slots {
		slots[i].Phase = slot.Running
		r.Decisions[i] = Decision{Want: slot.Hold}
	}
	slots[1].Quiet = now.Add(-stillness)
	slots[2].Quiet = now.Add(-stillness + time.Second)
	even(&r, f, slots, now)
	for i, want := range []slot.Want{slot.Hold, slot.Down, slot.Hold, slot.Hold} {
		if r.Decisions[i].Want != want {
			t.Errorf("slot %d: %v, want %v", i, r.Decisions[i].Want, want)
		}
	}
	if !r.Next.Equal(now.Add(time.Second)) {
		t.Errorf("looks again at %s", r.Next)
	}
}
