package main

import (
	"testing"
	"time"
)

func TestHumane(t *testing.T) {
	const day = 24 * time.Hour
	for d, want := range map[time.Duration]string{
		-time.Second: "0s", 0: "0s", 40 * time.Millisecond: "0s", 400 * time.Millisecond: "0.4s", time.Second: "1s",
		1500 * time.Millisecond: "1.5s", 9949 * time.Millisecond: "9.9s", 9999 * time.Millisecond: "9s", 59 * time.Second: "59s",
		time.Minute: "1m", 192 * time.Second: "3m12s", time.Hour: "1h", 90*time.Minute + 30*time.Second: "1h30m", day: "1d", 52 * time.Hour: "2d4h",
		400*day + 5*time.Hour: "400d",
	} {
		if got := humane(d); got != want {
			t.Errorf("humane(%v) = %s, want %s", d, got, want)
		}
	}
}

func TestCount(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0", 99999: "99999", 100000: "100k", 123456: "123k", 999499: "999k", 999999: "1.0M", 4_600_000: "4.6M", 12_000_000: "12M", 999_999_999_999: "1.0T", -1: "-1",
	} {
		if got := count(n); got != want {
			t.Errorf("count(%d) = %s, want %s", n, got, want)
		}
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0B", 512: "512B", 1023: "1023B", 1024: "1.0KiB", 64 << 20: "64MiB", 3 << 29: "1.5GiB", 1<<30 - 1: "1.0GiB", 5 << 50: "5120TiB",
	} {
		if got := size(n); got != want {
			t.Errorf("size(%d) = %s, want %s", n, got, want)
		}
	}
}

func TestEscape(t *testing.T) {
	for text, want := range map[string]string{
		"plain naïve 注文 👩‍💻": "plain naïve 注文 👩‍💻",
		"\x1b[2J":            `\x1b[2J`,
		"a\u0085b\u009b":     `a\x85b\x9b`,
		"\u202eabc":          `\u202eabc`,
		"\xff\xfe":           `\xff\xfe`,
		"tab\tnl\n":          `tab	nl\x0a`,
	} {
		if got := escape(text, "\t"); got != want {
			t.Errorf("escape(%q) = %q, want %q", text, got, want)
		}
	}
	if got := oneLine(" a\n\tb  c\r\n"); got != "a b c" {
		t.Errorf("oneLine = %q", got)
	}
}

func TestPrinted(t *testing.T) {
	for text, want := range map[string][2]string{
		"plain\ttext":                         {"plain\ttext", "plain\ttext"},
		"\x1b[1;31mred\x1b[0m \x1b[2Jcleared": {`red \x1b[2Jcleared`, "\x1b[1;31mred\x1b[0m \\x1b[2Jcleared\x1b[0m"},
	} {
		if got := [2]string{printed(text, false), printed(text, true)}; got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
