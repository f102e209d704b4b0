package trace

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"qsuper/health"
	"qsuper/plan"
	"qsuper/slot"
)

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// fill makes up a value of any type. Moments are whole minutes, which are kept as
// they are.
func fill(r *rand.Rand, v reflect.Value) {
	switch v.Interface().(type) {
	case time.Time:
		if r.IntN(3) > 0 {
			v.Set(reflect.ValueOf(noon.Add(time.Duration(r.IntN(60)-40) * time.Minute)))
		}
		return
	case slot.Phase:
		v.SetUint(uint64(r.IntN(len(slot.Phases))))
		return
	case slot.Code:
		v.SetString([]string{"", "ok", "backoff", "start_rate", "stall"}[r.IntN(5)])
		return
	case health.State:
		v.SetString([]string{"ok", "missing", "unknown"}[r.IntN(3)])
		return
	case plan.ConnState:
		v.SetString([]string{"up", "down", "unknown"}[r.IntN(3)])
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(r, v.Field(i))
		}
	case reflect.Pointer:
		if r.IntN(2) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			fill(r, v.Elem())
		}
	case reflect.Slice:
		for range r.IntN(4) {
			one := reflect.New(v.Type().Elem()).Elem()
			fill(r, one)
			v.Set(reflect.Append(v, one))
		}
	case reflect.Map:
		for range r.IntN(3) {
			key, one := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			fill(r, key)
			fill(r, one)
			if v.IsNil() {
				v.Set(reflect.MakeMap(v.Type()))
			}
			v.SetMapIndex(key, one)
		}
	case reflect.Bool:
		v.SetBool(r.IntN(2) > 0)
	case reflect.String:
		v.SetString([]string{"", "", "broker", "by root <&> \"x\""}[r.IntN(4)])
	case reflect.Int64:
		v.SetInt([]int64{-1, 0, 0, 1, 7, 200, int64(time.Minute), int64(3 * time.Second)}[r.IntN(8)])
	case reflect.Int:
		v.SetInt(int64(r.IntN(5)))
	case reflect.Uint8:
		v.SetUint(uint64(r.IntN(3)))
	case reflect.Uint64:
		v.SetUint(uint64(r.IntN(3)))
	case reflect.Float64:
		v.SetFloat(float64(r.IntN(9)) / 4)
	default:
		panic("no value for a " + v.Type().String())
	}
}

func made[T any](r *rand.Rand) T {
	var v T
	fill(r, reflect.ValueOf(&v).Elem())
	return v
}

// possible is an observation as the runner could make it.
func possible(r *rand.Rand) (plan.Program, plan.Observed, plan.Memory, []plan.Slot) {
	o, m := made[plan.Observed](r), made[plan.Memory](r)
	o.Shutdown, o.Stopped, o.Paused = false, "", ""
	if r.IntN(2) > 0 {
		o.Conns = nil
	}
	if o.Fleet != nil {
		o.Fleet.Hosts, o.Fleet.Rank = 3, o.Fleet.Rank%3
	}
	p := plan.Program{Name: "orders", Min: r.IntN(2), Max: 2 + r.IntN(8), PerInstance: r.IntN(3) * 50, Cooldown: time.Minute, OnMessages: r.IntN(2) > 0,
		IdleTimeout: 5 * time.Minute, Queue: "orders on broker", Stall: 10 * time.Minute}
	p.Policy = slot.Policy{Key: "orders", Initial: time.Second, Factor: 2, Max: time.Minute, ResetAfter: time.Minute}
	var slots []plan.Slot
	for range p.Max + r.IntN(2) {
		slots = append(slots, made[plan.Slot](r))
	}
	return p, o, m, slots
}

// Whatever a decision looks at must be in its record: it is taken anew from what
// was written, and must be the same. A new field that is left out fails here.
func TestRecordHoldsWhatADecisionNeeds(t *testing.T) {
	for seed := range uint64(1_500) {
		r := rand.New(rand.NewPCG(seed, 1))
		p, o, m, slots := possible(r)
		before := m
		want := plan.Decide(p, o, m, slots, noon)
		line, err := NewRecord(p, o, before, slots, want, noon).line()
		if err != nil {
			t.Fatal(err)
		}
		var back Record
		if err := json.Unmarshal(line, &back); err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, line)
		}
		got := plan.Decide(p, back.Observed, back.Memory, back.slots(len(slots)), noon)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("seed %d (-was +replayed):\n%s\n%s", seed, diff, line)
		}
		if diff := cmp.Diff(verdict(want, slots), back.Was); diff != "" {
			t.Fatalf("seed %d: the verdict (-was +read):\n%s", seed, diff)
		}
	}
}

