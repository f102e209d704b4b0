package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// serviceName is the service that the packages and `qsuper unit` are for.
const serviceName = "qsuper.service"

// serviceRuns says whether systemd's service on this host is for the daemon of file: a
// daemon started beside it would be stopped by no `systemctl stop`, and be in the
// way of the service after a reboot. Only root may start it.
func serviceRuns(ctx context.Context, file string) bool {
	if os.Geteuid() != 0 {
		return false
	}
	if _, err := os.Stat("/run/systemd/system"); err != nil { // systemd has not booted this host
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, askSystemd)
	defer cancel()
	out, err := exec.CommandContext(ctx, "systemctl", "show", serviceName, "--property=ExecStart").Output()
	return err == nil && unitIsFor(string(out), file)
}

// unitIsFor says whether what systemctl has shown of a unit runs file.
func unitIsFor(shown, file string) bool {
	path, err := filepath.Abs(file)
	return err == nil && strings.Contains(shown, " "+path+" ;")
}

// startService has systemd start the daemon, and returns when it is ready.
func startService(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, "systemctl", "start", serviceName).CombinedOutput()
	if err == nil {
		return nil
	}
	said := strings.TrimSpace(string(out))
	if said == "" {
		said = err.Error()
	}
	return &exitError{code: exitFailed, err: fmt.Errorf("systemd does not start %s: %w", serviceName, errors.New(said)), hint: "journalctl -u qsuper -n 20"}
}
