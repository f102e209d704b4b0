package keeper

import (
	"fmt"
	"os"
	"testing"
	"time"

	"qsuper/proc/proctest"
)

// cpuOf is what the keeper itself has used so far.
func (r *rig) cpu() time.Duration { return procCPU(r.cmd.Process.Pid) }

// BenchmarkRestarts is how fast processes that exit at once are replaced, by
// keeper and engine together.
func BenchmarkRestarts(b *testing.B) {
	for _, slots := range []int{1, 16} {
		b.Run(fmt.Sprint(slots), func(b *testing.B) { benchRestarts(b, slots) })
	}
}

func benchRestarts(b *testing.B, slots int) {
	r := newRig(b)
	tiny := proctest.Exit(b)
	l, _ := r.connect()
	specs := map[string]Spec{}
	for i := range slots {
		name := fmt.Sprintf("bench/%d", i)
		specs[name] = benchSpec(r, name, tiny)
	}
	cpu := r.cpu()
	b.ResetTimer()
	started := 0
	for name, s := range specs {
		l.mustStart(name, 1, s)
		started++
	}
	for exited := 0; exited < b.N; {
		e, ok := l.next().(Exited)
		if !ok {
			continue
		}
		exited++
		if started < b.N {
			started++
			l.mustStart(e.Slot, e.Run+1, specs[e.Slot])
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "restarts/s")
	b.ReportMetric(float64((r.cpu()-cpu).Microseconds())/float64(b.N), "keeper-cpu-µs/op")
}

// BenchmarkStart1000 is the time from the first request to the thousandth
// Started, with processes that stay.
func BenchmarkStart1000(b *testing.B) {
	const n = 1000
	var total time.Duration
	for range b.N {
		r := newRig(b)
		tiny := proctest.Pause(b)
		l, _ := r.connect()
		began := time.Now()
		for i := range n {
			name := fmt.Sprintf("bench/%d", i)
			l.mustStart(name, 1, benchSpec(r, name, tiny))
		}
		for i := 0; i < n; {
			if _, ok := l.next().(Started); ok {
				i++
			}
		}
		total += time.Since(began)
		began = time.Now()
		for i := range n {
			l.Stop(StopRequest{Slot: fmt.Sprintf("bench/%d", i), Run: 1, Stop: Stop{Signal: 15, Grace: time.Minute}})
		}
		for i := 0; i < n; {
			if _, ok := l.next().(Exited); ok {
				i++
			}
		}
		b.ReportMetric(float64(time.Since(began).Milliseconds()), "stop-ms")
	}
	b.ReportMetric(float64(total.Milliseconds())/float64(b.N), "start-ms")
}

// benchEnv is shared, as the slots of one consumer share theirs.
var benchEnv = func() (env []string) {
	for i := range 25 {
		env = append(env, fmt.Sprintf("VARIABLE_%d=%s", i, os.Args[0]))
	}
	return env
}()

func benchSpec(r *rig, name, path string) Spec {
	s := r.command(name, path)
	s.Env, s.Own = benchEnv, []string{"QSUPER_SLOT=" + name}
	return s
}

func (l *link) mustStart(slot string, run uint64, s Spec) {
	if err := l.Start(StartRequest{Slot: slot, Run: run, Spec: s}); err != nil {
		l.t.Fatal(err)
	}
}
