package runner

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"qsuper/config"
	"qsuper/lease"
	"qsuper/lease/leasetest"
	"qsuper/slot"
)

// fakeLock is a lock in a file whose store is in memory.
type fakeLock struct {
	server *leasetest.Fake
	fault  func() leasetest.Fault
}

func (l fakeLock) Open(lease.Place) (lease.Store, error) { return l.server.User(l.fault), nil }
func (fakeLock) Connection() string                      { return "" }
func (fakeLock) Common() lease.Common                    { return lease.Common{} }
func (fakeLock) Kind() lease.Kind                        { return lease.Kind{} }

// hosts are engines that share a store, and what they have run.
type hosts struct {
	t      *testing.T
	server *leasetest.Fake
	all    []*rota
	down   []atomic.Bool // the store, for one host
	took   time.Duration
	code   int
}

func newHosts(t *testing.T, n int, job func() *config.Job) *hosts {
	h := &hosts{t: t, server: leasetest.NewFake(), down: make([]atomic.Bool, n), took: time.Second}
	for i := range n {
		o := &rota{clock: newBubbleClock()}
		o.fleet = &fleet{t: t, k: newFakeKeeper(t), dir: t.TempDir(), clock: o.clock}
		o.boottime = func() time.Duration { return time.Since(keeperStart) }
		o.k.onStart = o.started
		o.k.behave = func(string, uint64) (time.Duration, int) { return h.took, h.code }
		o.cfg = o.config()
		j := job()
		j.Lock = "fleet"
		o.cfg.Jobs = []*config.Job{j}
		fault := func() leasetest.Fault {
			return leasetest.Fault{Late: time.Duration(i+1) * time.Millisecond, Lost: h.down[i].Load()}
		}
		o.cfg.Locks = []*config.Lock{{Name: "fleet", Type: "fake", Timing: lease.Timing{TTL: 30 * time.Second}, Spec: fakeLock{h.server, fault}}}
		o.boot()
		h.all = append(h.all, o)
	}
	return h
}

// cut takes the store away from all hosts, or gives it back.
func (h *hosts) cut(off bool) {
	for i := range h.down {
		h.down[i].Store(off)
	}
}

func (h *hosts) end() {
	for _, o := range h.all {
		o.end()
	}
	time.Sleep(time.Minute) // what is on its way to the store
}

// ran lists the fires that have begun on each host since the last call.
func (h *hosts) ran() (list []string) {
	synctest.Wait()
	for i, o := range h.all {
		o.k.mu.Lock()
		for _, r := range o.ran {
			list = append(list, fmt.Sprintf("%s on %d", strings.TrimPrefix(r, "a "), i))
		}
		o.ran = nil
		o.k.mu.Unlock()
	}
	slices.Sort(list)
	return list
}

// want compares the fires that have begun; " on 1" says on which host.
func (h *hosts) want(list ...string) {
	h.t.Helper()
	got := h.ran()
	if len(list) > 0 && !strings.Contains(list[0], " on ") {
		for i := range got {
			got[i], _, _ = strings.Cut(got[i], " ")
		}
	}
	if !slices.Equal(got, list) {
		h.t.Errorf("ran %q\nwant %q", got, list)
	}
}

func every(t *testing.T, expression string, overlap config.Overlap) func() *config.Job {
	return func() *config.Job {
		j := jobConf(t, "a", expression)
		j.Overlap = overlap
		if overlap == config.OverlapAllow {
			j.Instances = config.Instances{Min: 3, Max: 3}
		}
		return j
	}
}

func TestAFireRunsOnOneHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHosts(t, 3, every(t, "* * * * *", config.OverlapSkip))
		defer h.end()
		h.all[0].until("00:02:30")
		h.want("00:01:00", "00:02:00")
		ran := make([]int, 2) // any of them may have come first
		for i, o := range h.all {
			s := o.job("a")
			if len(s.History) != 2 || s.Skipped != 0 || !s.Healthy {
				t.Fatalf("host %d: %+v", i, s)
			}
			for n, f := range s.History {
				if f.Class == slot.ClassClean {
					ran[n]++
				} else if f.Class != slot.ClassElsewhere || f.Host == "" {
					t.Errorf("host %d: %+v", i, f)
				}
			}
		}
		if !slices.Equal(ran, []int{1, 1}) {
			t.Errorf("%v hosts ran the fires, not one each", ran)
		}
		// A host where it is paused leaves the fire to the others.
		h.all[0].do("pause", "a")
		h.all[0].until("00:03:30")
		if list := h.ran(); len(list) != 1 || !strings.HasPrefix(list[0], "00:03:00 on ") || list[0] == "00:03:00 on 0" {
			t.Errorf("%q", list)
		}
		// One that was not there for a while finds what has been done meanwhile.
		h.all[0].do("resume", "a")
		h.all[2].crash()
		h.all[0].until("00:08:30")
		h.all[2].boot()
		h.all[0].until("00:08:50")
		h.want("00:04:00", "00:05:00", "00:06:00", "00:07:00", "00:08:00")
		if s := h.all[2].job("a"); s.History[len(s.History)-1].Class != slot.ClassElsewhere {
			t.Errorf("%+v", s.History)
		}
	})
}

func TestOverlapOverHosts(t *testing.T) {
	for overlap, want := range map[config.Overlap][]string{
		// Each takes 150 s.
		config.OverlapSkip:  {"00:01:00", "00:04:00"},
		config.OverlapQueue: {"00:01:00", "00:02:00"},
		config.OverlapAllow: {"00:01:00", "00:02:00", "00:03:00", "00:04:00", "00:05:00"},
	} {
		t.Run(string(overlap), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHosts(t, 3, every(t, "* * * * *", overlap))
				defer h.end()
				h.took = 150 * time.Second
				h.all[0].until("00:05:10")
				h.want(want...)
				told := false
				for _, o := range h.all {
					s := o.job("a")
					told = told || s.Skip.Code == slot.Overlap && strings.Contains(s.Skip.Text, "still runs on")
				}
				if !told && overlap != config.OverlapAllow {
					t.Error("skipped in silence")
				}
			})
		})
	}
}

func TestRetriesStayOnTheHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHosts(t, 2, func() *config.Job {
			j := every(t, "* * * * *", config.OverlapSkip)()
			j.Retries.Times, j.Backoff.Initial = 2, 25*time.Second
			return j
		})
		defer h.end()
		h.code = 1
		h.all[0].until("00:02:30")
		h.want("00:01:00", "00:01:00", "00:01:00")
		if a, b := h.all[0].job("a"), h.all[1].job("a"); a.Skip.Code != slot.Overlap || b.Skip.Code != slot.Overlap {
			t.Errorf("the fire that came while the other was tried again: %+v\n%+v", a.Skip, b.Skip)
		}
	})
}

// Nobody runs what the store does not give; `missed` says for how long it is asked.
func TestTheStoreDoesNotAnswer(t *testing.T) {
	for missed, want := range map[config.Missed][]string{config.MissedRunOnce: {"00:05:00"}, config.MissedSkip: nil} {
		t.Run(string(missed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHosts(t, 2, func() *config.Job {
					j := every(t, "*/5 * * * *", config.OverlapSkip)()
					j.Missed = missed
					return j
				})
				defer h.end()
				h.cut(true)
				h.all[0].until("00:07:00")
				h.want()
				s := h.all[0].job("a")
				if missed == config.MissedRunOnce && (s.Healthy || !strings.Contains(s.Reason.Text, "does not answer")) {
					t.Errorf("%+v", s)
				}
				if missed == config.MissedSkip && (s.Skip.Code != slot.Missed || !strings.Contains(s.Skip.Text, "does not answer")) {
					t.Errorf("%+v", s)
				}
				h.cut(false)
				h.all[0].until("00:07:30")
				h.want(want...)
				h.all[0].until("00:10:30")
				h.want("00:10:00")
			})
		})
	}
}

// After an outage that was longer than the time between two fires, the latest runs
// for all.
func TestTheLatestFireAfterAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHosts(t, 2, every(t, "* * * * *", config.OverlapSkip))
		defer h.end()
		h.cut(true)
		h.all[0].until("00:04:30")
		h.cut(false)
		h.all[0].until("00:04:58") // each host leaves slots to those that had them, at first
		h.want("00:04:00")
		if s := h.all[0].job("a"); s.Skipped != 3 || s.Skip.Code != slot.Missed {
			t.Errorf("%+v", s.Skip)
		}
	})
}

func TestByHandWhileItRunsElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHosts(t, 2, every(t, "* * * * *", config.OverlapSkip))
		defer h.end()
		h.took = 40 * time.Second
		h.all[0].until("00:01:10")
		r, err := h.all[1].r.RunJob(t.Context(), "a", "ann", false)
		if err != nil || !strings.Contains(r.Skipped, "still runs on") {
			t.Errorf("%+v, %v", r, err)
		}
		h.all[0].until("00:01:50")
		if r, err = h.all[1].r.RunJob(t.Context(), "a", "ann", false); err != nil || r.Skipped != "" || r.Waits != "" {
			t.Errorf("%+v, %v", r, err)
		}
		if list := h.ran(); len(list) != 2 {
			t.Errorf("%q", list)
		}
	})
}

// The clock of a host was hours ahead for a while: what it has run of the future
// does not run again when that has come.
func TestClaimsOutliveAClockThatWasWrong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHosts(t, 2, every(t, "0 * * * *", config.OverlapSkip))
		defer h.end()
		h.all[0].until("00:30:00")
		h.all[0].clock.step(-2 * time.Hour) // no more than noise: nothing is repeated
		h.all[1].clock.step(4 * time.Hour)
		time.Sleep(time.Hour)
		h.want("05:00:00 on 1")
		h.all[0].clock.step(2 * time.Hour)
		h.all[1].clock.step(-4 * time.Hour)
		time.Sleep(5 * time.Hour)
		count := map[string]int{}
		for _, r := range h.ran() {
			count[strings.Fields(r)[0]]++
		}
		if count["05:00:00"] != 0 || count["04:00:00"] != 1 || count["06:00:00"] != 1 {
			t.Errorf("%v", count)
		}
	})
}

// Whatever dies and whatever is lost on the way: no fire runs twice over all hosts,
// and each one runs once when all is well again.
func TestFiresOverHostsAtRandom(t *testing.T) {
	first, rounds := rand.Uint64()>>20, *rounds
	t.Logf("seeds %d to %d", first, first+uint64(rounds)-1)
	fires := 0
	for i := range rounds {
		synctest.Test(t, func(t *testing.T) { fires += playFires(t, first+uint64(i)) })
		if t.Failed() {
			return
		}
	}
	t.Logf("%d fires", fires)
}

func playFires(t *testing.T, seed uint64) int {
	r := rand.New(rand.NewPCG(seed, 2))
	h := newHosts(t, 3, every(t, "*/10 * * * * *", config.OverlapAllow))
	defer h.end()
	count := map[string]int{}
	collect := func() {
		for _, x := range h.ran() {
			count[strings.Fields(x)[0]]++
		}
	}
	for range 120 {
		time.Sleep(time.Duration(r.IntN(5000)) * time.Millisecond)
		i := r.IntN(len(h.all))
		switch r.IntN(4) {
		case 0:
			h.all[i].crash()
			h.all[i].boot()
		case 1:
			h.all[i].crash()
			h.all[i].k.perish()
			time.Sleep(time.Duration(r.IntN(3000)) * time.Millisecond)
			h.all[i].boot()
		case 2:
			h.down[i].Store(true)
		case 3:
			h.cut(false)
		}
		collect()
	}
	h.cut(false)
	time.Sleep(90 * time.Second)
	end := h.all[0].clock.Now()
	time.Sleep(3 * time.Second)
	collect()
	for at := end.Add(-60 * time.Second).Truncate(10 * time.Second); at.Before(end); at = at.Add(10 * time.Second) {
		if c := count[at.Format("15:04:05")]; c != 1 {
			t.Errorf("seed %d: the fire of %s, when all was well, ran %d times", seed, at.Format("15:04:05"), c)
		}
	}
	for at, c := range count {
		if c > 1 {
			t.Errorf("seed %d: the fire of %s ran %d times", seed, at, c)
		}
	}
	return len(count)
}
