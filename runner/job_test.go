package runner

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"qsuper/config"
	"qsuper/keeper"
	"qsuper/schedule"
	"qsuper/slot"
)

// bubbleClock is the wall clock of a bubble: fake time, and by how much somebody
// has set it since.
type bubbleClock struct {
	mu    sync.Mutex
	ahead time.Duration
	at    time.Time
	rang  chan struct{}
	moved chan struct{} // the alarm or the clock was set
}

func newBubbleClock() *bubbleClock {
	return &bubbleClock{rang: make(chan struct{}, 1), moved: make(chan struct{}, 1)}
}

func (b *bubbleClock) Now() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return time.Now().Round(0).Add(b.ahead).UTC()
}

func (b *bubbleClock) Boot() time.Duration   { return time.Since(keeperStart) }
func (b *bubbleClock) Rang() <-chan struct{} { return b.rang }

func (b *bubbleClock) Set(at time.Time) {
	b.mu.Lock()
	b.at = at
	b.mu.Unlock()
	nudge(b.moved)
}

func nudge(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// step sets the clock, which rings.
func (b *bubbleClock) step(by time.Duration) {
	b.mu.Lock()
	b.ahead += by
	b.mu.Unlock()
	nudge(b.moved)
	nudge(b.rang)
}

func (b *bubbleClock) Run(ctx context.Context) error {
	for {
		b.mu.Lock()
		wait := time.Until(b.at.Add(-b.ahead))
		if b.at.IsZero() {
			wait = 1000 * time.Hour
		}
		b.mu.Unlock()
		timer := time.NewTimer(max(wait, 0))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
			nudge(b.rang)
			select {
			case <-ctx.Done():
				return nil
			case <-b.moved:
			}
		case <-b.moved:
			timer.Stop()
		}
	}
}

func jobConf(t *testing.T, name, expression string) *config.Job {
	t.Helper()
	table, err := schedule.ParseTimetable(expression, time.UTC)
	if err != nil {
		t.Fatal(err)
	}
	c := conf(name, 1)
	c.Restart, c.Backoff = config.RestartNever, config.Backoff{Initial: 10 * time.Second, Factor: 2, Max: time.Minute, ResetAfter: 1000 * time.Hour}
	return &config.Job{Consumer: c, Schedule: table, Overlap: config.OverlapSkip, Missed: config.MissedRunOnce}
}

// rota is a fleet with jobs.
type rota struct {
	*fleet
	clock *bubbleClock
	ran   []string // "name 15:04:05" of each start, by QSUPER_FIRE
}

func newRota(t *testing.T, jobs ...*config.Job) *rota {
	o := &rota{clock: newBubbleClock()}
	o.fleet = &fleet{t: t, k: newFakeKeeper(t), dir: t.TempDir(), clock: o.clock}
	o.k.onStart = o.started
	o.cfg = o.config()
	o.cfg.Jobs = jobs
	o.k.behave = func(string, uint64) (time.Duration, int) { return time.Second, 0 }
	o.boot()
	return o
}

// started is called with the keeper's lock held.
func (o *rota) started(r keeper.StartRequest) {
	at := ""
	for _, kv := range r.Spec.Own {
		if value, ok := strings.CutPrefix(kv, "QSUPER_FIRE="); ok {
			fire, err := time.Parse(time.RFC3339, value)
			if err != nil {
				o.t.Error(err)
			}
			at = fire.UTC().Format("15:04:05")
		}
	}
	o.ran = append(o.ran, strings.SplitN(r.Slot, "/", 2)[0]+" "+at)
}

func (o *rota) want(list ...string) {
	o.t.Helper()
	synctest.Wait()
	o.k.mu.Lock()
	defer o.k.mu.Unlock()
	if !slices.Equal(o.ran, list) {
		o.t.Errorf("started %q\n   want %q", o.ran, list)
	}
	o.ran = nil
}

