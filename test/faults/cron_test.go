package faults

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"qsuper/test/rig"
)

// Cases of jobs. Those that set the clock are in clock_test.go: it is everybody's on this
// host.
var cronFaults = []fault{
	{name: "P17_FiresComeOnceWhateverDies", score: 20, run: firesOverKills(12)},
	{name: "P17_FiresComeOnceWhateverDiesLong", score: 20, kind: slow, run: firesOverKills(150)},
	{name: "F027_JobLongerThanItsInterval", score: 16, run: longJob},
	{name: "F065_DaemonDownAcrossFires", score: 12, run: downAcrossFires},
	{name: "F069_ReloadWhileItRuns", score: 9, run: reloadAroundFires},
}

// note is what a job of these cases does: it appends its fire to a file.
const note = `echo "$QSUPER_FIRE" >> fires`

// jobsOf starts a daemon with jobs.
func jobsOf(t *testing.T, jobs string) *fleet {
	t.Helper()
	f := newFleet(t)
	f.Write("defaults: {dir: " + f.Dir + "}\njobs:\n" + jobs)
	f.Start()
	return f
}

// ran are the fires that have run, in order of their runs.
func (f *fleet) ran(file string) []string {
	raw, err := os.ReadFile(f.Path(file))
	if err != nil && !os.IsNotExist(err) {
		f.T.Fatal(err)
	}
	return strings.Fields(string(raw))
}

type jobStatus struct {
	Name    string    `json:"name"`
	State   string    `json:"state"`
	Next    time.Time `json:"next"`
	Skipped int       `json:"skipped"`
	Last    *struct {
		At    time.Time `json:"at"`
		Class string    `json:"class"`
	} `json:"last"`
}

// job asks for one job, until it answers.
func (f *fleet) job(name string) jobStatus {
	f.T.Helper()
	var list []jobStatus
	eventually(f.T, rig.Patience, "jobs answers", func() bool {
		list = nil
		r := f.Run("jobs", name, "--json")
		return r.Code == 0 && strings.Contains(r.Stdout, name) && f.JSON(&list, "jobs", name).Code == 0 && len(list) == 1
	})
	return list[0]
}

// once checks that no fire of a job with one every second came twice, and that
// those that did not come were accounted for.
func (f *fleet) once(job, file string) {
	f.T.Helper()
	s := f.job(job)
	list := f.ran(file)
	if len(list) == 0 {
		f.T.Fatal("no fire has run")
	}
	slices.Sort(list)
	for i := 1; i < len(list); i++ {
		if list[i] == list[i-1] {
			f.T.Errorf("the fire of %s ran twice", list[i])
		}
	}
	first, last := moment(f.T, list[0]), moment(f.T, list[len(list)-1])
	due := int(last.Sub(first).Seconds()) + 1
	log, err := os.ReadFile(f.Path("daemon.log"))
	if err != nil {
		f.T.Fatal(err)
	}
	lost := strings.Count(string(log), "nobody was there to see how it ended")
	if missing := due - len(list) - s.Skipped; missing > lost {
		f.T.Errorf("%d fires were due, %d ran, %d were skipped and %d may not have run: %d are missing in silence", due, len(list), s.Skipped, lost, missing-lost)
	}
	f.T.Logf("%d fires were due, %d ran, %d were skipped and said so", due, len(list), s.Skipped)
}

