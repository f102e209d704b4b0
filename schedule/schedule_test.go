package schedule

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	z, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func at(t testing.TB, text string, z *time.Location) time.Time {
	t.Helper()
	v, err := time.ParseInLocation("2006-01-02 15:04:05", text, z)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestParseCron(t *testing.T) {
	for _, c := range []struct{ text, from, next string }{
		{"*/15 * * * *", "2026-03-01 10:01:00", "2026-03-01 10:15:00"},
		{"  0  4\t* * * ", "2026-03-01 10:01:00", "2026-03-02 04:00:00"},
		{"30 */10 * * * *", "2026-03-01 10:01:00", "2026-03-01 10:10:30"},
		{"@daily", "2026-03-01 10:01:00", "2026-03-02 00:00:00"},
		{"@hourly", "2026-03-01 10:01:00", "2026-03-01 11:00:00"},
		{"0 0 * * 7", "2026-03-02 00:00:00", "2026-03-08 00:00:00"},
		{"0 0 * * sat-sun", "2026-03-07 00:00:00", "2026-03-08 00:00:00"},
		{"0 0 * * 1-7/2", "2026-03-06 00:00:00", "2026-03-08 00:00:00"},
		{"0 0 * * MON,7", "2026-03-07 00:00:00", "2026-03-08 00:00:00"},
		{"0 0 * * 7-7", "2026-03-02 00:00:00", "2026-03-08 00:00:00"},
		{"0 0 * * 0-7", "2026-03-02 00:00:00", "2026-03-03 00:00:00"},
		{"0 0 29 2 *", "2096-03-01 00:00:00", "2104-02-29 00:00:00"},
		{"0 0 29 feb *", "2026-03-01 00:00:00", "2028-02-29 00:00:00"},
	} {
		got, err := ParseCron(c.text, time.UTC)
		if err != nil {
			t.Errorf("ParseCron(%q): %v", c.text, err)
			continue
		}
		if next := got.Next(at(t, c.from, time.UTC)); !next.Equal(at(t, c.next, time.UTC)) {
			t.Errorf("%q after %s: got %s, want %s", c.text, c.from, next, c.next)
		}
	}
}

func TestParseCronRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                             "cron expression is empty",
		" \t ":                         "cron expression is empty",
		"TZ=0":                         "use the key timezone",
		"CRON_TZ=Europe/Berlin":        "use the key timezone",
		"TZ=UTC * * * * *":             "use the key timezone",
		"* * * *":                      "has 4 fields; expected 5",
		"* * * * * * *":                "has 7 fields; expected 5",
		"61 * * * *":                   "above maximum (59)",
		"*/0 * * * *":                  "step of range should be a positive number",
		"*-5 * * * *":                  "is not a range",
		", * * * *":                    "a field is empty",
		", , , , , ,":                  "a field is empty",
		"a * * * *":                    "failed to parse int",
		"0 0 31 2 *":                   "never fires",
		"0 0 30 feb *":                 "never fires",
		"@reboot":                      "unrecognized descriptor",
		"@daily x":                     "unknown schedule",
		"@":                            "unrecognized descriptor",
		"0 0 * * mon-7/0":              "not a positive number",
		"0 0 * * x-7":                  "not a weekday",
		"0 0 * * 8":                    "above maximum (6)",
		strings.Repeat("1,", 600):      "longer than 1000",
		"99999999999999999999 * * * *": "failed to parse int",
	} {
		c, err := ParseCron(text, time.UTC)
		if err == nil {
			t.Errorf("ParseCron(%q) = %v, want an error with %q", text, c, want)
		} else if !strings.Contains(err.Error(), want) {
			t.Errorf("ParseCron(%q): %v, want %q in it", text, err, want)
		}
	}
}