// until lets time pass up to a moment of the first day, by the clock.
func (o *rota) until(clock string) {
	o.t.Helper()
	at, err := time.Parse("15:04:05", clock)
	if err != nil {
		o.t.Fatal(err)
	}
	now := o.clock.Now()
	target := time.Date(now.Year(), now.Month(), now.Day(), at.Hour(), at.Minute(), at.Second(), 0, time.UTC)
	if target.Before(now) {
		o.t.Fatalf("it is %s already", now)
	}
	time.Sleep(target.Sub(now))
	synctest.Wait()
}

func (o *rota) job(name string) JobSnapshot {
	o.t.Helper()
	synctest.Wait()
	list, err := o.r.Jobs([]string{name}, Detail{})
	if err != nil || len(list) != 1 {
		o.t.Fatalf("job %s: %v, %v", name, list, err)
	}
	return list[0]
}

// Bubbles begin at midnight UTC.

func TestJobFiresOnTimeAndOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newRota(t, jobConf(t, "reindex", "*/15 * * * *"), jobConf(t, "nightly", "30 0 * * *"))
		defer o.end()
		o.until("00:14:59")
		o.want()
		if s := o.job("reindex"); s.State != JobWaiting || s.Next.At.Format("15:04") != "00:15" || s.Running != 0 || len(s.History) != 0 {
			t.Errorf("before the first fire: %+v", s)
		}
		o.until("00:15:00")
		o.want("reindex 00:15:00")
		if s := o.job("reindex"); s.State != JobRunning || s.Running != 1 {
			t.Errorf("while it runs: %+v", s)
		}
		o.until("00:30:05")
		o.want("reindex 00:30:00", "nightly 00:30:00")
		s := o.job("nightly")
		if len(s.History) != 1 || s.History[0].Code != 0 || s.History[0].Class != slot.ClassClean || s.History[0].Seconds != 1 || s.State != JobWaiting {
			t.Errorf("after the run: %+v", s)
		}
		if s.Next.At.Format("02 15:04") != "02 00:30" {
			t.Errorf("next fire %s", s.Next.At)
		}
	})
}

func TestJobOverlap(t *testing.T) {
	for overlap, want := range map[config.Overlap][]string{
		config.OverlapSkip:    {"a 00:01:00", "a 00:04:00"},
		config.OverlapQueue:   {"a 00:01:00", "a 00:02:00"},
		config.OverlapAllow:   {"a 00:01:00", "a 00:02:00", "a 00:04:00", "a 00:05:00"}, // two at once
		config.OverlapReplace: {"a 00:01:00", "a 00:02:00", "a 00:03:00", "a 00:04:00", "a 00:05:00"},
	} {
		t.Run(string(overlap), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := jobConf(t, "a", "* * * * *")
				j.Overlap = overlap
				if overlap == config.OverlapAllow {
					j.Instances = config.Instances{Min: 2, Max: 2}
				}
				o := newRota(t, j)
				defer o.end()
				o.k.set(func() { o.k.behave = func(string, uint64) (time.Duration, int) { return 150 * time.Second, 0 } })
				o.until("00:05:10")
				o.want(want...)
				if s := o.job("a"); overlap != config.OverlapReplace && (s.Skipped == 0 || s.Skip.Code != slot.Overlap) {
					t.Errorf("skipped in silence: %+v", s)
				}
			})
		})
	}
}

