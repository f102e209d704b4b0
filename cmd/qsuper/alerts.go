package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"qsuper/control"
)

func newAlertsCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "alerts",
		Example: "  qsuper alerts",
		Short:   "What alerts there are, which are firing, and whether they arrive",
		Long:    "Shows every alert of the file, what it tells of now, and what became of the latest\nattempt to tell." + exitHelp(exitDone, exitFailed, exitNoDaemon),
		Args:    args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.remote(cmd, func(ctx context.Context, c *control.Client, out *screen) error {
				return runAlerts(ctx, c, out, a.now())
			})
		},
	}
	cmd.AddCommand(&cobra.Command{
		Use:     "test NAME",
		Example: "  qsuper alerts test orders-late",
		Short:   "Send a test by every way of an alert, now",
		Long:    "Sends a test by every way of an alert and says what became of each." + exitHelp(exitDone, exitFailed, exitNoDaemon),
		Args:    args(1, 1),
		RunE: func(cmd *cobra.Command, names []string) error {
			return a.remote(cmd, func(ctx context.Context, c *control.Client, out *screen) error {
				return runAlertTest(ctx, c, names[0], out)
			})
		},
	})
	return cmd
}

func runAlerts(ctx context.Context, c *control.Client, out *screen, now time.Time) error {
	list, err := c.Alerts(ctx)
	if err != nil {
		return err
	}
	if out.json {
		writeJSONLine(out, list)
		return nil
	}
	if len(list) == 0 {
		out.printf("The file has no alerts; config.example.yaml shows some.\n")
		return nil
	}
	t := table{columns: []column{{title: "ALERT"}, {title: "STATE"}, {title: "SINCE", right: true}, {title: "TOLD BY", drop: 1}, {title: "WHAT", flex: true}}}
	for _, s := range list {
		state, by := cell{s.State, green}, told(s.Ways, now)
		if s.State != "ok" {
			state.style = red
		}
		if len(s.Firing) == 0 {
			t.add(cell{oneLine(s.Name), plain}, state, cell{}, by, cell{})
		}
		for _, f := range s.Firing {
			t.add(cell{oneLine(s.Name), plain}, state, cell{ago(now, f.Since), plain}, by, cell{oneLine(f.Subject + ": " + f.Text), plain})
		}
		for _, w := range s.Ways {
			if w.Error != "" {
				last := &t.rows[len(t.rows)-1]
				last.notes = append(last.notes, w.By+" failed "+ago(now, w.At)+" ago: "+oneLine(w.Error))
			}
		}
	}
	t.write(out)
	return nil
}

// told names the ways, and when one was last used.
func told(ways []control.AlertWay, now time.Time) cell {
	var words []string
	style := plain
	for _, w := range ways {
		text := w.By
		switch {
		case w.Error != "":
			text, style = text+" FAILED", red
		case !w.At.IsZero():
			text += " " + ago(now, w.At) + " ago"
		}
		words = append(words, text)
	}
	return cell{strings.Join(words, ", "), style}
}

func runAlertTest(ctx context.Context, c *control.Client, name string, out *screen) error {
	ways, err := c.TestAlert(ctx, name)
	if err != nil {
		return err
	}
	if out.json {
		writeJSONLine(out, ways)
	}
	failed := false
	for _, w := range ways {
		if failed = failed || w.Error != ""; out.json {
			continue
		}
		if w.Error == "" {
			out.line(green, w.By+": delivered")
		} else {
			out.wrap(red, "", "  ", w.By+": not delivered: "+oneLine(w.Error))
		}
	}
	if failed {
		return exit(exitFailed)
	}
	return nil
}
