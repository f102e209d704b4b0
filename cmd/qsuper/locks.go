package main

import (
	"bytes"
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"qsuper/control"
	"qsuper/runner"
)

func newLocksCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "locks",
		Example:           "  qsuper locks",
		Short:             "Which host has which shared slot",
		Long:              "Which host has which of the slots that several hosts share, since when, and until when if it is\nnot renewed; and which hosts are there." + exitHelp(exitDone, exitNoDaemon),
		Args:              args(0, 0),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.remote(cmd, func(ctx context.Context, c *control.Client, out *screen) error {
				return runLocks(ctx, c, out, a.now)
			})
		},
	}
}

func runLocks(ctx context.Context, c *control.Client, out *screen, now clockFunc) error {
	st, err := c.Status(ctx, control.StatusQuery{})
	if err != nil {
		return err
	}
	if out.json {
		if st.Locks == nil {
			st.Locks = []control.LockStatus{}
		}
		return printJSON(out, st.Locks)
	}
	if len(st.Locks) == 0 {
		out.printf("no locks in %s: every slot is this host's own\n", oneLine(st.Daemon.Config.Path))
		return nil
	}
	var page bytes.Buffer
	v := statusView{screen: out.to(&page), now: now()}
	for i, l := range st.Locks {
		if i > 0 {
			v.printf("\n")
		}
		v.lock(l)
	}
	_, err = page.WriteTo(out)
	return err
}

// lock shows one store: its slots, then its hosts.
func (v statusView) lock(l control.LockStatus) {
	v.printf("%s (%s) is %s, ttl %s, this host is %s\n", oneLine(l.Name), l.Type, l.State, strconv.FormatFloat(l.TTLSeconds, 'f', -1, 64)+"s", oneLine(l.Host))
	if l.Error != "" {
		v.printf("%s %s\n", v.paint(red, "does not answer:"), oneLine(l.Error))
	}
	if len(l.Slots) > 0 {
		t := table{columns: []column{{title: "SLOT"}, {title: "HOST"}, {title: "SINCE", right: true}, {title: "UNTIL", right: true}, {title: "TOKEN", right: true, drop: 1}}}
		for _, s := range l.Slots {
			since := ""
			if !s.Since.IsZero() {
				since = humane(v.now.Sub(s.Since))
			}
			t.add(cell{text: oneLine(s.Slot)}, cell{text: v.hostName(s.Host, s.Here)}, cell{text: since},
				cell{text: "in " + humane(s.Until.Sub(v.now))}, cell{text: strconv.FormatUint(s.Token, 10)})
		}
		v.printf("\n")
		t.write(v.screen)
	}
	t := table{columns: []column{{title: "HOST"}, {title: "CONSUMER"}, {title: "STATE"}, {title: "SLOTS", right: true}, {title: "RUNNING", right: true}}}
	for _, h := range l.Hosts {
		for _, c := range h.Consumers {
			t.add(cell{text: v.hostName(h.Host, h.Here)}, cell{text: oneLine(c.Name)}, cell{text: oneLine(c.State)},
				cell{text: strconv.Itoa(c.Slots)}, cell{text: strconv.Itoa(c.Running)})
		}
	}
	if len(t.rows) > 0 {
		v.printf("\n")
		t.write(v.screen)
	}
}

func (v statusView) hostName(name string, here bool) string {
	if here {
		return fmt.Sprintf("%s (here)", oneLine(name))
	}
	return oneLine(name)
}

// lockStatus converts what the runner knows.
func lockStatus(l runner.LockState) control.LockStatus {
	s := control.LockStatus{
		Name: l.Name, Type: l.Type, State: "up", Host: l.Host, TTLSeconds: l.TTL.Seconds(),
		Slots: []control.SharedSlot{}, Hosts: []control.FleetHost{}, Missing: []control.FleetHost{},
	}
	switch {
	case l.Err != nil:
		s.State, s.Error = "down", l.Err.Error()
	case !l.Known:
		s.State = "unknown"
	}
	for _, x := range l.Slots {
		s.Slots = append(s.Slots, control.SharedSlot{Slot: x.Slot, Host: x.Host, Here: x.Here, Token: x.Token, Since: x.Since, Until: x.Until})
	}
	for _, x := range l.Hosts {
		s.Hosts = append(s.Hosts, fleetHost(x))
	}
	for _, x := range l.Missing {
		s.Missing = append(s.Missing, fleetHost(x))
	}
	return s
}

func fleetHost(x runner.LockHost) control.FleetHost {
	h := control.FleetHost{
		Host: x.Host, Here: x.Here, State: string(x.State), Version: x.Release, StartedAt: x.Started,
		Since: x.Since, HeardAt: x.Heard, Until: x.Until, Consumers: []control.FleetConsumer{},
	}
	for _, c := range x.Consumers {
		h.Consumers = append(h.Consumers, control.FleetConsumer{
			Name: c.Name, State: c.State, Slots: c.Slots, Wanted: c.Wanted, Running: c.Running, Able: c.Able,
			Healthy: c.Healthy, Code: c.Code, Reason: c.Reason,
		})
	}
	return h
}
