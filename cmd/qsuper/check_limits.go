package main

import (
	"slices"
	"strings"

	"qsuper/config"
	"qsuper/proc"
)

// checkLimits warns of limits that this host cannot keep. The daemon may find itself
// in another place than this command, so it is its word that counts: `status
// --verbose` has that.
func checkLimits(cfg *config.Config) []config.Problem {
	available, err := proc.Available()
	why := "cgroup version 2 of this host has no such controller"
	if err != nil {
		why = err.Error()
	}
	return limitsMissed(cfg, available, why)
}

func limitsMissed(cfg *config.Config, available []string, why string) []config.Problem {
	var warnings []config.Problem
	for _, c := range cfg.Consumers {
		var missed []string
		for _, x := range []struct {
			key, controller string
			set             bool
		}{
			{"pids_max", "pids", c.Limits.PIDsMax > 0}, {"memory_max", "memory", c.Limits.MemoryMax > 0}, {"cpu_weight", "cpu", c.Limits.CPUWeight > 0},
		} {
			if x.set && !slices.Contains(available, x.controller) {
				missed = append(missed, x.key)
			}
		}
		if len(missed) == 0 {
			continue
		}
		at := c.At
		if p, written := c.Places["limits"]; written {
			at = p
		}
		warnings = append(warnings, config.Problem{
			File: at.File, Line: at.Line, Column: at.Column, Path: "consumers." + c.Name + ".limits",
			Message: strings.Join(missed, ", ") + " cannot be kept, the consumer will run without: " + why,
			Hint:    "boot with systemd.unified_cgroup_hierarchy=1, or leave it out",
		})
	}
	return warnings
}
