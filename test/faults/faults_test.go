// Package faults does to the built binary what operation does to it: kills its
// processes, fills its disks, cuts its brokers off, and gives it consumers that
// misbehave. Oracles judge what came of it (oracles_test.go); the consumers keep
// a journal, which is the truth that qsuper's account is held against.
//
// QSUPER_FAULTS says which cases run, separated by commas: nothing means those
// that are worth running with every change, all means all.
package faults

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"qsuper/test/rig"
)

func TestMain(m *testing.M) {
	if os.Getpid() == 1 && os.Getenv(insideEnv) != "" {
		machineMain()
	}
	if socket := os.Getenv(refuseEnv); socket != "" {
		fmt.Fprintln(os.Stderr, launch(socket, os.Args[1:]))
		os.Exit(97)
	}
	if os.Getenv(consumerEnv) != "" {
		os.Exit(consume(os.Args[1:]))
	}
	if err := os.Setenv(secretEnv, canary); err != nil {
		panic(err)
	}
	os.Exit(rig.Main(m))
}

// fault is one case. Its number and score are those of the fault catalogue:
// harm (1 to 5) times likelihood (1 to 5).
type fault struct {
	name  string
	score int
	kind  kind
	run   func(t *testing.T)
}

type kind int

const (
	quick kind = iota // a few seconds
	slow              // only with all
)

// chosen tells whether a case runs. One that was not chosen is no test that was
// skipped: it does not exist for this run.
func (c fault) chosen() bool {
	wanted := strings.Split(os.Getenv("QSUPER_FAULTS"), ",")
	has := func(word string) bool { return slices.Contains(wanted, word) }
	return has("all") || os.Getenv("QSUPER_FAULTS") == "" && c.kind == quick && c.score >= 15
}

// allFaults are the cases of all files.
func allFaults() []fault {
	return slices.Concat(engineFaults, engineMoreFaults, stopFaults, exitFaults, outputFaults, brokerFaults, deafFaults, fileFaults, idFaults,
		keeperFaults, scarceFaults, limitFaults, followFaults, rationFaults, crowdFaults, betweenFaults, cronFaults, clockFaults, powerFaults)
}

func TestFaults(t *testing.T) {
	for _, c := range allFaults() {
		if !c.chosen() {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.run(t)
		})
	}
}
