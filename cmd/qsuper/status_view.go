package main

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"

	"qsuper/control"
)

type clockFunc func() time.Time

// statusView renders a Status for a person.
type statusView struct {
	*screen
	now     time.Time
	verbose bool
}

// print writes everything at once, so that a slow terminal shows no half table.
func (v statusView) print(st control.Status) error {
	var page bytes.Buffer
	out := v.Writer
	v.screen = v.to(&page)
	v.daemon(st)
	v.connections(st.Connections)
	v.outputs(st.Consumers)
	v.printf("\n")
	if len(st.Consumers) > 0 || len(st.Jobs) == 0 {
		v.consumers(st)
	}
	if len(st.Consumers) > 0 && len(st.Jobs) > 0 {
		v.printf("\n")
	}
	if len(st.Jobs) > 0 {
		v.jobs(st.Jobs)
	}
	if v.verbose {
		v.slots(st.Consumers)
	}
	v.footer(st.Consumers)
	_, err := page.WriteTo(out)
	return err
}

func (v statusView) daemon(st control.Status) {
	d := st.Daemon
	running, wanted := 0, 0
	for _, c := range st.Consumers {
		running += c.Running
		wanted += c.Wanted
	}
	parts := []string{oneLine(d.Name) + " up " + ago(v.now, d.StartedAt)}
	if len(st.Consumers) > 0 {
		parts = append(parts, plural(len(st.Consumers), "consumer"), fmt.Sprintf("%d of %s running", running, plural(wanted, "instance")))
	}
	if len(st.Jobs) > 0 {
		parts = append(parts, plural(len(st.Jobs), "job"))
	}
	if v.verbose {
		parts = append(parts, "since "+clock(d.StartedAt), "qsuper "+oneLine(d.Version), fmt.Sprintf("pid %d", d.KeeperPID), oneLine(d.Config.Path))
		if d.Contained != "" {
			parts = append(parts, "processes held together by "+oneLine(d.Contained))
		}
	}
	text := strings.Join(parts, " "+v.dot()+" ")
	if d.Stopping {
		v.alert(yellow, "the daemon is stopping "+v.dot()+" "+text)
	} else {
		v.alert(plain, text)
	}
	if d.Config.Error != "" {
		v.alert(red, fmt.Sprintf("%s the file on disk is refused, the one loaded %s ago stays in force: %s",
			v.sign("✗", "x"), ago(v.now, d.Config.LoadedAt), oneLine(d.Config.Error)))
	}
}

// alert is one line above the table, whole only with verbose.
func (v statusView) alert(st style, text string) {
	if v.verbose {
		v.wrap(st, "", "  ", text)
		return
	}
	v.line(st, text)
}

func (v statusView) connections(all []control.ConnectionStatus) {
	for _, c := range all {
		mark, st := v.sign("✗", "x"), red
		switch c.State {
		case "up":
			if !v.verbose {
				continue
			}
			mark, st = v.sign("✓", "+"), green
		case "down":
		default:
			mark, st = "?", yellow
		}
		text := fmt.Sprintf("%s %s (%s) is %s", mark, oneLine(c.Name), oneLine(c.Type), oneLine(c.State))
		if since := ago(v.now, c.Since); since != "" {
			text += " for " + since
		}
		if c.Error != "" {
			text += ": " + oneLine(c.Error)
		}
		v.alert(st, text)
	}
}

// outputs tells of output that is being lost. On a full disk that is everybody's:
// consumers with the same trouble share a line.
func (v statusView) outputs(all []control.ConsumerStatus) {
	var errs []string
	names, first := map[string][]string{}, map[string]*control.OutputState{}
	for _, c := range all {
		if c.Output == nil {
			continue
		}
		// The path in front differs for each slot, the kernel's word behind it does not.
		why := c.Output.Error[strings.LastIndex(c.Output.Error, ": ")+1:]
		if names[why] == nil {
			errs = append(errs, why)
		}
		if f := first[why]; f == nil || c.Output.Since.Before(f.Since) {
			first[why] = c.Output
		}
		names[why] = append(names[why], oneLine(c.Name))
	}
	for _, why := range errs {
		who, rest := names[why], ""
		if len(who) > 3 {
			who, rest = who[:3], fmt.Sprintf(" and %d more", len(who)-3)
		}
		v.alert(red, fmt.Sprintf("%s output of %s%s cannot be written for %s: %s", v.sign("✗", "x"),
			strings.Join(who, ", "), rest, ago(v.now, first[why].Since), oneLine(first[why].Error)))
	}
}