func TestAThousandSlotsAreAFewEntries(t *testing.T) {
	slots := make([]plan.Slot, 1000)
	for i := range slots {
		began := noon.Add(-time.Hour + time.Duration(i)*20*time.Millisecond) // 50 a second
		slots[i] = plan.Slot{State: slot.State{Phase: slot.Running, Want: slot.Up, Run: uint64(i), PID: 1000 + i, Since: began, Started: began}}
	}
	p := plan.Program{Name: "orders", Min: 1000, Max: 1000}
	line, err := NewRecord(p, plan.Observed{}, plan.Memory{}, slots, plan.Decide(p, plan.Observed{}, plan.Memory{}, slots, noon), noon).line()
	if err != nil || len(line) > 1000 {
		t.Errorf("%d bytes, error %v", len(line), err)
	}
}

// few is a record of some size.
func few(i int) *Record {
	return &Record{At: noon.Add(time.Duration(i) * time.Second), Consumer: "orders", Was: Verdict{Reason: slot.Reason{Text: strings.Repeat("x", 200)}}}
}

// run lets a log write what has been noted.
func run(l *Log) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	l.Run(ctx)
}

func TestLogIsBounded(t *testing.T) {
	path, limit := filepath.Join(t.TempDir(), "decisions.jsonl"), int64(10_000)
	l := New(path, limit, func(err error) { t.Error(err) })
	const n = 500
	for i := range n {
		l.Note(few(i))
		run(l) // each time as a new engine would
	}
	for _, p := range []string{path, Former(path)} {
		info, err := os.Stat(p)
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() > limit || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %d bytes, %s", p, info.Size(), info.Mode())
		}
	}
	records, torn, err := Read(path)
	if err != nil || torn != 0 || len(records) < 30 {
		t.Fatalf("%d records, %d torn, %v", len(records), torn, err)
	}
	for i, r := range records {
		if want := few(n - len(records) + i).At; !r.At.Equal(want) {
			t.Fatalf("record %d of %d is of %s, expected %s", i, len(records), r.At, want)
		}
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 2 {
		t.Errorf("%d files, %v", len(entries), err)
	}
}

// Nobody waits for the disk, and what is lost is counted by the next record.
func TestNoteNeverWaits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "decisions.jsonl")
	l := New(path, Limit, func(err error) { t.Error(err) })
	for i := range 1000 {
		l.Note(few(i)) // nobody writes
	}
	run(l)
	records, _, err := Read(path)
	if err != nil || len(records) != waiting || records[0].Missed != 1000-waiting {
		t.Errorf("%d records, %d missed, %v", len(records), records[0].Missed, err)
	}
	var none *Log
	none.Note(few(0))
}

func TestAFullDiskLosesRecordsWithTheirCount(t *testing.T) {
	path := filepath.Join(t.TempDir(), "decisions.jsonl")
	if err := os.Symlink("/dev/full", path); err != nil {
		t.Fatal(err)
	}
	told := 0
	l := New(path, Limit, func(error) { told++ })
	for i := range 3 {
		l.Note(few(i))
	}
	run(l)
	if told != 1 {
		t.Errorf("told %d times of one trouble", told)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	l.Note(few(3))
	run(l)
	records, torn, err := Read(path)
	if err != nil || torn != 0 || len(records) != 1 || records[0].Missed != 3 {
		t.Errorf("%+v, %d torn, %v", records, torn, err)
	}
}

func TestATornLineIsEnded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "decisions.jsonl")
	if err := os.WriteFile(path, []byte(`{"At":"2026-03-04T11:00:00Z","Consu`), 0o600); err != nil {
		t.Fatal(err)
	}
	l := New(path, Limit, func(err error) { t.Error(err) })
	l.Note(few(1))
	run(l)
	records, torn, err := Read(path)
	if err != nil || torn != 1 || len(records) != 1 || records[0].Consumer != "orders" {
		t.Errorf("%+v, %d torn, %v", records, torn, err)
	}
}

func TestReadSaysWhatIsMissing(t *testing.T) {
	if _, _, err := Read(filepath.Join(t.TempDir(), "none")); err == nil || !strings.Contains(err.Error(), "none") {
		t.Errorf("error %v", err)
	}
}

