package schedule

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// fires lists every fire in a span of local time, as "15:04:05-0700" without
// seconds where they are zero.
func fires(t testing.TB, text, zoneName, from, until string) (list []string) {
	t.Helper()
	z := zone(t, zoneName)
	table, err := ParseTimetable(text, z)
	if err != nil {
		t.Fatal(err)
	}
	end := at(t, until, z)
	for f := table.Next(at(t, from, z).Add(-1)); !f.At.IsZero() && f.At.Before(end); f = table.Next(f.At) {
		if len(list) > 500 {
			t.Fatalf("%q in %s does not end", text, zoneName)
		}
		layout := "15:04-0700"
		if f.At.Second() != 0 {
			layout = "15:04:05-0700"
		}
		mark := ""
		if f.Note != "" {
			mark = "*"
		}
		list = append(list, f.At.Format(layout)+mark)
	}
	return list
}

// TestClockChanges was written by hand from what cronie does. A star marks a fire
// that a change of the clock has to do with.
func TestClockChanges(t *testing.T) {
	const none = ""
	for _, c := range []struct{ zone, text, from, until, want string }{
		// Put forward from 02:00 to 03:00.
		{"Europe/Berlin", "30 2 * * *", "2026-03-29 00:00:00", "2026-03-30 00:00:00", "03:00+0200*"},
		{"Europe/Berlin", "0 2 * * *", "2026-03-29 00:00:00", "2026-03-30 00:00:00", "03:00+0200*"},
		{"Europe/Berlin", "0,30 2 * * *", "2026-03-29 00:00:00", "2026-03-30 00:00:00", "03:00+0200*"},
		{"Europe/Berlin", "0 3 * * *", "2026-03-29 00:00:00", "2026-03-30 00:00:00", "03:00+0200"},
		{"Europe/Berlin", "0 2,3 * * *", "2026-03-29 00:00:00", "2026-03-30 00:00:00", "03:00+0200*"},
		{"Europe/Berlin", "15 30 2 * * *", "2026-03-29 00:00:00", "2026-03-30 00:00:00", "03:00+0200*"},
		{"Europe/Berlin", "30 2 29 3 *", "2026-01-01 00:00:00", "2026-12-31 00:00:00", "03:00+0200*"},
		{"Europe/Berlin", "30 2 * * sun", "2026-03-29 00:00:00", "2026-03-30 00:00:00", "03:00+0200*"},
		{"Europe/Berlin", "30 2 * * mon", "2026-03-29 00:00:00", "2026-03-30 00:00:00", none},
		{"Europe/Berlin", "*/15 2 * * *", "2026-03-29 00:00:00", "2026-03-30 00:00:00", none},
		{"Europe/Berlin", "30 * * * *", "2026-03-29 01:00:00", "2026-03-29 05:00:00", "01:30+0100 03:30+0200 04:30+0200"},
		{"Europe/Berlin", "*/30 * * * *", "2026-03-29 01:00:00", "2026-03-29 04:00:00", "01:00+0100 01:30+0100 03:00+0200 03:30+0200"},
		{"Europe/Berlin", "@hourly", "2026-03-29 01:00:00", "2026-03-29 04:00:00", "01:00+0100 03:00+0200"},
		{"Europe/Berlin", "@every 30m", "2026-03-29 01:00:00", "2026-03-29 04:00:00", "01:00+0100 01:30+0100 03:00+0200 03:30+0200"},
		// Put back from 03:00 to 02:00.
		{"Europe/Berlin", "30 2 * * *", "2026-10-25 00:00:00", "2026-10-26 00:00:00", "02:30+0200*"},
		{"Europe/Berlin", "0 3 * * *", "2026-10-25 00:00:00", "2026-10-26 00:00:00", "03:00+0100"},
		{"Europe/Berlin", "0,30 2,3 * * *", "2026-10-25 00:00:00", "2026-10-26 00:00:00", "02:00+0200* 02:30+0200* 03:00+0100 03:30+0100"},
		{"Europe/Berlin", "*/30 2 * * *", "2026-10-25 00:00:00", "2026-10-26 00:00:00", "02:00+0200 02:30+0200 02:00+0100 02:30+0100"},
		{"Europe/Berlin", "@hourly", "2026-10-25 01:00:00", "2026-10-25 04:00:00", "01:00+0200 02:00+0200 02:00+0100 03:00+0100"},
		{"Europe/Berlin", "@daily", "2026-10-25 00:00:00", "2026-10-27 00:00:00", "00:00+0200 00:00+0100"},
		{"Europe/Berlin", "30 2 1-31/2 * *", "2026-10-25 00:00:00", "2026-10-26 00:00:00", "02:30+0200*"},

		{"America/New_York", "30 2 * * *", "2026-03-08 00:00:00", "2026-03-09 00:00:00", "03:00-0400*"},
		{"America/New_York", "30 1 * * *", "2026-11-01 00:00:00", "2026-11-02 00:00:00", "01:30-0400*"},
		{"America/New_York", "*/30 1 * * *", "2026-11-01 00:00:00", "2026-11-02 00:00:00", "01:00-0400 01:30-0400 01:00-0500 01:30-0500"},
		{"America/New_York", "30 2 * * *", "2006-04-02 00:00:00", "2006-04-03 00:00:00", "03:00-0400*"},    // until 2006 in April
		{"America/New_York", "30 2 * * *", "1974-01-06 00:00:00", "1974-01-07 00:00:00", "03:00-0400*"},    // the oil crisis
		{"America/New_York", "0 12 * * *", "1883-11-18 00:00:00", "1883-11-19 00:00:00", "12:00-0456*"},    // standard time begins: 3 min 58 s
		{"Australia/Lord_Howe", "15 2 * * *", "2026-10-04 00:00:00", "2026-10-05 00:00:00", "02:30+1100*"}, // by half an hour
		{"Australia/Lord_Howe", "45 1 * * *", "2026-04-05 00:00:00", "2026-04-06 00:00:00", "01:45+1100*"}, // 01:30-02:00 comes twice
		{"Australia/Lord_Howe", "15 1 * * *", "2026-04-05 00:00:00", "2026-04-06 00:00:00", "01:15+1100"},  // this does not
		{"Australia/Lord_Howe", "*/15 1 * * *", "2026-04-05 01:00:00", "2026-04-05 03:00:00", "01:00+1100 01:15+1100 01:30+1100 01:45+1100 01:30+1030 01:45+1030"},
		{"Australia/Lord_Howe", "0 * * * *", "2026-10-04 01:00:00", "2026-10-04 04:00:00", "01:00+1030 03:00+1100"},           // 02:00 does not exist
		{"America/Sao_Paulo", "0 0 * * *", "2018-11-03 00:00:00", "2018-11-06 00:00:00", "00:00-0300 01:00-0200* 00:00-0200"}, // midnight does not exist
		{"America/Sao_Paulo", "@weekly", "2018-11-04 00:00:00", "2018-11-05 00:00:00", "01:00-0200*"},                         // nor that of a Sunday
		{"America/Sao_Paulo", "30 23 * * *", "2018-02-17 00:00:00", "2018-02-18 12:00:00", "23:30-0200*"},                     // the day before comes again
		{"America/Sao_Paulo", "0 0 * * *", "2018-02-17 00:00:00", "2018-02-19 00:00:00", "00:00-0200 00:00-0300"},
		{"America/Sao_Paulo", "0 0 * * *", "2026-11-01 00:00:00", "2026-11-03 00:00:00", "00:00-0300 00:00-0300"}, // abolished in 2019
		{"Asia/Beirut", "0 0 * * *", "2026-03-29 00:00:00", "2026-03-30 00:00:00", "01:00+0300*"},
		{"Asia/Beirut", "*/20 0 * * *", "2026-03-29 00:00:00", "2026-03-30 00:00:00", none},
		{"Africa/Casablanca", "30 2 * * *", "2026-02-15 00:00:00", "2026-02-16 00:00:00", "02:30+0100*"}, // back for Ramadan
		{"Africa/Casablanca", "30 2 * * *", "2026-03-22 00:00:00", "2026-03-23 00:00:00", "03:00+0100*"},
		{"Asia/Kolkata", "30 2 * * *", "2026-03-29 00:00:00", "2026-03-31 00:00:00", "02:30+0530 02:30+0530"},
		{"UTC", "30 2 29 2 *", "2023-01-01 00:00:00", "2033-01-01 00:00:00", "02:30+0000 02:30+0000 02:30+0000"},
		{"UTC", "@every 7h", "1970-01-01 00:00:00", "1970-01-02 00:00:00", "00:00+0000 07:00+0000 14:00+0000 21:00+0000"},
		// More than three hours: the country skips a day.
		{"Pacific/Apia", "0 4 * * *", "2011-12-29 00:00:00", "2012-01-01 00:00:00", "04:00-1000 04:00+1400"},
		{"Pacific/Kwajalein", "0 4 * * *", "1993-08-20 00:00:00", "1993-08-23 00:00:00", "04:00-1200 04:00+1200"},
	} {
		got := fires(t, c.text, c.zone, c.from, c.until)
		if want := strings.Fields(c.want); !slices.Equal(got, want) {
			t.Errorf("%s %q from %s: got %v, want %v", c.zone, c.text, c.from, got, want)
		}
	}
}

