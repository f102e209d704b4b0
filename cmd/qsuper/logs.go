package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"

	"github.com/mattn/go-runewidth"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"qsuper/control"
)

type logsOptions struct {
	names  []string
	follow bool
	lines  int
	raw    bool
}

func (o *logsOptions) addFlags(f *pflag.FlagSet) {
	f.BoolVarP(&o.follow, "follow", "f", false, "go on with each new line")
	f.IntVarP(&o.lines, "lines", "n", 100, "how many `lines` of each instance to begin with")
	f.BoolVar(&o.raw, "raw", false, "pass all control characters on to the terminal, not only colours")
}

func newLogsCmd(a *app) *cobra.Command {
	var o logsOptions
	cmd := &cobra.Command{
		Use: "logs [NAME[/SLOT]…]",
		Example: "  qsuper logs -f orders\n" +
			"  qsuper logs -n 20 orders/2 '@mail'",
		Short:             "What consumers print",
		Args:              args(0, -1),
		ValidArgsFunction: a.completeNames,
		RunE: func(cmd *cobra.Command, names []string) error {
			o.names = names
			if o.lines < 0 {
				return usage("give a number from 0 on", "--lines cannot be negative")
			}
			return a.remote(cmd, func(ctx context.Context, c *control.Client, out *screen) error {
				return runLogs(ctx, c, o, out)
			})
		},
	}
	o.addFlags(cmd.Flags())
	return cmd
}

func runLogs(ctx context.Context, c *control.Client, o logsOptions, out *screen) error {
	w := bufio.NewWriter(out)
	show, err := o.printer(ctx, c, out, w)
	if err != nil {
		return err
	}
	ask := control.Stream{Names: o.names, Last: o.lines, Follow: o.follow, Marks: o.follow}
	return follow(ctx, c, out, ask, func(ask control.Stream, at cursors) error {
		err := c.Logs(ctx, ask, func(l control.LogLine) error {
			at.keep(fmt.Sprint(l.Consumer, "/", l.Slot), l.Cursor)
			if l.Mark {
				return nil
			}
			show(l)
			if o.follow {
				return w.Flush()
			}
			return nil
		})
		return errors.Join(err, w.Flush())
	})
}

// printer returns what writes one line. Lines of several instances are marked
// with the one they come from.
func (o logsOptions) printer(ctx context.Context, c *control.Client, out *screen, w *bufio.Writer) (func(control.LogLine), error) {
	if out.json {
		return func(l control.LogLine) { writeJSONLine(w, l) }, nil
	}
	st, err := c.Status(ctx, control.StatusQuery{Names: o.names})
	if err != nil {
		return nil, err
	}
	marked, width := o.marks(st)
	return func(l control.LogLine) {
		text := l.Text
		if out.live && !o.raw {
			text = printed(text, out.colour)
		}
		if marked {
			who := fmt.Sprintf("%s/%d", l.Consumer, l.Slot)
			fmt.Fprintf(w, "%s ", out.paint(hue(who), runewidth.FillRight(oneLine(who), width)+" |"))
		}
		w.WriteString(text)
		w.WriteByte('\n')
	}, nil
}

// marks says whether more than one instance is shown, and how long their names
// are.
func (o logsOptions) marks(st control.Status) (marked bool, width int) {
	slots := 0
	for _, c := range st.Consumers {
		slots += c.Max
		width = max(width, runewidth.StringWidth(oneLine(c.Name))+1+len(strconv.Itoa(max(0, c.Max-1))))
	}
	for _, j := range st.Jobs {
		slots++
		width = max(width, runewidth.StringWidth(oneLine(j.Name))+2)
	}
	if len(o.names) == 1 && !strings.ContainsAny(o.names[0], "*?[") {
		if _, slot, found := strings.Cut(o.names[0], "/"); found {
			if _, err := strconv.Atoi(slot); err == nil {
				return false, 0
			}
		}
	}
	return slots > 1, width
}

// hue gives each instance one of the colours that can be read on dark and light.
func hue(who string) style {
	hues := []style{"36", "33", "32", "35", "34", "31"}
	h := fnv.New32a()
	h.Write([]byte(who))
	return hues[h.Sum32()%uint32(len(hues))]
}