func TestInterval(t *testing.T) {
	now := at(t, "2026-03-01 10:01:00", time.UTC)
	for text, want := range map[string]time.Duration{
		"1s": time.Second, "100ms": 100 * time.Millisecond, "@every 250ms": 250 * time.Millisecond,
		"@every 1h30m": 90 * time.Minute, "1h": time.Hour, " 2s ": 2 * time.Second,
		"*/10 * * * * *": 10 * time.Second, "@hourly": 59 * time.Minute,
	} {
		i, err := ParseInterval(text)
		if err != nil {
			t.Errorf("ParseInterval(%q): %v", text, err)
		} else if got := i.Next(now).Sub(now); got != want {
			t.Errorf("%q: next in %s, want %s", text, got, want)
		}
	}
	for text, want := range map[string]string{
		"": "expected a duration", "5": "with a unit", "0": "too short", "0s": "too short", "-1s": "too short", "1ms": "at least 10ms",
		"@every": "needs one duration", "@every 1s 2s": "needs one duration", "@every @every 1s": "needs one duration", "@sometimes": "unrecognized", "1 s": "has 2 fields",
		"fast": "with a unit", "TZ=0": "with a unit",
	} {
		if i, err := ParseInterval(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseInterval(%q) = %v, %v, want an error with %q", text, i, err, want)
		}
	}
	if got := (Interval{}).Next(now).Sub(now); got != time.Second {
		t.Errorf("zero interval: next in %s", got)
	}
	if a, b := Every(time.Second), Every(time.Minute); a.Equal(b) || !a.Equal(a) || a.Duration() != time.Second {
		t.Error("Equal or Duration is wrong")
	}
}

func TestWindow(t *testing.T) {
	w, err := ParseWindow("* 6-22 * * mon-sat", zone(t, "Europe/Berlin"))
	if err != nil {
		t.Fatal(err)
	}
	if got := w.String(); got != "* 6-22 * * mon-sat Europe/Berlin" {
		t.Errorf("String() = %q", got)
	}
	for _, c := range []struct {
		now    string // UTC
		open   bool
		change string // UTC
	}{
		{"2026-03-06 12:00:00", true, "2026-03-06 22:00:00"},  // Friday noon; Berlin is UTC+1
		{"2026-03-07 21:59:59", true, "2026-03-07 22:00:00"},  // Saturday, 22:59:59
		{"2026-03-07 22:00:00", false, "2026-03-09 05:00:00"}, // closed until Monday
		{"2026-03-09 05:00:00", true, "2026-03-09 22:00:00"},
		{"2026-06-09 04:00:00", true, "2026-06-09 21:00:00"}, // summer time
	} {
		now := at(t, c.now, time.UTC)
		if got := w.Open(now); got != c.open {
			t.Errorf("Open(%s) = %v", c.now, got)
		}
		if got := w.NextChange(now); !got.Equal(at(t, c.change, time.UTC)) {
			t.Errorf("NextChange(%s) = %s, want %s", c.now, got, c.change)
		}
	}
	for _, text := range []string{"@daily", "* 6-22", "* 25 * * *", "", "0 0 31 2 *"} {
		if _, err := ParseWindow(text, nil); err == nil {
			t.Errorf("ParseWindow(%q) is accepted", text)
		}
	}
	if a, _ := ParseWindow("* 1 * * *", nil); a.Equal(w) || a.Equal(nil) || !a.Equal(a) {
		t.Error("Equal is wrong")
	}
}

func TestWindowThatNeverCloses(t *testing.T) {
	for _, text := range []string{"* * * * *", "* * * * * *", "0-59 0-23 1-31 1-12 *", "* * 1-31 * mon", "*/1 * ? * ?"} {
		w, err := ParseWindow(text, time.UTC)
		if err != nil {
			t.Fatal(err)
		}
		if now := time.Unix(1e9, 5); !w.Open(now) || !w.NextChange(now).IsZero() {
			t.Errorf("%q: open %v, next change %s", text, w.Open(now), w.NextChange(now))
		}
	}
}

