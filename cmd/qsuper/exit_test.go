package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"qsuper/config"
	"qsuper/control"
)

func TestExitCodes(t *testing.T) {
	for want, errs := range map[int][]error{
		exitDone:      {nil},
		exitFailed:    {errors.New("x"), context.Canceled, &control.Rejected{Status: 404}, &control.Denied{}, &control.Lost{}},
		exitUsage:     {usage("", "x")},
		exitUnhealthy: {exit(exitUnhealthy)},
		exitNoDaemon:  {&control.NoDaemon{}, fmt.Errorf("ask: %w", &control.NoDaemon{})},
		exitKilled:    {exit(exitKilled)},
		exitHeld:      {&control.InUse{}},
		exitConfig:    {&config.Error{}, fmt.Errorf("load: %w", &config.Error{})},
	} {
		for _, err := range errs {
			if got := exitCode(err); got != want {
				t.Errorf("%T %v: exit %d, want %d", err, err, got, want)
			}
		}
	}
}

func TestReport(t *testing.T) {
	for want, err := range map[string]error{
		"":                            exit(exitKilled),
		"qsuper: interrupted\n":       context.Canceled,
		"qsuper: x\n":                 errors.New("x"),
		"qsuper: \\x1b[2J evil\n":     errors.New("\x1b[2J evil"),
		"qsuper: no\nhint: do this\n": usage("do this", "no"),
		"qsuper: not allowed to talk to the daemon at /s\nhint: be root or a member of group q: usermod -aG q USER, then log in again\n": &control.Denied{Socket: "/s", Group: "q"},
	} {
		var text bytes.Buffer
		report(&text, err)
		if text.String() != want {
			t.Errorf("got %q, want %q", text.String(), want)
		}
	}
}

func TestExitHelpListsAll(t *testing.T) {
	for _, c := range exitCodes {
		if line := fmt.Sprintf("  %2d  %s", c.code, c.meaning); !strings.Contains(exitHelp(), line) {
			t.Errorf("help lacks %q", line)
		}
		if only := exitHelp(c.code); strings.Count(only, "\n  ") != 1 {
			t.Errorf("help of %d alone: %q", c.code, only)
		}
	}
}