func (v statusView) consumers(st control.Status) {
	if len(st.Consumers) == 0 {
		v.printf("no consumers in %s\n", oneLine(st.Daemon.Config.Path))
		return
	}
	t := table{columns: []column{
		{title: "NAME"}, {title: "STATE"}, {title: "RUN/WANT", right: true},
		{title: "READY", right: true}, {title: "IN FLIGHT", right: true, drop: 3}, {title: "OLDEST", right: true, drop: 2},
		{title: "SINCE", right: true, drop: 1}, {title: "REASON", flex: true},
	}}
	for _, c := range st.Consumers {
		ready, inFlight, oldest := v.queue(c.Queue)
		r := t.add(
			cell{text: oneLine(c.Name)}, cell{oneLine(c.State), stateStyle(c.State, c.Healthy)}, cell{text: fmt.Sprintf("%d/%d", c.Running, c.Wanted)},
			ready, inFlight, oldest,
			cell{text: ago(v.now, c.Since)}, cell{},
		)
		if v.verbose && c.LimitsMissed != "" {
			r.notes = append(r.notes, "limits do not hold: "+oneLine(c.LimitsMissed))
		}
		if v.verbose && c.Reason != "" {
			r.notes = append([]string{oneLine(c.Reason)}, r.notes...)
		} else {
			r.cells[7].text = oneLine(c.Reason)
		}
	}
	t.write(v.screen)
}

// stateStyle is how the state of a consumer or a job looks.
func stateStyle(state string, healthy bool) style {
	switch {
	case !healthy:
		return red
	case state == "running":
		return green
	case state == "stopping" || state == "backoff":
		return yellow
	default:
		return dim
	}
}

// queue never shows a number that is not known.
func (v statusView) queue(q *control.QueueStatus) (ready, inFlight, oldest cell) {
	switch {
	case q == nil:
		return
	case q.State == "missing":
		return cell{"missing", red}, cell{}, cell{}
	case q.State != "ok":
		return cell{"?", yellow}, cell{}, cell{}
	}
	if q.OldestSeconds != nil && q.Ready != nil && *q.Ready > 0 {
		oldest.text = humaneSeconds(*q.OldestSeconds)
	}
	return number(q.Ready), number(q.InFlight), oldest
}

func number(n *int64) cell {
	if n == nil {
		return cell{}
	}
	return cell{text: count(*n)}
}

// slots is one row for each instance.
func (v statusView) slots(all []control.ConsumerStatus) {
	t := table{columns: []column{
		{title: "SLOT"}, {title: "PHASE"}, {title: "PID", right: true}, {title: "SINCE", right: true},
		{title: "RUN", right: true}, {title: "RSS", right: true, drop: 1}, {title: "CPU", right: true, drop: 2},
		{title: "FAILED", right: true}, {title: "LAST EXIT", flex: true},
	}}
	for _, c := range all {
		for _, s := range c.Slots {
			r := t.add(
				cell{text: fmt.Sprintf("%s/%d", oneLine(c.Name), s.Slot)}, cell{oneLine(s.Phase), phaseStyle(s)}, cell{}, cell{text: ago(v.now, s.Since)},
				cell{text: strconv.FormatUint(s.Run, 10)}, cell{}, cell{},
				cell{text: strconv.Itoa(s.Failures)}, cell{text: v.lastExit(s.LastExit)},
			)
			if s.PID != 0 {
				r.cells[2].text = strconv.Itoa(s.PID)
				r.cells[5].text = size(s.RSSBytes)
				r.cells[6].text = fmt.Sprintf("%.1f%%", s.CPUPercent)
			}
			if s.Adopted {
				r.notes = append(r.notes, "adopted: started by an earlier daemon")
			}
			if s.Outdated != "" {
				r.notes = append(r.notes, "outdated: "+oneLine(s.Outdated))
			}
			if o := s.Output; o != nil {
				r.notes = append(r.notes, "output cannot be written for "+ago(v.now, o.Since)+": "+oneLine(o.Error))
			}
			if s.Reason != "" && s.Phase != "running" {
				r.notes = append(r.notes, oneLine(s.Reason))
			}
		}
	}
	if len(t.rows) > 0 {
		v.printf("\n")
		t.write(v.screen)
	}
}

func phaseStyle(s control.SlotStatus) style {
	switch s.Phase {
	case "running":
		return green
	case "draining", "killing":
		return yellow
	case "halted":
		return red
	}
	if s.Failures > 0 {
		return yellow
	}
	return dim
}

func (v statusView) lastExit(e *control.ExitStatus) string {
	if e == nil {
		return ""
	}
	text := oneLine(e.Class)
	if how := howEnded(*e); how != "exit 0" {
		text += ", " + how
	}
	return text + ", " + ago(v.now, e.At) + " ago"
}

// howEnded is an exit status in the words of a shell.
func howEnded(e control.ExitStatus) string {
	switch {
	case e.Signal != "":
		return oneLine(e.Signal)
	case e.Code >= 0:
		return fmt.Sprintf("exit %d", e.Code)
	default:
		return "exit unknown"
	}
}

// footer names what should be up and is not, below the table where the eye
// and the prompt are.
func (v statusView) footer(all []control.ConsumerStatus) {
	var ill []string
	for _, c := range all {
		if !c.Healthy {
			ill = append(ill, oneLine(c.Name))
		}
	}
	if len(ill) == 0 {
		return
	}
	v.printf("\n")
	text := fmt.Sprintf("%d of %s not as it should be: %s", len(ill), plural(len(all), "consumer"), strings.Join(ill, ", "))
	if len(ill) > 1 {
		text = strings.Replace(text, "not as it should", "not as they should", 1)
	}
	v.line(red, text)
	v.printf("%s\n", v.paint(dim, "more with: qsuper explain "+ill[0]))
}
