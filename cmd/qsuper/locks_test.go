package main

import (
	"strings"
	"testing"
	"time"

	"qsuper/control"
)

func TestLocksShowsWhoHasWhat(t *testing.T) {
	now := time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC)
	var text strings.Builder
	out := &screen{Writer: &text, width: 100}
	v := statusView{screen: out, now: now}
	v.lock(control.LockStatus{
		Name: "fleet", Type: "mysql", State: "down", Error: "refused\x1b[2J", Host: "web1", TTLSeconds: 30,
		Slots: []control.SharedSlot{
			{Slot: "orders/0", Host: "web1", Here: true, Token: 7, Since: now.Add(-time.Minute), Until: now.Add(20 * time.Second)},
			{Slot: "orders/1", Host: "web2", Token: 9, Until: now.Add(10 * time.Second)},
		},
		Hosts: []control.FleetHost{{Host: "web2", Consumers: []control.FleetConsumer{{Name: "orders", State: "running", Slots: 1, Running: 1}}}},
	})
	for _, want := range []string{"fleet (mysql) is down, ttl 30s, this host is web1", "does not answer", "orders/0", "web1 (here)", "in 20s", "web2", "running"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is missing in\n%s", want, text.String())
		}
	}
	if strings.Contains(text.String(), "\x1b[2J") {
		t.Error("what a server says gets to the terminal as a command")
	}
}