var years = flag.Int("years", 15, "before 2030, of every fixed time in every zone")

// TestFixedTimesComeOncePerDay follows all zones through years: a moment of the
// day comes once on every date, whatever the clocks do.
func TestFixedTimesComeOncePerDay(t *testing.T) {
	for _, name := range []string{"Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Sao_Paulo", "Asia/Beirut", "Africa/Casablanca", "Africa/Cairo", "Asia/Kathmandu", "America/St_Johns", "Antarctica/Troll"} {
		z := zone(t, name)
		for _, text := range []string{"0 0 * * *", "30 0 * * *", "30 1 * * *", "45 1 * * *", "30 2 * * *", "5 3 * * *", "30 23 * * *"} {
			table, err := ParseTimetable(text, z)
			if err != nil {
				t.Fatal(err)
			}
			day := at(t, "2030-01-01 23:59:00", z).AddDate(-*years, 0, 0)
			f := table.Next(day)
			for range *years * 365 {
				day = day.AddDate(0, 0, 1)
				if f.At.Format(time.DateOnly) != day.Format(time.DateOnly) {
					t.Fatalf("%s %q: fires at %s, where that of %s is due", name, text, f.At, day.Format(time.DateOnly))
				}
				f = table.Next(f.At)
			}
		}
	}
}

