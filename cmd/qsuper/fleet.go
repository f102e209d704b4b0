package main

import (
	"context"
	"fmt"

	"qsuper/control"
	"qsuper/runner"
)

// fleetVerbs are those that may be asked of every host.
var fleetVerbs = []string{control.VerbStopWorkers, control.VerbPause, control.VerbResume}

// fleetLimit is how long the hosts may take to answer, when nobody says.
const fleetLimit = "2m"

// runFleet asks every host and reports each.
func runFleet(ctx context.Context, c *control.Client, cmd control.Command, w wording, out *screen) error {
	if cmd.Wait {
		return usage("leave out one of them", "--fleet returns when the hosts have answered; it cannot wait for their instances")
	}
	if cmd.Timeout == "" {
		cmd.Timeout = fleetLimit
	}
	reply, err := c.Do(ctx, cmd)
	if err != nil {
		return err
	}
	missing := 0
	for _, h := range reply.Hosts {
		if !h.Done {
			missing++
		}
	}
	if out.json {
		if err := printJSON(out, reply); err != nil {
			return err
		}
	} else {
		printApps(out, reply.Apps)
		t := table{columns: []column{{title: "HOST"}, {title: "LOCK"}, {title: "ANSWER", flex: true}}}
		for _, h := range reply.Hosts {
			answer := cell{text: "accepted", style: green}
			if !h.Done {
				answer = cell{text: oneLine(h.Error), style: red}
			}
			t.add(cell{text: oneLine(h.Host)}, cell{text: oneLine(h.Lock)}, answer)
		}
		t.write(out)
	}
	if err := appVerdict(reply.Apps); err != nil {
		return err
	}
	if missing > 0 {
		return &exitError{code: exitFailed, err: fmt.Errorf("%s of %d did not do it", plural(missing, "host"), len(reply.Hosts)), hint: "\"qsuper status --fleet\" shows who is there; without --fleet this host alone is asked"}
	}
	return nil
}

// fleet has a command carried out on every host.
func (d *daemon) fleet(ctx context.Context, c control.Command) (control.CommandReply, error) {
	hosts, err := d.runner.DoFleet(ctx, runner.Command{Verb: c.Verb, Names: c.Names, By: c.By})
	if err != nil {
		return control.CommandReply{}, apiError(err)
	}
	reply := control.CommandReply{Consumers: []string{}, Outcomes: []control.Outcome{}}
	for _, h := range hosts {
		reply.Hosts = append(reply.Hosts, control.HostReply{Host: h.Host, Lock: h.Lock, Done: h.Done, Error: h.Err})
	}
	return reply, nil
}
