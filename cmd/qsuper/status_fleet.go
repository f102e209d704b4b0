package main

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"qsuper/control"
)

// errAlone says what to do on a host that shares nothing.
func errAlone(st control.Status) error {
	return usage("give consumers a `lock`, see docs/shared-slots.md; without --fleet status shows this host",
		"no hosts share anything with this one: there are no `locks` in %s", oneLine(st.Daemon.Config.Path))
}

// fleet shows the hosts that share a store with this one: first the hosts, then
// each consumer with the hosts on which it runs, or why it does not.
func (v statusView) fleet(st control.Status) error {
	var page bytes.Buffer
	out := v.Writer
	v.screen = v.to(&page)
	for i, l := range st.Locks {
		if i > 0 {
			v.printf("\n")
		}
		v.fleetHead(st, l)
		v.printf("\n")
		v.fleetHosts(l)
		v.printf("\n")
		v.fleetConsumers(st, l)
	}
	_, err := page.WriteTo(out)
	return err
}

func (v statusView) fleetHead(st control.Status, l control.LockStatus) {
	counts := map[string]int{}
	for _, h := range allHosts(l) {
		counts[h.State]++
	}
	parts := []string{fmt.Sprintf("%s shares %s (%s)", oneLine(st.Daemon.Name), oneLine(l.Name), l.Type), plural(counts["here"], "host") + " here"}
	for _, state := range []string{"silent", "stopped"} {
		if counts[state] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", counts[state], state))
		}
	}
	parts = append(parts, "ttl "+strconv.FormatFloat(l.TTLSeconds, 'f', -1, 64)+"s")
	v.alert(plain, strings.Join(parts, " "+v.dot()+" "))
	switch {
	case l.Error != "":
		v.alert(red, fmt.Sprintf("%s %s does not answer, what follows is what was seen last: %s", v.sign("✗", "x"), oneLine(l.Name), oneLine(l.Error)))
	case l.State != "up":
		v.alert(yellow, "? "+oneLine(l.Name)+" has not answered yet")
	}
}

// allHosts are those that are there, and those that are missed.
func allHosts(l control.LockStatus) []control.FleetHost { return slices.Concat(l.Hosts, l.Missing) }

func (v statusView) fleetHosts(l control.LockStatus) {
	t := table{columns: []column{{title: "HOST"}, {title: "STATE"}, {title: "THERE FOR", right: true}, {title: "VERSION", drop: 1}}}
	for _, h := range allHosts(l) {
		there := ""
		if h.State == "here" {
			there = ago(v.now, h.Since)
		}
		t.add(cell{text: v.hostName(h.Host, h.Here)}, cell{v.presence(l, h), presenceStyle(h)}, cell{text: there}, cell{text: oneLine(h.Version)})
	}
	t.write(v.screen)
}

// presence is a host's state with since when. One that has not been heard of since
// this host's daemon began has been silent for longer than that.
func (v statusView) presence(l control.LockStatus, h control.FleetHost) string {
	since := ago(v.now, h.HeardAt)
	switch {
	case h.State == "silent" && since == "":
		for _, own := range l.Hosts {
			if own.Here {
				return "silent for over " + ago(v.now, own.StartedAt)
			}
		}
		return "silent"
	case h.State == "silent":
		return "silent for " + since
	case h.State == "stopped" && since != "":
		return "stopped " + since + " ago"
	}
	return oneLine(h.State)
}

func presenceStyle(h control.FleetHost) style {
	switch h.State {
	case "here":
		return green
	case "silent":
		return red
	}
	return dim
}

// fleetConsumers has a row for each consumer as a whole, and below it one for each host.
func (v statusView) fleetConsumers(st control.Status, l control.LockStatus) {
	t := table{columns: []column{
		{title: "CONSUMER"}, {title: "HOST"}, {title: "RUN/WANT", right: true}, {title: "SLOTS", right: true, drop: 1},
		{title: "STATE"}, {title: "REASON", flex: true},
	}}
	for _, c := range st.Consumers {
		hosts := v.fleetRows(l, c.Name)
		if len(hosts) == 0 {
			continue
		}
		running, wanted, slots := 0, 0, 0
		for _, s := range l.Slots {
			if strings.HasPrefix(s.Slot, c.Name+"/") {
				slots++
			}
		}
		for _, r := range hosts {
			if r.host.State == "here" {
				running, wanted = running+r.consumer.Running, wanted+r.consumer.Wanted
			}
		}
		t.add(cell{oneLine(c.Name), bold}, cell{text: "all"}, cell{text: fmt.Sprintf("%d/%d", running, min(wanted, max(c.Max, running)))}, cell{text: fmt.Sprintf("%d of %d", slots, c.Max)}, cell{}, cell{})
		for _, r := range hosts {
			t.add(r.cells...)
		}
	}
	if len(t.rows) == 0 {
		v.printf("no consumer has `lock: %s`\n", oneLine(l.Name))
		return
	}
	t.write(v.screen)
}

// fleetRow is a consumer on one host.
type fleetRow struct {
	host     control.FleetHost
	consumer control.FleetConsumer
	cells    []cell
}

func (v statusView) fleetRows(l control.LockStatus, name string) []fleetRow {
	var rows []fleetRow
	for _, h := range allHosts(l) {
		i := slices.IndexFunc(h.Consumers, func(c control.FleetConsumer) bool { return c.Name == name })
		if i < 0 {
			continue
		}
		c := h.Consumers[i]
		slots := 0
		for _, s := range l.Slots {
			if s.Host == h.Host && strings.HasPrefix(s.Slot, name+"/") {
				slots++
			}
		}
		r := fleetRow{host: h, consumer: c, cells: []cell{{}, {text: v.hostName(h.Host, h.Here)}}}
		switch h.State {
		case "here":
			r.cells = append(r.cells, cell{text: fmt.Sprintf("%d/%d", c.Running, c.Wanted)}, cell{text: strconv.Itoa(slots)},
				cell{oneLine(c.State), stateStyle(c.State, c.Healthy)}, cell{text: oneLine(fleetReason(c))})
		case "silent": // it may run them still
			r.cells = append(r.cells, cell{text: "?"}, cell{text: strconv.Itoa(slots)}, cell{"silent", red},
				cell{text: fmt.Sprintf("ran %d of %d when last heard of", c.Running, c.Wanted)})
		default:
			r.cells = append(r.cells, cell{text: "0/0"}, cell{text: strconv.Itoa(slots)}, cell{"stopped", dim}, cell{text: "its daemon was stopped"})
		}
		rows = append(rows, r)
	}
	return rows
}

// fleetReason is why a consumer stands on a host as it does.
func fleetReason(c control.FleetConsumer) string {
	if c.Reason == "" && c.State == "running" && c.Wanted > 0 && c.Running > c.Wanted {
		return fmt.Sprintf("%d more than its share, until they end or are idle", c.Running-c.Wanted)
	}
	return c.Reason
}

// fleetHealthy is exit 3 when a store does not answer, a host is missed, or
// something that should be up on any of them is not.
func fleetHealthy(st control.Status) error {
	for _, l := range st.Locks {
		ill := l.State != "up" || slices.ContainsFunc(allHosts(l), func(h control.FleetHost) bool {
			return h.State == "silent" || h.State == "here" && slices.ContainsFunc(h.Consumers, func(c control.FleetConsumer) bool {
				shown := slices.ContainsFunc(st.Consumers, func(s control.ConsumerStatus) bool { return s.Name == c.Name })
				return shown && !c.Healthy
			})
		})
		if ill {
			return exit(exitUnhealthy)
		}
	}
	return nil
}