// TestWildcardsFollowTheClock compares with going through a change second by
// second: an expression with a star fires exactly where the clock shows it.
func TestWildcardsFollowTheClock(t *testing.T) {
	for name, days := range map[string][]string{"Europe/Berlin": {"2026-03-28", "2026-10-24"}, "Australia/Lord_Howe": {"2026-04-04", "2026-10-03"}, "America/Sao_Paulo": {"2018-11-03", "2018-02-17"}} {
		for _, day := range days {
			for _, text := range []string{"*/7 1-3 * * *", "30 * * * *", "* 0,2,23 * * *", "0 */2 * * sun"} {
				z := zone(t, name)
				table, err := ParseTimetable(text, z)
				if err != nil {
					t.Fatal(err)
				}
				start := at(t, day+" 12:00:00", z)
				next := table.Next(start)
				for now := start.Add(time.Minute); now.Before(start.AddDate(0, 0, 2)); now = now.Add(time.Minute) {
					s := &table.cron.spec
					shown := has(s.Minute, now.Minute()) && has(s.Hour, now.Hour()) && (&Window{cron: table.cron}).dayOpen(now)
					if shown != next.At.Equal(now) {
						t.Fatalf("%s %q: shown %v at %s, next fire %s", name, text, shown, now, next.At)
					}
					if shown {
						next = table.Next(next.At)
					}
				}
			}
		}
	}
}

func TestParseTimetableRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"@every": "needs one duration", "@every 10": "needs one duration", "@every1s": "needs one duration", "@every 1s 2s": "needs one duration",
		"@every 500ms": "whole number of seconds", "@every 0s": "whole number", "@every -5s": "whole number", "@every 1500ms": "whole number",
		"TZ=0": "use the key timezone", "0 0 30 2 *": "never fires", "@reboot": "unrecognized", "": "is empty", "0 0 31 4,6,9,11 *": "never fires",
	} {
		if v, err := ParseTimetable(text, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseTimetable(%q) = %v, %v, want an error with %q", text, v, err, want)
		}
	}
}

// FuzzTimetable looks for panics, and for schedules that do not go on.
func FuzzTimetable(f *testing.F) {
	for _, s := range []string{"* * * * *", "30 2 * * *", "TZ=0", "@every 1s", "@every 2562047h47m16s", "@daily", "0 0 31 2 *", "0 0 29 2 mon", "*/0 * * * *", "1-7/2 * * * 7", "? ? ? ? ?", "0,30 0 2 * * *"} {
		f.Add(s, int64(1_774_746_000))
	}
	zones := []*time.Location{zone(f, "Europe/Berlin"), zone(f, "Australia/Lord_Howe"), zone(f, "America/Sao_Paulo"), time.UTC}
	f.Fuzz(func(t *testing.T, text string, unix int64) {
		now := time.Unix(unix%4_000_000_000, 0)
		for _, z := range zones {
			table, err := ParseTimetable(text, z)
			if err != nil {
				continue
			}
			for range 3 {
				next := table.Next(now).At
				if !next.IsZero() && !next.After(now) {
					t.Fatalf("%q: %s does not go on from %s", text, next, now)
				}
				if next.IsZero() {
					break
				}
				now = next
			}
		}
	})
}

func BenchmarkTimetable(b *testing.B) {
	for _, text := range []string{"*/5 * * * *", "30 2 * * *", "0 0 29 2 *", "@every 90s"} {
		table, _ := ParseTimetable(text, zone(b, "Europe/Berlin"))
		b.Run(fmt.Sprintf("%q", text), func(b *testing.B) {
			for b.Loop() {
				table.Next(time.Unix(1_770_000_000, 0))
			}
		})
	}
}
