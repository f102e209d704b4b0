package runner

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"qsuper/config"
)

// AppReply says what became of an application's own restart command.
type AppReply struct {
	Command   string
	Consumers []string // whose it is
	Output    string
	Err       string // "" = it has ended with 0
}

// appLimit is how long such a command may take; frameworks need some seconds to begin.
const appLimit = time.Minute

// TellApps runs the applications' own commands that end all workers, once each, for
// the consumers that names mean. They run as the consumers do, one after the other.
func (r *Runner) TellApps(ctx context.Context, names []string) ([]AppReply, error) {
	targets, err := r.resolve(names)
	if err != nil {
		return nil, err
	}
	var replies []AppReply
	known := map[string]int{}
	var asked []*config.Consumer
	for _, t := range targets {
		c := t.c.shared.Load()
		if t.c.job != nil || len(c.AppRestart) == 0 {
			continue
		}
		asked = append(asked, c)
		own := *c
		own.Command, own.Shell = c.AppRestart, ""
		launch, err := own.Expand(0)
		key := fmt.Sprintf("%q %q %v %q %q", launch.Argv, launch.Dir, launch.Env, c.EnvFile, c.User)
		if i, done := known[key]; done && err == nil {
			replies[i].Consumers = append(replies[i].Consumers, c.Name)
			continue
		}
		known[key] = len(replies)
		replies = append(replies, r.tellApp(ctx, &own, strings.Join(launch.Argv, " ")))
	}
	if len(replies) == 0 {
		return nil, &UsageError{Problem: "none of these consumers has a command that tells the application's workers to end", Advice: "give app_restart: [php, artisan, queue:restart], or a preset"}
	}
	r.lookAgain(ctx, asked)
	return replies, nil
}

func (r *Runner) tellApp(ctx context.Context, own *config.Consumer, words string) AppReply {
	ctx, cancel := context.WithTimeout(ctx, appLimit)
	defer cancel()
	out, err := output(ctx, r.launcher(), own)
	if errors.Is(err, errLate) {
		err = fmt.Errorf("%w within %s", err, appLimit)
	}
	reply := AppReply{Command: words, Consumers: []string{own.Name}, Output: out}
	if err != nil {
		reply.Err = err.Error()
	}
	r.log.Info("told the application to restart its workers", "command", words, "error", reply.Err)
	return reply
}

// lookAgain has what these consumers restart on looked at, so that what the command has
// just changed is no news for instances that start from now on.
func (r *Runner) lookAgain(ctx context.Context, asked []*config.Consumer) {
	ctx, cancel := context.WithTimeout(ctx, viewLimit)
	defer cancel()
	var conns []string
	for _, c := range asked {
		for _, s := range c.RestartOn {
			if s.Connection != "" && !slices.Contains(conns, s.Connection) {
				conns = append(conns, s.Connection)
			}
		}
	}
	r.lookout.soon()
	for _, name := range conns {
		seen := make(chan struct{})
		r.board.demand(ctx, name, func(*look) { close(seen) })
		select {
		case <-seen:
		case <-ctx.Done():
		}
	}
}