// TestNextChangeAgainstEveryMinute walks around clock changes minute by minute
// and compares NextChange with what Open says.
func TestNextChangeAgainstEveryMinute(t *testing.T) {
	starts := map[string][]string{ // hours before a clock change, local dates
		"Europe/Berlin":       {"2026-03-28", "2026-10-24"},
		"America/Sao_Paulo":   {"2018-11-03", "2018-02-17"}, // midnight does not exist
		"Australia/Lord_Howe": {"2026-04-04", "2026-10-03"}, // half an hour
		"Asia/Kathmandu":      {"2026-01-01"},               // UTC+5:45
		"Africa/Casablanca":   {"2026-02-14"},
		"UTC":                 {"2026-12-31"},
	}
	expressions := []string{"* 6-22 * * mon-sat", "* 2 * * *", "* 0 * * *", "*/7 1-3 * * *", "0-29 2 * * *", "30-59 1,2 * * *", "* * * * sun", "* * 1 * *", "* 23,0 * * *", "* * 1-15 * 1-5", "10 2 * * *"}
	for name, days := range starts {
		z := zone(t, name)
		for _, day := range days {
			for _, text := range expressions {
				compareMinutes(t, text, at(t, day+" 12:00:00", z))
			}
		}
	}
}

func compareMinutes(t *testing.T, text string, start time.Time) {
	w, err := ParseWindow(text, start.Location())
	if err != nil {
		t.Fatal(err)
	}
	const minutes = 3 * 24 * 60
	var next time.Time // the next change, known from walking backwards
	for i := minutes; i >= 0; i-- {
		now := start.Add(time.Duration(i) * time.Minute)
		if w.Open(now) != w.Open(now.Add(time.Minute)) {
			next = now.Add(time.Minute)
		}
		if next.IsZero() || i%13 != 0 {
			continue
		}
		if got := w.NextChange(now.Add(17 * time.Second)); !got.Equal(next) {
			t.Errorf("%s: %q at %s: next change %s, want %s", start.Location(), text, now, got, next)
			return
		}
	}
}

func TestWindowWithSeconds(t *testing.T) {
	w, err := ParseWindow("30-39 * * * * *", time.UTC)
	if err != nil {
		t.Fatal(err)
	}
	now := at(t, "2026-03-06 12:00:31", time.UTC)
	if !w.Open(now) || !w.NextChange(now).Equal(now.Add(9*time.Second)) {
		t.Errorf("open %v, next change %s", w.Open(now), w.NextChange(now))
	}
	now = now.Add(20 * time.Second)
	if w.Open(now) || !w.NextChange(now).Equal(now.Add(39*time.Second)) {
		t.Errorf("open %v, next change %s", w.Open(now), w.NextChange(now))
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"* * * * *", "TZ=0", "CRON_TZ=", "@every 1s", "@daily", "0 0 31 2 *", "*/0 * * * *", "1-7/2 * * * 7", "\x00", "- - - - -", "5/ * * * *", "* 6-22 * * mon-sat"} {
		f.Add(s)
	}
	now := time.Unix(1_770_000_000, 0)
	f.Fuzz(func(t *testing.T, text string) {
		if i, err := ParseInterval(text); err == nil && !i.Next(now).After(now) {
			t.Errorf("interval %q does not go on", text)
		}
		if w, err := ParseWindow(text, time.UTC); err == nil {
			if next := w.NextChange(now); !next.IsZero() && (!next.After(now) || w.Open(next) == w.Open(now)) {
				t.Errorf("window %q: no change at %s", text, next)
			}
		}
	})
}

func BenchmarkNextChange(b *testing.B) {
	for _, text := range []string{"* 6-22 * * mon-sat", "* * 29 2 *", "* * * 1-11 *"} {
		w, _ := ParseWindow(text, time.UTC)
		now := time.Unix(1_770_000_000, 0)
		b.Run(fmt.Sprintf("%q", text), func(b *testing.B) {
			for b.Loop() {
				w.NextChange(now)
			}
		})
	}
}
