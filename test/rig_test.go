// Package test runs the built binary as a user would: a YAML file, commands,
// exit codes and --json, with real brokers and databases (test/servers) and
// real third-party consumers (test/apps). It knows nothing of qsuper's inside.
package test

import (
	"os"
	"testing"

	"qsuper/test/rig"
)

func TestMain(m *testing.M) {
	if os.Getenv(consumerEnv) != "" {
		os.Exit(consume())
	}
	os.Exit(rig.Main(m))
}

// What the tests use most, by short names.
type (
	daemon       = rig.Daemon
	explainJSON  = rig.Explain
	gateJSON     = rig.Gate
	replyJSON    = rig.Reply
	statusJSON   = rig.Status
	consumerJSON = rig.ConsumerStatus
)

const patience = rig.Patience

var (
	eventually  = rig.Eventually
	newDaemon   = rig.NewDaemon
	startDaemon = rig.StartDaemon
	processesOf = rig.ProcessesOf
	gone        = rig.Gone
	within      = rig.Within
	tail        = rig.Tail
)
