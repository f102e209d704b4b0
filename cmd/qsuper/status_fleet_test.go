package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"qsuper/control"
)

// shared is a fleet at 3 a.m.: one host runs, one is paused, one was stopped, one
// is silent, and nobody has heard of another since this daemon began.
func shared(now time.Time) []control.LockStatus {
	host := func(name, state string, heard time.Duration, orders, mails control.FleetConsumer) control.FleetHost {
		orders.Name, mails.Name = "orders", "mails"
		h := control.FleetHost{Host: name, Here: name == "web1", State: state, Version: "v1.2.0", StartedAt: now.Add(-52 * time.Hour), Consumers: []control.FleetConsumer{mails, orders}}
		if heard > 0 {
			h.HeardAt = now.Add(-heard)
		}
		if state == "here" {
			h.Since = now.Add(-50 * time.Hour)
		}
		return h
	}
	runs := func(n int) control.FleetConsumer {
		return control.FleetConsumer{State: "running", Wanted: n, Running: n, Slots: n, Able: true, Healthy: true}
	}
	not := func(state, reason string, healthy bool) control.FleetConsumer {
		return control.FleetConsumer{State: state, Reason: reason, Healthy: healthy}
	}
	l := control.LockStatus{
		Name: "fleet", Type: "mysql", State: "up", Host: "web1", TTLSeconds: 30,
		Hosts: []control.FleetHost{
			host("web1", "here", time.Second, runs(5), not("waiting", "other hosts run it: web2 (1)", true)),
			host("web2", "here", 7*time.Second, not("held", "paused by anna on 2026-03-14 11:02\x1b[2J", true), runs(1)),
			host("web3", "silent", 16*time.Second, runs(3), runs(0)),
		},
		Missing: []control.FleetHost{
			host("web4", "silent", 200*time.Second, runs(3), runs(1)),
			host("web5", "stopped", time.Hour, runs(0), runs(0)),
			host("web6", "silent", 0, runs(2), runs(0)),
		},
	}
	for i, owner := range []string{"web1", "web1", "web1", "web3", "web3", "web3", "web1", "web1"} {
		l.Slots = append(l.Slots, control.SharedSlot{Slot: "orders/" + string(rune('0'+i)), Host: owner, Here: owner == "web1"})
	}
	l.Slots = append(l.Slots, control.SharedSlot{Slot: "mails/0", Host: "web2"})
	return []control.LockStatus{l}
}

func TestStatusOfAFleet(t *testing.T) {
	down := shared(noon)
	down[0].State, down[0].Error, down[0].Missing = "down", "dial tcp 10.0.0.5:3306: i/o timeout", nil
	well := shared(noon)
	well[0].Hosts, well[0].Missing = well[0].Hosts[:2], nil
	for _, tc := range []struct {
		name  string
		locks []control.LockStatus
		width int
		code  int
	}{
		{"down-80", down, 80, exitUnhealthy}, {"80", shared(noon), 80, exitUnhealthy}, {"120", shared(noon), 120, exitUnhealthy},
		{"pipe", shared(noon), 0, exitUnhealthy}, {"well-100", well, 100, exitDone},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := scenario("one", noon)
			mails := running("mails", 1, noon)
			d.status.Consumers[0].Max = 8
			d.status.Consumers, d.status.Locks = append(d.status.Consumers, mails), tc.locks
			out, text, _ := paper(tc.width)
			err := runStatus(context.Background(), serve(t, d), statusOptions{fleet: true}, out, atNoon)
			if code := exitCode(err); code != tc.code {
				t.Errorf("exit code %d: %v", code, err)
			}
			golden(t, "status-hosts-"+tc.name+".txt", text.String())
		})
	}
}

// A host that shares nothing is told what to do.
func TestStatusOfNoFleet(t *testing.T) {
	out, _, _ := paper(80)
	err := runStatus(context.Background(), serve(t, scenario("one", noon)), statusOptions{fleet: true}, out, atNoon)
	if exitCode(err) != exitUsage || !strings.Contains(err.Error(), "no `locks` in /etc/qsuper/qsuper.yaml") {
		t.Errorf("%d: %v", exitCode(err), err)
	}
}