func moment(t *testing.T, text string) time.Time {
	t.Helper()
	v, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// firesOverKills kills engine, keeper or both, so many times at moments of chance,
// while jobs fire every second.
func firesOverKills(times int) func(*testing.T) {
	return func(t *testing.T) {
		seed := uint64(time.Now().UnixNano())
		t.Logf("seed %d", seed)
		chance := rand.New(rand.NewPCG(seed, 0))
		f := jobsOf(t, fmt.Sprintf("  quick: {schedule: '* * * * * *', shell: '%s', overlap: allow}\n  slow: {schedule: '*/2 * * * * *', shell: '%s-slow; exec sleep 1.5'}\n", note, note))
		eventually(t, rig.Patience, "it fires", func() bool { return len(f.ran("fires")) > 1 })
		for range times {
			<-time.After(time.Duration(chance.IntN(1500)) * time.Millisecond)
			switch chance.IntN(3) {
			case 0:
				if st, ok := f.Status(); ok {
					kill(t, st.Daemon.EnginePID)
				}
			case 1:
				f.killKeeper(false)
				f.Start()
			default:
				f.killKeeper(true)
				f.Start()
			}
		}
		n := len(f.ran("fires"))
		eventually(t, rig.Patience, "it fires at the end", func() bool { return len(f.ran("fires")) > n+1 })
		f.Must("stop", "quick", "slow")
		f.once("quick", "fires")
		list := f.ran("fires-slow")
		slices.Sort(list)
		if n := len(list); n != len(slices.Compact(list)) {
			t.Errorf("slow: a fire ran twice: %v", list)
		}
		f.jobsGone()
	}
}

// jobsGone waits until nothing of the jobs is left.
func (f *fleet) jobsGone() {
	f.T.Helper()
	eventually(f.T, rig.Patience, "nothing of the jobs is left", func() bool {
		for _, line := range rig.ProcessesOf(f.Dir) {
			if strings.Contains(line, "sleep") || strings.Contains(line, "QSUPER_FIRE") {
				return false
			}
		}
		return true
	})
}

// A job that lasts longer than its interval runs one at a time, and what is left
// out is counted.
func longJob(t *testing.T) {
	f := jobsOf(t, "  long: {schedule: '* * * * * *', shell: 'echo begin >> runs; sleep 3; echo end >> runs'}\n")
	eventually(t, rig.Patience, "it has run twice", func() bool { return len(f.ran("runs")) >= 4 })
	for i, word := range f.ran("runs") {
		if want := []string{"begin", "end"}[i%2]; word != want {
			t.Fatalf("O1 overlap: %v", f.ran("runs"))
		}
	}
	if s := f.job("long"); s.Skipped < 3 {
		t.Errorf("only %d fires are said to be skipped", s.Skipped)
	}
	f.alive()
}

// After downtime the latest of the fires that were missed runs once, or none.
func downAcrossFires(t *testing.T) {
	f := jobsOf(t, "  again: {schedule: '*/5 * * * * *', shell: '"+note+"'}\n  never: {schedule: '*/5 * * * * *', shell: '"+note+"-never', missed: skip}\n")
	eventually(t, rig.Patience, "both have run", func() bool { return len(f.ran("fires")) > 0 && len(f.ran("fires-never")) > 0 })
	f.StopAll()
	before := f.ran("fires")
	// As if it had been down for three hours: what it remembers is put back.
	raw, err := os.ReadFile(f.Path("state/jobs.log"))
	if err != nil {
		t.Fatal(err)
	}
	past := time.Now().Add(-3 * time.Hour).UTC().Truncate(5 * time.Second).Format(time.RFC3339)
	for _, job := range []string{"again", "never"} {
		raw = fmt.Appendf(raw, `{"op":"base","job":%q,"at":%q,"schedule":"*/5 * * * * * Local"}`+"\n", job, past)
	}
	raw = append(raw, `{"op":"start","job":"again","fire":{"at":"20`...) // and its last line was cut off
	if err := os.WriteFile(f.Path("state/jobs.log"), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	f.Start()
	eventually(t, rig.Patience, "the next fires run", func() bool { return len(f.ran("fires")) > len(before)+1 })
	for _, job := range []string{"again", "never"} {
		if s := f.job(job); s.Skipped < 1000 {
			t.Errorf("%s: only %d fires are said to be skipped", job, s.Skipped)
		}
	}
	for _, file := range []string{"fires", "fires-never"} {
		if n := len(f.ran(file)); n > len(before)+20 {
			t.Errorf("%s: %d fires ran after the downtime", file, n-len(before))
		}
	}
}

// Reloads that add, remove and change other jobs, and this one, lose no fire.
func reloadAroundFires(t *testing.T) {
	f := jobsOf(t, "  a: {schedule: '* * * * * *', shell: '"+note+"', overlap: allow}\n")
	file := "defaults: {dir: " + f.Dir + "}\njobs:\n  a: {schedule: '* * * * * *', shell: '" + note + "', overlap: allow, timeout: %dm}\n  other%d: {schedule: '@daily', command: [/bin/true]}\n"
	for i := range 40 {
		f.Write(fmt.Sprintf(file, i+1, i))
		f.Must("reload")
	}
	n := len(f.ran("fires"))
	eventually(t, rig.Patience, "it fires after all reloads", func() bool { return len(f.ran("fires")) > n+1 })
	f.once("a", "fires")
	if r := f.Must("jobs"); !strings.Contains(r.Stdout, "other39") || strings.Contains(r.Stdout, "other38") {
		t.Errorf("after the last reload:\n%s", r.Stdout)
	}
}
