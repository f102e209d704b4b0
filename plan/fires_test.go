package plan

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"qsuper/schedule"
	"qsuper/slot"
)

func TestFires(t *testing.T) {
	at := func(text string) time.Time {
		v, err := time.Parse("15:04:05", text)
		if err != nil {
			t.Fatal(err)
		}
		return time.Date(2026, 3, 1, v.Hour(), v.Minute(), v.Second(), 0, time.UTC)
	}
	paused := slot.Reason{Code: slot.Paused}
	for _, c := range []struct {
		name      string
		job       Job
		upto, now string
		open      int
		shut      slot.Reason
		want      []string // + starts, - is skipped; how many it is about; for what
	}{
		{name: "nothing is due", job: Job{}, upto: "10:00:00", now: "10:00:59"},
		{name: "one", job: Job{}, upto: "10:00:00", now: "10:01:00", want: []string{"+10:01:00 1"}},
		{name: "a little late", job: Job{}, upto: "10:00:00", now: "10:01:59", want: []string{"+10:01:00 1"}},
		{name: "missed, and one on time", job: Job{RunOnce: true}, upto: "10:00:00", now: "10:30:10", want: []string{"-10:29:00 29 missed", "+10:30:00 1"}},
		{name: "missed, and left out", job: Job{}, upto: "10:00:00", now: "10:30:10", want: []string{"-10:29:00 29 missed", "+10:30:00 1"}},
		{name: "two at one look", job: Job{}, upto: "10:00:00", now: "10:02:30", want: []string{"-10:01:00 1 missed", "+10:02:00 1"}},
		{name: "while it runs", job: Job{Overlap: OverlapSkip}, upto: "10:00:00", now: "10:01:00", open: 1, want: []string{"-10:01:00 1 overlap"}},
		{name: "one waits", job: Job{Overlap: OverlapQueue}, upto: "10:00:00", now: "10:02:00", open: 1, want: []string{"+10:01:00 1", "-10:02:00 1 overlap"}},
		{name: "two at once", job: Job{Overlap: OverlapAllow, Slots: 2}, upto: "10:00:00", now: "10:02:00", open: 1, want: []string{"+10:01:00 1", "-10:02:00 1 overlap"}},
		{name: "another takes its place", job: Job{Overlap: OverlapReplace}, upto: "10:00:00", now: "10:01:00", open: 1, want: []string{"+10:01:00 1"}},
		{name: "paused", job: Job{RunOnce: true}, upto: "10:00:00", now: "10:05:00", shut: paused, want: []string{"-10:04:00 4 paused", "-10:05:00 1 paused"}},
		{name: "not yet, for its jitter", job: Job{Jitter: 30 * time.Second}, upto: "10:00:00", now: "10:01:29"},
		{name: "with its jitter", job: Job{Jitter: 30 * time.Second}, upto: "10:00:00", now: "10:01:30", want: []string{"+10:01:00 1"}},
		{name: "the clock was put back", job: Job{RunOnce: true}, upto: "10:00:00", now: "09:00:00"},
	} {
		c.job.Table, _ = schedule.ParseTimetable("* * * * *", time.UTC)
		var got []string
		for _, f := range c.job.Fires(at(c.upto), at(c.now), c.open, c.shut) {
			sign, why := "-", " "+string(f.Why.Code)
			if f.Start {
				sign, why = "+", ""
			}
			got = append(got, fmt.Sprintf("%s%s %d%s", sign, f.At.Format("15:04:05"), f.Count, why))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

// TestYearsOfMissedFires are not gone through one by one.
func TestYearsOfMissedFires(t *testing.T) {
	now := time.Date(2026, 3, 1, 10, 0, 30, 0, time.UTC)
	for text, last := range map[string]string{
		"* * * * * *": "2026-03-01 10:00:29", "*/5 * * * *": "2026-03-01 09:55:00", "0 4 * * *": "2026-03-01 04:00:00", "0 0 29 2 *": "2024-02-29 00:00:00",
		"@every 1s": "2026-03-01 10:00:29",
	} {
		table, err := schedule.ParseTimetable(text, time.UTC)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		list := Job{Table: table, RunOnce: true, Overlap: OverlapSkip}.Fires(now.AddDate(-30, 0, 0), now, 0, slot.Reason{})
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("%s: took %s", text, took)
		}
		if got := list[0].At.Format(time.DateTime); got != last {
			t.Errorf("%s: the last that was missed is %s, want %s", text, got, last)
		}
	}
}
