package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"qsuper/control"
)

type eventsOptions struct {
	names  []string
	follow bool
	lines  int
}

func (o *eventsOptions) addFlags(f *pflag.FlagSet) {
	f.BoolVarP(&o.follow, "follow", "f", false, "go on with each new one")
	f.IntVarP(&o.lines, "lines", "n", 100, "how many to begin with")
}

func newEventsCmd(a *app) *cobra.Command {
	var o eventsOptions
	cmd := &cobra.Command{
		Use: "events [NAME…]",
		Example: "  qsuper events -f\n" +
			"  qsuper events -n 1000 --json orders",
		Short:             "What happened: one line a transition",
		Args:              args(0, -1),
		ValidArgsFunction: a.completeNames,
		RunE: func(cmd *cobra.Command, names []string) error {
			o.names = names
			if o.lines < 0 {
				return usage("give a number from 0 on", "--lines cannot be negative")
			}
			return a.remote(cmd, func(ctx context.Context, c *control.Client, out *screen) error {
				return runEvents(ctx, c, o, out)
			})
		},
	}
	o.addFlags(cmd.Flags())
	return cmd
}

func runEvents(ctx context.Context, c *control.Client, o eventsOptions, out *screen) error {
	w := bufio.NewWriter(out)
	ask := control.Stream{Names: o.names, Last: o.lines, Follow: o.follow}
	width := narrowestName
	return follow(ctx, c, out, ask, func(ask control.Stream, at cursors) error {
		err := c.Events(ctx, ask, func(e control.Event) error {
			at.keep("", e.Cursor)
			if out.json {
				writeJSONLine(w, e)
			} else {
				width = max(width, len([]rune(subject(e)))) // what follows keeps to it
				fmt.Fprintln(w, eventLine(out, clock(e.At), width, e))
			}
			if o.follow {
				return w.Flush()
			}
			return nil
		})
		return errors.Join(err, w.Flush())
	})
}

func writeJSONLine(w io.Writer, v any) {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	_ = e.Encode(v) // wire types always encode, and w keeps its first error
}

// narrowestName is the least width of the column of names.
const narrowestName = 16

// subject is who an event is about.
func subject(e control.Event) string {
	who := oneLine(e.Consumer)
	if e.Slot != nil {
		who += fmt.Sprintf("/%d", *e.Slot)
	}
	if who == "" {
		who = "daemon"
	}
	return who
}

// eventLine is time, who, transition and reason.
func eventLine(out *screen, at string, width int, e control.Event) string {
	parts := []string{out.paint(dim, at), fmt.Sprintf("%-*s", width, subject(e))}
	if e.From != "" || e.To != "" {
		change := oneLine(e.From) + " " + out.sign("→", "->") + " " + oneLine(e.To)
		parts = append(parts, out.paint(phaseStyle(control.SlotStatus{Phase: e.To}), fmt.Sprintf("%-20s", change)))
	}
	reason := oneLine(e.Reason)
	if reason == "" {
		reason = oneLine(e.Code)
	}
	if e.PID != 0 {
		reason += fmt.Sprintf(" (pid %d, run %d)", e.PID, e.Run)
	}
	return strings.TrimRight(strings.Join(append(parts, reason), "  "), " ")
}
