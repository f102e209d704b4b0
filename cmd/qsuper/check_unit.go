package main

import (
	"context"
	"fmt"
	"math"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"qsuper/config"
)

// askSystemd bounds the question about the installed unit.
const askSystemd = 2 * time.Second

// shownUnit is what systemd says of the service; "" where there is no systemd, or it
// has no such service.
func shownUnit(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, askSystemd)
	defer cancel()
	out, err := exec.CommandContext(ctx, "systemctl", "show", serviceName, "--property=ExecStart,TimeoutStopUSec,FileDescriptorStoreMax,User,SuccessExitStatus").Output()
	if err != nil {
		return ""
	}
	return string(out)
}

// writeUnitAgain is what helps against whatever is wrong with the unit.
const writeUnitAgain = `write the unit again: qsuper unit >/etc/systemd/system/qsuper.service && systemctl daemon-reload`

// unitProblems warns when the service that runs this file gives a stop less time than
// a consumer may take, or does not hold its pipes.
func unitProblems(shown string, cfg *config.Config) []config.Problem {
	if !unitIsFor(shown, cfg.Path) {
		return nil
	}
	problems := append(unitTooShort(property(shown, "TimeoutStopUSec"), cfg), unitHoldsTooFew(property(shown, "FileDescriptorStoreMax"), cfg)...)
	return append(problems, unitFailsAfterKill(shown, cfg)...)
}

// property is one line of what systemctl has shown; "" if it is not there.
func property(shown, name string) string {
	for line := range strings.Lines(shown) {
		if value, ok := strings.CutPrefix(line, name+"="); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func unitHoldsTooFew(text string, cfg *config.Config) []config.Problem {
	holds, err := strconv.Atoi(text)
	need := pipesOf(cfg)
	if err != nil || holds >= need {
		return nil
	}
	return []config.Problem{{
		File: cfg.Path, Path: "consumers",
		Message: fmt.Sprintf("print into %d pipes, and systemd holds %d of them (FileDescriptorStoreMax=%[2]d): lines that are unread when all of qsuper is killed at once may be lost", need, holds),
		Hint:    writeUnitAgain,
	}}
}

// unitFailsAfterKill is for units that are older than the exit status.
func unitFailsAfterKill(shown string, cfg *config.Config) []config.Problem {
	if !strings.Contains(shown, "SuccessExitStatus=") || slices.Contains(strings.Fields(property(shown, "SuccessExitStatus")), strconv.Itoa(exitKilled)) {
		return nil
	}
	return []config.Problem{{
		File: cfg.Path, Path: "daemon",
		Message: fmt.Sprintf("ends with %d when a stop had to kill something, and to systemd that is a failure: qsuper.service has no SuccessExitStatus=%[1]d", exitKilled),
		Hint:    writeUnitAgain,
	}}
}

func unitTooShort(text string, cfg *config.Config) []config.Problem {
	limit, ok := systemdSpan(text)
	if !ok {
		return nil
	}
	var longest *config.Consumer
	for _, c := range cfg.Programs() {
		if c.Stop.Grace >= limit && (longest == nil || c.Stop.Grace > longest.Stop.Grace) {
			longest = c
		}
	}
	if longest == nil {
		return nil
	}
	at := longest.At
	if p, written := longest.Places["stop"]; written {
		at = p
	}
	return []config.Problem{{
		File: at.File, Line: at.Line, Column: at.Column, Path: "consumers." + longest.Name + ".stop.grace",
		Message: fmt.Sprintf("is %s, but systemd may kill after %s: qsuper.service has TimeoutStopSec=%s", humane(longest.Stop.Grace), humane(limit), text),
		Hint:    writeUnitAgain,
	}}
}

var systemdUnits = map[string]time.Duration{
	"us": time.Microsecond, "ms": time.Millisecond, "s": time.Second, "min": time.Minute, "h": time.Hour,
	"d": 24 * time.Hour, "w": 7 * 24 * time.Hour, "month": 2629800 * time.Second, "y": 31557600 * time.Second, // as systemd.time(7) has them
}

// systemdSpan reads a time as systemctl prints it: "1min 10s", "infinity".
func systemdSpan(text string) (time.Duration, bool) {
	if text == "infinity" {
		return math.MaxInt64, true
	}
	sum, words := time.Duration(0), strings.Fields(text)
	for _, w := range words {
		end := strings.IndexFunc(w, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
		if end <= 0 {
			return 0, false
		}
		n, err := strconv.ParseFloat(w[:end], 64)
		unit, known := systemdUnits[w[end:]]
		if err != nil || !known || n*float64(unit) > math.MaxInt64/4 {
			return 0, false
		}
		sum += time.Duration(n * float64(unit))
	}
	return sum, len(words) > 0 && sum >= 0
}
