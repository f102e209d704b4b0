package main

import (
	"strings"
	"testing"

	"qsuper/control"
)

func TestOutcomeWords(t *testing.T) {
	exit := func(e control.ExitStatus) *control.ExitStatus { return &e }
	for want, o := range map[string]control.Outcome{
		"exit 0 after 1.2s":                          {Phase: "halted", Reason: "stopped by anna", Exit: exit(control.ExitStatus{StopSeconds: 1.2, Step: "signal"})},
		"killed after 30s of grace":                  {Phase: "halted", Reason: "stopped by anna", Exit: exit(control.ExitStatus{Code: -1, Signal: "SIGKILL", StopSeconds: 30, Step: "kill"})},
		"ended by SIGTERM after 0.1s":                {Phase: "halted", Reason: "stopped by anna", Exit: exit(control.ExitStatus{Code: -1, Signal: "SIGTERM", StopSeconds: 0.1, Step: "signal"})},
		"gone after 2s, its exit code is not known":  {Phase: "halted", Reason: "stopped by anna", Exit: exit(control.ExitStatus{Code: -1, StopSeconds: 2, Class: "unknown"})},
		"exit 0 after 1.2s; runs with pid 7":         {Phase: "running", PID: 7, Exit: exit(control.ExitStatus{StopSeconds: 1.2})},
		"runs with pid 7":                            {Phase: "running", PID: 7},
		"draining, pid 7":                            {Phase: "draining", PID: 7, Reason: "stopped by anna"},
		"queue is empty":                             {Phase: "waiting", Reason: "queue is empty"},
		"exit 3 after 1s; waits: 2 crashes in a row": {Phase: "waiting", Reason: "waits: 2 crashes in a row", Exit: exit(control.ExitStatus{Code: 3, StopSeconds: 1})},
		"killed (OOM killer)":                        {Phase: "halted", Reason: "stopped by anna", Exit: exit(control.ExitStatus{Code: -1, Signal: "SIGKILL", Step: "kill", Detail: "OOM killer"})},
	} {
		w := restartWords
		if o.Phase == "halted" {
			w = stopWords
		}
		if got, _ := outcome(o, w); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestStopTellsNothingOfEmptySlots(t *testing.T) {
	out, text, _ := paper(80)
	r := control.CommandReply{Outcomes: []control.Outcome{
		{Consumer: "a", Slot: 0, Phase: "halted", Reason: "stopped by anna"},
		{Consumer: "a", Slot: 1, Phase: "halted", Exit: &control.ExitStatus{Code: 0}},
	}}
	if n := outcomes(out, r, stopWords); n != 1 || text.String() != "a/1  exit 0\n" {
		t.Errorf("%d instances:\n%s", n, text)
	}
	text.Reset()
	if n := outcomes(out, r, startWords); n != 2 || !strings.Contains(text.String(), "a/0  stopped by anna\n") {
		t.Errorf("%d instances:\n%s", n, text)
	}
}
