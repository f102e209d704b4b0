package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"qsuper/config"
	"qsuper/control"
)

func newJobsCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use: "jobs [NAME…]",
		Example: "  qsuper jobs\n" +
			"  qsuper jobs reindex --json",
		Short:             "Cron jobs: when each runs next, and how it ended last",
		Args:              args(0, -1),
		ValidArgsFunction: a.completeNames,
		RunE: func(cmd *cobra.Command, names []string) error {
			return a.remote(cmd, func(ctx context.Context, c *control.Client, out *screen) error {
				return runJobs(ctx, c, names, out, a.now)
			})
		},
	}
	cmd.AddCommand(newJobsRunCmd(a), newJobsExplainCmd(a))
	return cmd
}

func runJobs(ctx context.Context, c *control.Client, names []string, out *screen, now clockFunc) error {
	st, err := c.Status(ctx, control.StatusQuery{Names: names, Slots: out.json})
	if err != nil {
		return err
	}
	if out.json {
		return printJSON(out, st.Jobs)
	}
	if len(st.Jobs) == 0 && len(names) > 0 {
		return &exitError{code: exitFailed, err: errors.New("no job is meant by that"), hint: "these are consumers: see \"qsuper status\""}
	}
	if len(st.Jobs) == 0 {
		out.printf("no jobs in %s\n", oneLine(st.Daemon.Config.Path))
		return nil
	}
	var page bytes.Buffer
	v := statusView{screen: out.to(&page), now: now()}
	v.jobs(st.Jobs)
	_, err = page.WriteTo(out)
	return err
}

// jobs is the table of jobs.
func (v statusView) jobs(all []control.JobStatus) {
	t := table{columns: []column{
		{title: "JOB"}, {title: "SCHEDULE", drop: 3}, {title: "STATE"}, {title: "NEXT", right: true},
		{title: "LAST", right: true, drop: 2}, {title: "EXIT"}, {title: "SECONDS", right: true, drop: 1}, {title: "REASON", flex: true},
	}}
	for _, j := range all {
		r := t.add(cell{text: oneLine(j.Name)}, cell{text: oneLine(j.Schedule)}, cell{oneLine(j.State), stateStyle(j.State, j.Healthy)}, cell{}, cell{}, cell{}, cell{}, cell{})
		if j.Starts != nil {
			r.cells[3].text = "in " + humane(j.Starts.Sub(v.now).Truncate(time.Second))
		}
		switch l, e := j.Last, j.Elsewhere; {
		case e != nil && (l == nil || l.At.Before(e.At)):
			r.cells[4].text = ago(v.now, e.At) + " ago"
			r.cells[5] = cell{"on " + oneLine(e.Host), dim}
		case l != nil:
			r.cells[4].text = ago(v.now, l.At) + " ago"
			r.cells[5] = cell{endOf(*l), classStyle(l.Class)}
			r.cells[6].text = fmt.Sprintf("%.1f", l.Seconds)
		}
		if j.State != "waiting" && j.State != "running" || !j.Healthy || len(j.Open) > 0 && !j.Running {
			r.cells[7].text = oneLine(j.Reason)
		}
	}
	t.write(v.screen)
}

// endOf is how the last fire of a job ended: the exit code, or what says more.
func endOf(e control.JobEnd) string {
	switch {
	case e.Class != "clean" && e.Class != "crashed":
		return oneLine(e.Class)
	case e.Signal != "":
		return oneLine(e.Signal)
	}
	return fmt.Sprint(e.Code)
}

type jobRunOptions struct {
	name    string
	wait    bool
	timeout time.Duration
}

func newJobsRunCmd(a *app) *cobra.Command {
	var o jobRunOptions
	cmd := &cobra.Command{
		Use:     "run NAME",
		Example: "  qsuper jobs run reindex --wait",
		Short:   "Run a job now",
		Long: "Runs a job now, besides its schedule. While it still runs, its `overlap` says what\n" +
			"becomes of this. With --wait the exit code tells how it ended." + exitHelp(exitDone, exitFailed, exitNoDaemon),
		Args:              args(1, 1),
		ValidArgsFunction: a.completeOneName,
		RunE: func(cmd *cobra.Command, names []string) error {
			o.name = names[0]
			return a.remote(cmd, func(ctx context.Context, c *control.Client, out *screen) error {
				return runJobsRun(ctx, c, o, out)
			})
		},
	}
	cmd.Flags().BoolVarP(&o.wait, "wait", "w", false, "return when it has ended")
	cmd.Flags().DurationVar(&o.timeout, "timeout", 0, "how long to wait; 0 = as long as it takes")
	return cmd
}

func runJobsRun(ctx context.Context, c *control.Client, o jobRunOptions, out *screen) error {
	if o.timeout < 0 || o.timeout > 0 && !o.wait {
		return usage("give --wait with a --timeout above zero", "--timeout says how long to wait")
	}
	req := control.JobRun{Name: o.name, Wait: o.wait}
	if o.timeout > 0 {
		req.Timeout = o.timeout.String()
	}
	r, err := c.RunJob(ctx, req)
	if err != nil {
		return err
	}
	if out.json {
		if err := printJSON(out, r); err != nil {
			return err
		}
	}
	say := out.printf
	if out.json {
		say = func(string, ...any) {}
	}
	switch {
	case r.Skipped != "":
		return &exitError{code: exitFailed, err: fmt.Errorf("%s does not run: %s", o.name, oneLine(r.Skipped))}
	case r.End != nil && (r.End.Class == "clean" || r.End.Class == "stopped"):
		say("%s: %s\n", o.name, oneLine(r.End.Detail))
	case r.End != nil:
		return &exitError{code: exitFailed, err: fmt.Errorf("%s failed: %s", o.name, oneLine(r.End.Detail)), hint: "what it printed: qsuper logs " + o.name}
	case o.wait:
		return &exitError{code: exitFailed, err: fmt.Errorf("%s has not ended within %s; it goes on", o.name, humane(o.timeout))}
	case r.Waits != "":
		say("%s is due, and waits: %s\n", o.name, oneLine(r.Waits))
	case r.Fire.PID != 0:
		say("%s runs, pid %d\n", o.name, r.Fire.PID)
	default:
		say("%s is started\n", o.name)
	}
	return nil
}