func TestJobRunsOnceOverCrashes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newRota(t, jobConf(t, "a", "* * * * *"))
		defer func() { o.end() }()
		o.k.set(func() { o.k.behave = func(string, uint64) (time.Duration, int) { return 30 * time.Second, 3 } })
		o.until("00:01:10")
		o.crash() // while it runs
		o.until("00:01:20")
		o.boot()
		if s := o.job("a"); s.State != JobRunning {
			t.Errorf("the run is not known after a crash of the engine: %+v", s)
		}
		o.until("00:01:40")
		o.want("a 00:01:00")
		if s := o.job("a"); len(s.History) != 1 || s.History[0].Code != 3 || s.History[0].Class != slot.ClassCrashed {
			t.Errorf("history after a crash: %+v", s.History)
		}
		o.until("00:02:10")
		o.crash()
		o.until("00:02:50") // it ends unseen
		o.boot()
		o.want("a 00:02:00")
		if s := o.job("a"); len(s.History) != 2 || s.History[1].Code != 3 {
			t.Errorf("an exit while no engine was there: %+v", s.History)
		}
		o.until("00:03:10")
		o.crash()
		o.k.perish() // keeper and engine
		o.boot()
		o.until("00:03:50")
		o.want("a 00:03:00")
		o.until("00:04:10")
		o.crash()
		o.until("00:04:50")
		o.k.perish() // and the run has ended meanwhile
		o.boot()
		o.want("a 00:04:00")
		if s := o.job("a"); len(s.History) != 4 || s.History[3].Class != slot.ClassUnknown {
			t.Errorf("a run that ended while nobody was there: %+v", s.History)
		}
		o.until("00:05:01")
		o.want("a 00:05:00")
	})
}

func TestMissedFires(t *testing.T) {
	for _, missed := range []config.Missed{config.MissedRunOnce, config.MissedSkip} {
		t.Run(string(missed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := jobConf(t, "a", "0 * * * *")
				j.Missed = missed
				o := newRota(t, j)
				defer func() { o.end() }()
				o.until("01:00:10")
				o.want("a 01:00:00")
				o.crash()
				o.until("04:30:00")
				o.boot()
				if missed == config.MissedSkip {
					o.want()
				} else {
					o.want("a 04:00:00")
				}
				s := o.job("a")
				if missed == config.MissedSkip && (s.Skipped != 3 || s.Skip.Code != slot.Missed) {
					t.Errorf("skipped in silence: %+v", s)
				}
				o.crash()
				o.until("05:00:30") // not long enough for a fire to count as missed
				o.boot()
				o.want("a 05:00:00")
			})
		})
	}
}

func TestClockIsSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newRota(t, jobConf(t, "a", "0 * * * *"))
		defer o.end()
		o.until("01:30:00")
		o.want("a 01:00:00")
		o.clock.step(2 * time.Hour) // 03:30: two fires were jumped over
		o.want("a 03:00:00")
		o.clock.step(-time.Hour) // 02:30: nothing is repeated
		o.until("03:30:00")
		o.want()
		o.until("04:00:30")
		o.want("a 04:00:00")
		o.clock.step(5 * time.Hour) // 09:00:30: too far
		o.want()
		o.until("10:00:01")
		o.want("a 10:00:00")
		o.clock.step(-8 * time.Hour) // 02:00:01: not dead until 10 o'clock
		o.want()
		o.until("03:00:01")
		o.want("a 03:00:00")
		o.clock.step(24 * 365 * time.Hour)
		o.want()
		o.until("04:00:01")
		o.want("a 04:00:00")
	})
}

func TestJobRetriesAndTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := jobConf(t, "a", "0 * * * *")
		j.Retries = config.Retries{Times: 2}
		slow := jobConf(t, "slow", "0 3 * * *")
		slow.Timeout = 10 * time.Minute
		o := newRota(t, j, slow)
		defer func() { o.end() }()
		o.k.set(func() {
			o.k.behave = func(key string, _ uint64) (time.Duration, int) {
				if key == "slow/0" {
					return time.Hour, 0
				}
				return time.Second, 7
			}
		})
		o.until("01:00:05")
		o.want("a 01:00:00")
		if s := o.job("a"); s.State != JobRetrying {
			t.Errorf("between two tries: %+v", s)
		}
		o.crash()
		o.boot()
		o.until("01:00:12") // a second of the run, ten of pause
		o.want("a 01:00:00")
		o.crash()
		o.k.perish()
		o.boot()
		o.until("01:00:25")
		o.want()
		o.until("01:10:00")
		o.want("a 01:00:00") // the third and last
		s := o.job("a")
		if len(s.History) != 1 || s.History[0].Try != 3 || s.History[0].Code != 7 {
			t.Errorf("history: %+v", s.History)
		}
		o.until("03:09:00")
		if s := o.job("slow"); s.State != JobRunning {
			t.Errorf("before the timeout: %+v", s)
		}
		o.until("03:10:02")
		if s := o.job("slow"); len(s.History) != 1 || s.History[0].Class != slot.ClassTimeout || s.State != JobWaiting {
			t.Errorf("after the timeout: %+v", s)
		}
	})
}

func TestStopPauseAndResumeJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newRota(t, jobConf(t, "a", "* * * * *"))
		defer func() { o.end() }()
		o.k.set(func() { o.k.behave = func(string, uint64) (time.Duration, int) { return 20 * time.Second, 0 } })
		o.until("00:01:10")
		go o.do("pause", "a")
		o.until("00:01:15")
		o.wantLive(1) // what runs goes on
		o.until("00:02:30")
		o.want("a 00:01:00")
		if s := o.job("a"); s.State != JobPaused || s.Skipped != 1 || s.Skip.Code != slot.Paused {
			t.Errorf("paused: %+v", s)
		}
		o.do("resume", "a")
		o.until("00:03:05")
		o.want("a 00:03:00")
		o.do("stop", "a")
		o.wantLive(0)
		o.crash()
		o.boot() // remembered
		o.until("00:06:00")
		o.want()
		if s := o.job("a"); s.State != JobStopped || s.History[len(s.History)-1].Class != slot.ClassStopped {
			t.Errorf("stopped: %+v", s)
		}
		o.do("start", "a")
		o.until("00:07:00")
		o.want("a 00:07:00")
		for _, verb := range []string{"restart", "scale", "stop-workers"} {
			if _, err := o.r.Do(t.Context(), Command{Verb: verb, Names: []string{"a"}, By: "ann"}); err == nil {
				t.Errorf("%s of a job is accepted", verb)
			}
		}
	})
}

func TestReloadDoesNotTouchWhatRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newRota(t, jobConf(t, "a", "* * * * *"), jobConf(t, "b", "* * * * *"))
		defer func() { o.end() }()
		o.k.set(func() { o.k.behave = func(string, uint64) (time.Duration, int) { return 30 * time.Second, 0 } })
		o.until("00:01:10")
		o.want("a 00:01:00", "b 00:01:00")
		before := o.k.pids()
		fresh := o.config(conf("c", 1))
		changed := jobConf(t, "a", "*/2 * * * *")
		changed.Command = []string{"/bin/true", "changed"}
		fresh.Jobs = []*config.Job{changed, jobConf(t, "new", "* * * * *")}
		o.r.Apply(fresh)
		synctest.Wait()
		after := o.k.pids()
		if after["a/0"] != before["a/0"] || after["b/0"] != before["b/0"] || after["c/0"] == 0 {
			t.Errorf("before the reload %v, after it %v", before, after)
		}
		o.until("00:01:40") // b has ended and is gone
		if list, err := o.r.Jobs(nil, Detail{}); err != nil || len(list) != 2 {
			t.Errorf("jobs after the reload: %+v, %v", list, err)
		}
		o.want("c ")
		o.until("00:04:10")
		o.want("a 00:02:00", "new 00:02:00", "new 00:03:00", "a 00:04:00", "new 00:04:00")
	})
}

// TestReloadInTheMiddle reloads around every fire: none is lost, none comes twice.
func TestReloadInTheMiddle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newRota(t, jobConf(t, "a", "* * * * *"))
		defer func() { o.end() }()
		var want []string
		for i := 1; i < 60; i++ {
			for _, second := range []int{59, 60} {
				time.Sleep(time.Until(time.Now().Truncate(time.Minute).Add(time.Duration(second) * time.Second)))
				fresh := o.config()
				fresh.Jobs = []*config.Job{jobConf(t, "a", "* * * * *")}
				o.r.Apply(fresh)
				if i%7 == 0 {
					o.crash()
					o.boot()
				}
			}
			want = append(want, fmt.Sprintf("a 00:%02d:00", i))
		}
		o.want(want...)
	})
}

func TestRunByHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newRota(t, jobConf(t, "a", "0 * * * *"))
		defer func() { o.end() }()
		o.until("00:10:00")
		reply, err := o.r.RunJob(t.Context(), "a", "ann", true)
		if err != nil || reply.Skipped != "" || reply.End == nil || reply.End.Code != 0 || !reply.End.Manual {
			t.Errorf("run by hand: %+v, %v", reply, err)
		}
		o.want("a 00:10:00")
		o.k.set(func() { o.k.behave = func(string, uint64) (time.Duration, int) { return 2 * time.Hour, 0 } })
		if reply, err = o.r.RunJob(t.Context(), "a", "ann", false); err != nil || reply.Skipped != "" {
			t.Errorf("run by hand: %+v, %v", reply, err)
		}
		if reply, err = o.r.RunJob(t.Context(), "a", "ann", false); err != nil || reply.Skipped == "" {
			t.Errorf("run by hand while it runs: %+v, %v", reply, err)
		}
		if _, err = o.r.RunJob(t.Context(), "nothing", "ann", false); err == nil {
			t.Error("a job that is not there is run")
		}
	})
}

// TestPasses is `run --once`, called every minute.
func TestPasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newRota(t)
		o.end()
		lives := map[string]time.Duration{"long": time.Hour, "short": 5 * time.Second, "a": time.Second}
		o.cfg = o.config(conf("long", 1), conf("short", 1))
		o.cfg.Jobs = []*config.Job{jobConf(t, "a", "* * * * *")}
		o.k.behave = func(key string, _ uint64) (time.Duration, int) { return lives[strings.TrimSuffix(key, "/0")], 0 }
		o.once = true
		o.boot()
		defer func() { o.end() }()
		o.until("00:00:50")
		slices.Sort(o.ran) // consumers have loops of their own
		o.want("long ", "short ")
		for i := 1; i < 4; i++ {
			o.until(fmt.Sprintf("00:%02d:01", i))
			o.want(fmt.Sprintf("a 00:%02d:00", i))
			if err := o.r.Pass(); err != nil {
				t.Fatal(err)
			}
			o.until(fmt.Sprintf("00:%02d:50", i))
			o.want("short ")
		}
		if live := o.k.pids(); len(live) != 1 || live["long/0"] == 0 {
			t.Errorf("%v run", live)
		}
		o.until("00:59:59")
		o.ran = nil
		o.until("01:00:03") // the long one has ended: nothing runs any more
		select {
		case <-o.r.Finished():
		default:
			t.Error("it stays though nothing runs")
		}
		if err := o.r.Pass(); err == nil {
			t.Error("a pass begins after the end")
		}
		o.want("a 01:00:00")
		o.crash()
		o.k.perish()
		o.until("01:30:00")
		o.boot()
		o.until("01:30:01")
		slices.Sort(o.ran)
		o.want("a 01:30:00", "long ", "short ")
	})
}

func TestManyJobsArePaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var jobs []*config.Job
		for i := range 500 {
			jobs = append(jobs, jobConf(t, fmt.Sprintf("j%03d", i), "0 1 * * *"))
		}
		o := newRota(t, jobs...)
		defer func() { o.end() }()
		o.cfg.Daemon.StartRate = 50
		o.crash()
		o.boot()
		o.until("01:00:00")
		time.Sleep(500 * time.Millisecond)
		synctest.Wait()
		if _, n := o.k.count(); n > 100 {
			t.Errorf("%d starts in half a second at 50 per second", n)
		}
		o.until("01:00:15")
		if _, n := o.k.count(); n != 500 {
			t.Errorf("%d of 500 jobs started in 15 s", n)
		}
	})
}