// story are records of one consumer as its engine would have made them: at each
// moment a depth, and slots that run as was decided before.
func story(p plan.Program, at []time.Duration, depth []int64) []Record {
	var list []Record
	var m plan.Memory
	slots := make([]plan.Slot, p.Max)
	for i := range slots {
		slots[i].Phase = slot.Halted
	}
	for i, ready := range depth {
		now := noon.Add(at[i])
		o := plan.Observed{Queue: &plan.Depth{Reading: health.Reading{State: health.OK, Ready: ready}, At: now}, Conns: []plan.Conn{{Name: "broker", State: plan.ConnUp, At: now}}}
		r := plan.Decide(p, o, m, slots, now)
		list = append(list, *NewRecord(p, o, m, slots, r, now))
		m = r.Memory
		for k := range slots {
			if up := r.Decisions[k].Want == slot.Up; up && !slots[k].Phase.Alive() {
				slots[k].State = slot.State{Phase: slot.Running, Want: slot.Up, Started: now, Since: now}
			}
		}
	}
	return list
}

func program(edit func(*Program)) (Program, func(string) (Program, bool)) {
	p := Program{Program: plan.Program{Name: "orders", Min: 4, Max: 4, OnMessages: true, Queue: "orders on broker", IdleTimeout: time.Minute}, Requires: []string{"broker"}}
	edit(&p)
	return p, func(name string) (Program, bool) { return p, name == "orders" }
}

func texts(r Report) string {
	var b strings.Builder
	for _, d := range r.Differences {
		until := "end"
		if !d.Until.IsZero() {
			until = d.Until.Sub(noon).String()
		}
		fmt.Fprintf(&b, "%s-%s: %d/%d became %d/%d %s\n", d.From.Sub(noon), until, d.Was.Up(), d.Was.Ending, d.Would.Up(), d.Would.Ending, d.Would.Reason.Code)
	}
	return b.String()
}

func TestReplay(t *testing.T) {
	was, _ := program(func(*Program) {})
	seconds := []time.Duration{0, 10 * time.Second, 20 * time.Second, 30 * time.Second, 90 * time.Second, 100 * time.Second}
	records := story(was.Program, seconds, []int64{0, 300, 2, 0, 0, 0})
	for _, c := range []struct {
		name string
		edit func(*Program)
		want string
	}{
		{"the same file", func(*Program) {}, ""},
		{"fewer", func(p *Program) { p.Min, p.Max = 2, 2 }, "10s-20s: 4/0 became 2/0 ok\n20s-30s: 2/0 became 2/2 ok\n30s-1m30s: 0/0 became 0/2 empty\n"},
		{"by depth", func(p *Program) { p.Min, p.Max, p.PerInstance = 1, 8, 50 },
			"0s-10s: 0/0 became 1/0 ok\n10s-20s: 4/0 became 6/0 ok\n20s-30s: 2/0 became 1/0 ok\n30s-1m30s: 0/0 became 1/0 ok\n1m30s-end: 0/4 became 1/3 ok\n"},
		{"a shorter idle_timeout", func(p *Program) { p.IdleTimeout = 20 * time.Second }, "50s-1m30s: 0/0 became 0/4 empty\n"},
		{"always", func(p *Program) { p.OnMessages = false },
			"0s-10s: 0/0 became 4/0 ok\n20s-30s: 2/0 became 4/0 ok\n30s-1m30s: 0/0 became 4/0 ok\n1m30s-end: 0/4 became 4/0 ok\n"},
	} {
		_, of := program(c.edit)
		if got := texts(Replay(records, of)); got != c.want {
			t.Errorf("%s:\n%sexpected\n%s", c.name, got, c.want)
		}
	}
}

func TestReplayTellsWhatItAssumes(t *testing.T) {
	was, _ := program(func(*Program) {})
	records := story(was.Program, []time.Duration{0}, []int64{5})
	_, of := program(func(p *Program) {
		p.Requires, p.Queue = []string{"broker", "db"}, "mails on broker"
	})
	r := Replay(records, of)
	text := strings.Join(r.Assumed, "; ")
	for _, want := range []string{"db answered all the time", "orders on broker"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q does not say %q", text, want)
		}
	}
	if len(r.Differences) != 0 {
		t.Errorf("differences from what nobody knows:\n%s", texts(r))
	}
	r = Replay(records, func(string) (Program, bool) { return Program{}, false })
	if len(r.Gone) != 1 || len(r.Differences) != 0 || r.Consumers != 1 {
		t.Errorf("%+v", r)
	}
	if r := Replay(nil, of); r.Records != 0 || len(r.Differences) != 0 {
		t.Errorf("%+v", r)
	}
}