type jobExplainOptions struct {
	config string
	name   string
	from   string
	span   span
}

func newJobsExplainCmd(a *app) *cobra.Command {
	var o jobExplainOptions
	cmd := &cobra.Command{
		Use:   "explain NAME",
		Short: "Every fire of a job in a span of time, and why",
		Long: "Prints every moment at which the file has a job run, without running anything, and what\n" +
			"clock changes have to do with it. It needs no daemon.",
		Example: "  qsuper jobs explain backup --from 2026-03-28 --for 72h",
		Args:    args(1, 1),
		RunE: func(_ *cobra.Command, names []string) error {
			o.config, o.name = a.config, names[0]
			return runJobsExplain(o, a.screen(), a.now)
		},
	}
	cmd.Flags().StringVar(&o.from, "from", "", "beginning, in the job's zone: 2026-03-29, \"2026-03-29 01:30\", or with an offset 2026-03-29T01:30:00+01:00 (default now)")
	o.span = span{time: 24 * time.Hour}
	cmd.Flags().Var(&o.span, "for", "how long from then on: 72h, 3d, 2w")
	return cmd
}

func runJobsExplain(o jobExplainOptions, out *screen, now clockFunc) error {
	job, err := findJob(o)
	if err != nil {
		return err
	}
	from, err := parseMoment(o.from, job.Schedule.Zone(), now())
	if err != nil {
		return err
	}
	until := o.span.after(from)
	if !until.After(from) {
		return usage("give a duration such as 72h", "--for must be more than 0")
	}
	x := firesOf(job, from, until.Sub(from), control.MaxFires)
	if out.json {
		return printJSON(out, x)
	}
	printFires(x, out)
	return nil
}

// firesOf goes through the fires of a job from a moment on.
func firesOf(job *config.Job, from time.Time, span time.Duration, limit int) control.JobExplain {
	zone := job.Schedule.Zone()
	x := control.JobExplain{
		Job: job.Name, Schedule: job.Schedule.String(), Timezone: zone.String(), Jitter: job.Jitter.Seconds(),
		From: from.In(zone), Until: from.In(zone).Add(span), Fires: []control.JobPlanned{},
	}
	if job.Shared() {
		x.Lock = job.Lock
	}
	for f := job.Schedule.Next(from.Add(-1)); !f.At.IsZero() && f.At.Before(x.Until); f = job.Schedule.Next(f.At) {
		if x.More = len(x.Fires) == limit; x.More {
			break
		}
		x.Fires = append(x.Fires, control.JobPlanned{At: f.At, UTC: f.At.UTC(), Note: f.Note})
	}
	return x
}

func printFires(x control.JobExplain, out *screen) {
	var page bytes.Buffer
	p := out.to(&page)
	p.printf("%s: %s, time zone %s\n", oneLine(x.Job), oneLine(x.Schedule), oneLine(x.Timezone))
	if x.Jitter > 0 {
		p.printf("starts up to %s later, by its jitter\n", humaneSeconds(x.Jitter))
	}
	if x.Lock != "" {
		p.printf("each runs on one of the hosts that share lock %s\n", oneLine(x.Lock))
	}
	t := table{columns: []column{{title: "FIRE"}, {title: "UTC"}, {title: "WHY", flex: true}}}
	for _, f := range x.Fires {
		why := f.Note
		if why == "" {
			why = "the schedule names it"
		}
		t.add(cell{text: f.At.Format("Mon 2006-01-02 15:04:05 -0700")}, cell{text: f.UTC.Format("2006-01-02 15:04:05")}, cell{text: why})
	}
	if len(t.rows) > 0 {
		t.write(p)
	}
	p.printf("%s from %s until %s\n", plural(len(x.Fires), "fire"), x.From.Format("2006-01-02 15:04:05 -0700"), x.Until.Format("2006-01-02 15:04:05 -0700"))
	if x.More {
		p.printf("there are more: take a shorter --for\n")
	}
	_, _ = page.WriteTo(out)
}

func findJob(o jobExplainOptions) (*config.Job, error) {
	path, err := config.Find(o.config)
	if err != nil {
		return nil, &exitError{code: exitConfig, err: err}
	}
	cfg, err := config.Load(path, config.Options{})
	if err != nil {
		return nil, err
	}
	for _, j := range cfg.Jobs {
		if j.Name == o.name {
			return j, nil
		}
	}
	return nil, &exitError{code: exitFailed, err: fmt.Errorf("no job is named %q in %s", o.name, path)}
}

// parseMoment reads a time in a zone; "" is now.
func parseMoment(text string, zone *time.Location, now time.Time) (time.Time, error) {
	if text == "" {
		return now.In(zone).Truncate(time.Second), nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t.In(zone), nil
	}
	for _, layout := range []string{time.DateOnly, "2006-01-02 15:04", time.DateTime, "2006-01-02T15:04", "2006-01-02T15:04:05"} {
		if t, err := time.ParseInLocation(layout, text, zone); err == nil {
			return t, nil
		}
	}
	return time.Time{}, usage(`write it as 2026-03-29, "2026-03-29 01:30" or 2026-03-29T01:30:00+01:00`, "cannot read %q as a moment", text)
}
