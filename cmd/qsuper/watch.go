package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"qsuper/control"
)

// watchEvery is how often a watch asks; a person sees no more.
const watchEvery = time.Second

// Sequences of xterm that every terminal of the last decades knows.
const (
	altScreen   = "\x1b[?1049h\x1b[?25l" // other screen, no cursor
	mainScreen  = "\x1b[?25h\x1b[?1049l"
	home        = "\x1b[H"
	clearToEOL  = "\x1b[K"
	clearBelow  = "\x1b[J"
	eraseLine   = "\r\x1b[K"
	carriageEnd = "\r\n"
)

// runWatch shows the status until ctx is done (exit 0) or the daemon has ended:
// exit 0 when it had said that it was stopping, 4 otherwise.
func runWatch(ctx context.Context, c *control.Client, o statusOptions, out *screen, now clockFunc) error {
	var show func(control.Status) error
	last := control.Status{}
	if out.live && !out.json {
		out.printf("%s", altScreen)
		defer func() {
			out.printf("%s", mainScreen)
			if last.Version != 0 {
				_ = o.print(out, last, now) // what was seen last stays on the screen
			}
		}()
		show = func(st control.Status) error { return redraw(out, o, st, now) }
	} else {
		show = printChanges(out, o, now)
	}
	tick := time.NewTicker(o.every)
	defer tick.Stop()
	for {
		st, err := c.Status(ctx, o.query(out))
		switch {
		case ctx.Err() != nil:
			return nil
		case ended(err) && last.Daemon.Stopping:
			return nil
		case err != nil:
			return err
		}
		last = st
		if err := show(st); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// ended says whether err means that the daemon is no more.
func ended(err error) bool {
	_, none := errors.AsType[*control.NoDaemon](err)
	_, lost := errors.AsType[*control.Lost](err)
	return none || lost
}

// redraw paints over the former table line by line in one write, so that
// nothing is ever blank.
func redraw(out *screen, o statusOptions, st control.Status, now clockFunc) error {
	out.measure()
	var page bytes.Buffer
	if err := o.print(out.to(&page), st, now); err != nil {
		return err
	}
	lines := strings.Split(strings.TrimRight(page.String(), "\n"), "\n")
	if room := out.height - 1; len(lines) > room {
		hidden := len(lines) - room + 1
		lines = append(lines[:room-1], out.paint(dim, fmt.Sprintf("%s %d more lines", out.sign("…", "..."), hidden)))
	}
	lines = append(lines, out.paint(dim, "Ctrl-C ends "+out.dot()+" "+clock(now())))
	text := home
	for i, l := range lines {
		if i > 0 {
			text += carriageEnd
		}
		text += l + clearToEOL
	}
	_, err := out.Write([]byte(text + clearBelow))
	return err
}

// printChanges prints the table whenever a state, a count of instances or a
// reason code differs from the former one; depths alone change all the time.
// JSON is one document a line then.
func printChanges(out *screen, o statusOptions, now clockFunc) func(control.Status) error {
	former := ""
	return func(st control.Status) error {
		var b strings.Builder
		fmt.Fprint(&b, st.Daemon.Stopping, st.Daemon.Config.Error)
		for _, c := range st.Consumers {
			fmt.Fprintln(&b, c.Name, c.State, c.Healthy, c.Running, c.Wanted, c.Code)
		}
		for _, c := range st.Connections {
			fmt.Fprintln(&b, c.Name, c.State)
		}
		if o.fleet {
			fleetChanges(&b, st.Locks)
		}
		if b.String() == former {
			return nil
		}
		blank := ""
		if former != "" {
			blank = "\n"
		}
		former = b.String()
		switch {
		case o.fleet && len(st.Locks) == 0:
			return errAlone(st)
		case out.json && o.fleet:
			return json.NewEncoder(out).Encode(st.Locks)
		case out.json:
			return json.NewEncoder(out).Encode(st)
		}
		out.printf("%s%s\n", blank, clock(now()))
		return o.print(out, st, now)
	}
}

// fleetChanges writes what makes a fleet worth printing again.
func fleetChanges(b *strings.Builder, locks []control.LockStatus) {
	for _, l := range locks {
		fmt.Fprintln(b, l.Name, l.State)
		for _, h := range allHosts(l) {
			fmt.Fprintln(b, h.Host, h.State)
			for _, c := range h.Consumers {
				fmt.Fprintln(b, c.Name, c.State, c.Running, c.Wanted, c.Code)
			}
		}
	}
}
