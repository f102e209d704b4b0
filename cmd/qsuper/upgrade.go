package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"qsuper/control"
)

// upgradeLimit bounds the wait for the new daemon's first answer. The old engine
// may take some seconds to leave.
const upgradeLimit = 30 * time.Second

func newUpgradeCmd(a *app) *cobra.Command {
	var binary string
	cmd := &cobra.Command{
		Use: "upgrade",
		Example: "  qsuper upgrade\n" +
			"  qsuper upgrade --binary /opt/qsuper/qsuper",
		Short: "Let a new binary take over; no consumer notices",
		Long: "Lets the binary that lies now where the daemon was started from take over, or the one that\n" +
			"--binary names. Consumers go on: same processes, no signal, no line of output lost; stops under\n" +
			"way keep their grace. The binary is tried first: one that cannot take over, or that finds the\n" +
			"file wrong, changes nothing. Returns when the new daemon answers." +
			exitHelp(exitDone, exitFailed, exitNoDaemon, exitConfig),
		Args:              args(0, 0),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.remote(cmd, func(ctx context.Context, c *control.Client, out *screen) error {
				return runUpgrade(ctx, c, binary, out)
			})
		},
	}
	cmd.Flags().StringVar(&binary, "binary", "", "`path` of the new binary")
	return cmd
}

// upgradeReport is what `upgrade --json` prints.
type upgradeReport struct {
	control.UpgradeReply
	KeeperPID    int `json:"keeper_pid"`
	NewEnginePID int `json:"new_engine_pid"`
}

func runUpgrade(ctx context.Context, c *control.Client, binary string, out *screen) error {
	if binary != "" {
		abs, err := filepath.Abs(binary)
		if err != nil {
			return err
		}
		binary = abs
	}
	r, err := c.Upgrade(ctx, control.Upgrade{Binary: binary})
	if err != nil {
		return err
	}
	if r.Refused != "" {
		return refusedUpgrade(r, out)
	}
	st, err := awaitUpgrade(ctx, c, r.EnginePID)
	if err != nil {
		return err
	}
	r.To = st.Daemon.Version
	if out.json {
		return printJSON(out, upgradeReport{r, st.Daemon.KeeperPID, st.Daemon.EnginePID})
	}
	out.printf("upgraded the daemon %s from %s to %s: pid %d, %s\n", oneLine(st.Daemon.Name), oneLine(r.From), oneLine(r.To), st.Daemon.KeeperPID, oneLine(r.Binary))
	if r.Home != "" && r.Home != r.Binary {
		out.printf("%s the next start of the daemon executes %s again: put the new binary there\n", out.paint(yellow, "note:"), oneLine(r.Home))
	}
	return nil
}

func refusedUpgrade(r control.UpgradeReply, out *screen) error {
	e := &exitError{code: exitFailed, err: fmt.Errorf("the old binary stays in charge, nothing has changed: %s", r.Refused),
		hint: "name another binary with --binary"}
	if r.BadFile {
		e.code, e.hint = exitConfig, `repair it, see "qsuper check", and try again`
	}
	if out.json {
		if err := printJSON(out, r); err != nil {
			return err
		}
	}
	return e
}

// awaitUpgrade returns the status of the first engine that answers after old.
func awaitUpgrade(ctx context.Context, c *control.Client, old int) (control.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, upgradeLimit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		st, err := c.Status(ctx, control.StatusQuery{})
		if err == nil && st.Daemon.EnginePID != old {
			return st, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return st, ctx.Err()
			}
			return st, &exitError{code: exitFailed, err: fmt.Errorf("the new binary has been told to take over, but does not answer within %s", upgradeLimit),
				hint: `its consumers go on; see the daemon's log and "qsuper status"`}
		}
	}
}
