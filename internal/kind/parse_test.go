package kind

import (
	"fmt"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// cpuTime is what this process has used; unlike the clock it does not depend on
// what else the machine does.
func cpuTime(t *testing.T) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestParseHostileInput feeds what is meant to exhaust a parser, at the largest
// size that is accepted.
func TestParseHostileInput(t *testing.T) {
	repeat := func(s string) string { return strings.Repeat(s, hostileSize/len(s)) }
	nest := func(open string) string {
		var b strings.Builder
		for i := 0; b.Len() < hostileSize-2000; i++ {
			fmt.Fprintf(&b, "%*s%s\n", i, "", open)
		}
		return b.String()
	}
	bomb := "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
	for i := 1; i < 20; i++ {
		bomb += fmt.Sprintf("a%d: &a%d [%s*a%d]\n", i, i, strings.Repeat(fmt.Sprintf("*a%d,", i-1), 9), i-1)
	}
	wide := "a: &a [" + strings.Repeat("x,", 1000) + "x]\nb: [" + strings.Repeat("*a,", 100_000) + "*a]\n"
	merges := "a0: &a0 {k: v}\n"
	for i := 1; i < 3000; i++ {
		merges += fmt.Sprintf("a%d: &a%d {<<: *a%d, k%d: v}\n", i, i, i-1, i)
	}
	for name, text := range map[string]string{
		"alias bomb": bomb, "wide bomb": wide, "merge chain": merges,
		"open lists": repeat("["), "open maps": repeat("{"), "closed lists": strings.Repeat("[", 5000) + strings.Repeat("]", 5000), "maps of maps": repeat("{a: "),
		"dashes": repeat("- "), "questions": repeat("? "), "colons": repeat(": "), "nested maps": nest("a:"), "nested dashes": nest("-"),
		"anchors": repeat("&a "), "aliases": repeat("*a "), "tags": repeat("! "), "bangs": repeat("!"), "commas": "[" + repeat(","),
		"comments": repeat("#\n"), "spaces": repeat(" "), "line ends": repeat("\n"), "carriage returns": repeat("\r"), "documents": repeat("---\n"), "dots": repeat("...\n"),
		"one word": repeat("x"), "one string": "'" + repeat("x")[2:] + "'", "escapes": "\"" + repeat("\\n")[4:] + "\"", "open string": "\"" + repeat("x")[2:],
		"list": repeat("- x\n"), "flow list": "[" + repeat("x,")[2:] + "]", "keys": repeat("a: b\n"), "literal": "a: |\n" + repeat(" x\n")[10:], "percent": repeat("%YAML 1.1\n"),
		"variables": "a: '" + repeat("${A:-x}")[100:] + "'", "half variables": "a: '" + repeat("${")[100:] + "'", "dollars": "a: '" + repeat("$")[100:] + "'",
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			started := cpuTime(t)
			n, problems := Parse("f.yaml", []byte(text), nil)
			took := cpuTime(t) - started
			runtime.ReadMemStats(&after)
			if used := (after.TotalAlloc - before.TotalAlloc) >> 20; used > 100 || took > time.Second {
				t.Errorf("took %s and %d MiB (%d problems, %v)", took, used, len(problems), n != nil)
			}
			for _, p := range problems[:min(len(problems), 3)] {
				if len(p.String()) > 1000 {
					t.Errorf("a message of %d bytes", len(p.String()))
				}
			}
		})
	}
}
