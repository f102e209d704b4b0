package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/spf13/cobra"

	"qsuper/config"
	"qsuper/keeper"
)

// trialWord is the command by which a keeper tries a binary.
const trialWord = "upgrade-trial"

// carried is what one keeper's command leaves for that of the next, so that the
// file need not be read before the keeper is in charge again.
type carried struct {
	Config string           `json:"config"` // path of the file, absolute
	Once   bool             `json:"once,omitempty"`
	Log    config.DaemonLog `json:"log"`
}

// newUpgradeTrialCmd is started by a keeper only.
func newUpgradeTrialCmd() *cobra.Command {
	return &cobra.Command{
		Use:    trialWord,
		Short:  "Could this binary take over? (asked by the daemon only)",
		Hidden: true,
		Args:   args(0, 0),
		RunE:   func(*cobra.Command, []string) error { return runUpgradeTrial() },
	}
}

// runUpgradeTrial changes nothing. What it does is what will be done when this
// binary takes over, and what would make it fail then.
func runUpgradeTrial() error {
	heir, err := keeper.Trial()
	if err != nil {
		return err
	}
	var c carried
	if err := json.Unmarshal(heir.Carry(), &c); err != nil {
		return fmt.Errorf("understand what the daemon hands over: %w", err)
	}
	if err := parses(heir.Argv()); err != nil {
		return err
	}
	if _, err := loadChecked(c.Config); err != nil {
		return err
	}
	return heir.Pass(os.Stdout, version())
}

// parses says whether this binary understands a daemon's command line.
func parses(argv []string) error {
	if len(argv) == 0 {
		return errors.New("understand the daemon's command line: it is empty")
	}
	cmd, rest, err := newRootCmd(newApp(os.Stdout, os.Stderr, os.Getenv)).Find(argv[1:])
	if err == nil {
		err = cmd.ParseFlags(rest)
	}
	if err != nil {
		return fmt.Errorf("understand the daemon's command line %q: %w", argv[1:], err)
	}
	return nil
}

// ownBinary is the path that this program was started from: where a new version
// will lie. The kernel's own view has symbolic links resolved, which a new version
// may turn elsewhere, so the command's name comes first if it means this file.
func ownBinary(arg0 string) string {
	exe, err := os.Executable()
	if err != nil {
		return ""
	}
	path, err := exec.LookPath(arg0)
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		return exe
	}
	named, err := os.Stat(path)
	self, selfErr := os.Stat("/proc/self/exe")
	if err != nil || selfErr != nil || !os.SameFile(named, self) {
		return exe
	}
	return path
}
