package main

import (
	"context"
	"fmt"
	"strings"

	"qsuper/control"
)

// stopWithApps runs the applications' own commands before qsuper's own workers are
// renewed, here or on every host: the store that they write to is one for all.
func (d *daemon) stopWithApps(ctx context.Context, c control.Command) (control.CommandReply, error) {
	told, err := d.runner.TellApps(ctx, c.Names)
	if err != nil {
		return control.CommandReply{}, apiError(err)
	}
	c.App = false
	reply, err := d.Do(ctx, c)
	for _, t := range told {
		reply.Apps = append(reply.Apps, control.AppReply{Command: t.Command, Consumers: t.Consumers, Output: t.Output, Error: t.Err})
	}
	return reply, err
}

// printApps says what was run in the name of which consumers, and what it said.
func printApps(out *screen, apps []control.AppReply) {
	for _, a := range apps {
		out.printf("ran %s (%s)\n", oneLine(a.Command), oneLine(strings.Join(a.Consumers, ", ")))
		for line := range strings.Lines(a.Output) {
			if line = strings.TrimSpace(oneLine(line)); line != "" {
				out.printf("  %s\n", line)
			}
		}
	}
}

// appVerdict is an error when an application could not be told.
func appVerdict(apps []control.AppReply) error {
	for _, a := range apps {
		if a.Error != "" {
			return &exitError{
				code: exitFailed, err: fmt.Errorf("%s: %s", oneLine(a.Command), oneLine(a.Error)),
				hint: "workers that others run may go on with old code; qsuper's own were renewed",
			}
		}
	}
	return nil
}
