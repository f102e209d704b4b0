package runner

import (
	"context"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"qsuper/config"
	"qsuper/plan"
	"qsuper/slot"
	"qsuper/trace"
)

// kept is a fleet with a decision log, and what returns the records so far.
func kept(t *testing.T, consumers ...*config.Consumer) (f *fleet, records func() []trace.Record) {
	f = &fleet{t: t, k: newFakeKeeper(t), dir: t.TempDir()}
	path := filepath.Join(f.dir, "decisions.jsonl")
	f.trace = trace.New(path, trace.Limit, func(err error) { t.Error(err) })
	f.cfg = f.config(consumers...)
	f.boot()
	return f, func() []trace.Record {
		synctest.Wait()
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		f.trace.Run(ctx)
		list, torn, err := trace.Read(path)
		if err != nil || torn > 0 {
			t.Fatalf("%d torn lines, %v", torn, err)
		}
		return list
	}
}

// A decision is kept when it changes, and never else.
func TestDecisionsAreKeptWhenTheyChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, records := kept(t, conf("a", 2), conf("b", 1))
		defer f.end()
		time.Sleep(time.Minute)
		f.wantLive(3)
		if list := records(); len(list) != 2 || list[0].Was.Up()+list[1].Was.Up() != 3 {
			t.Fatalf("at the beginning: %+v", list)
		}
		for range 50 { // a question takes the decision anew
			f.snapshot("a")
			time.Sleep(10 * time.Minute)
		}
		if list := records(); len(list) != 2 {
			t.Fatalf("%d records, and nothing has changed: %+v", len(list), list[2:])
		}
		f.do("stop", "a")
		time.Sleep(time.Minute)
		list := records()
		if last := list[2]; len(list) != 3 || last.Consumer != "a" || last.Was.Reason.Code != slot.Stopped || last.Was.Ending != 2 || last.Observed.Stopped == "" {
			t.Fatalf("after a stop: %+v", list[2:])
		}
		f.do("start", "a")
		time.Sleep(time.Minute)
		if list = records(); len(list) != 4 || list[3].Was.Up() != 2 {
			t.Fatalf("after a start: %+v", list[3:])
		}
		r := trace.Replay(list, func(name string) (trace.Program, bool) {
			return trace.Program{Program: Planned(conf(name, 1))}, true
		})
		if len(r.Differences) != 2 || r.Differences[0].Consumer != "a" || r.Differences[0].Would.Up() != 1 {
			t.Errorf("with one instance: %+v", r.Differences)
		}
	})
}

// A consumer that crashes again and again must not fill the file.
func TestDecisionsOfACrashLoopAreFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, records := kept(t, conf("a", 20))
		defer f.end()
		f.k.set(func() { f.k.behave = func(string, uint64) (time.Duration, int) { return 5 * time.Millisecond, 1 } })
		f.do("restart", "a")
		time.Sleep(10 * time.Minute)
		list := records()
		for i := range max(0, len(list)-2*recordBurst) {
			if d := list[i+2*recordBurst].At.Sub(list[i].At); d < recordBurst*trace.Every {
				t.Errorf("%d records within %s", 2*recordBurst, d)
			}
		}
		last := list[len(list)-1]
		if len(list) > 100 || last.Was.Reason.Code != slot.Breaker || last.Memory.Breaker.Phase == plan.Watching {
			t.Errorf("%d records, the last %+v", len(list), last.Was)
		}
		for _, r := range list {
			if r.Missed > 0 {
				t.Errorf("%d records were lost", r.Missed)
			}
		}
	})
}
