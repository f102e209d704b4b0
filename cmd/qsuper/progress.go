package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"qsuper/control"
)

// A wait that is over sooner shows no progress line; later ones are redrawn at
// this pace.
const progressEvery = 300 * time.Millisecond

type slotKey struct {
	consumer string
	slot     int
}

// Where nobody watches, as in a deploy's log, a line is written to stderr that
// seldom.
const (
	reportFirst = 10 * time.Second
	reportEvery = 30 * time.Second
)

// progress is the line that is redrawn while a command waits: stopping orders:
// 3 of 4 gone, 12s/30s (orders/2).
type progress struct {
	client *control.Client
	cmd    control.Command
	words  wording
	out    *screen
	began  time.Time
	before map[slotKey]uint64 // the run of each instance there was
	early  int                // instances that were done before anybody looked
}

// withProgress runs act, on a terminal with a progress line above the outcome, and
// elsewhere with a line on stderr once in a while. running is how many instances
// there are when that is known: a stop need not look at them all while they end.
func withProgress(ctx context.Context, c *control.Client, cmd control.Command, w wording, out *screen, running int,
	act func() (control.CommandReply, error),
) (control.CommandReply, error) {
	if !cmd.Wait {
		return act()
	}
	p := &progress{client: c, cmd: cmd, words: w, out: out, began: time.Now(), before: map[slotKey]uint64{}}
	redraw := out.live && !out.json
	if redraw {
		_ = p.begin(ctx) // then less is told
	}
	type result struct {
		reply control.CommandReply
		err   error
	}
	done := make(chan result, 1)
	go func() {
		reply, err := act()
		done <- result{reply, err}
	}()
	late := !redraw && running > 0
	if !redraw && !late {
		_ = p.begin(ctx) // meanwhile: most waits are over before anything is told of them
	}
	pause := reportFirst
	if redraw || late {
		pause = progressEvery
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for {
		select {
		case r := <-done:
			if redraw {
				out.printf("%s", eraseLine)
			}
			return r.reply, r.err
		case <-timer.C:
		}
		switch {
		case late:
			if p.begin(ctx) == nil {
				p.early = max(running-len(p.before), 0)
			}
			late, pause = false, reportFirst
		case redraw:
			p.show(ctx, redraw)
		default:
			p.show(ctx, redraw)
			pause = reportEvery
		}
		timer.Reset(pause)
	}
}

func (p *progress) show(ctx context.Context, redraw bool) {
	st, err := p.look(ctx)
	switch {
	case err != nil:
	case redraw:
		p.out.measure()
		p.out.printf("%s%s", eraseLine, p.out.cut(p.text(st, time.Now()), p.out.width-1))
	default:
		fmt.Fprintln(p.out.stderr, "qsuper:", p.text(st, time.Now()))
	}
}

func (p *progress) look(ctx context.Context) (control.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, progressEvery)
	defer cancel()
	return p.client.Status(ctx, control.StatusQuery{Names: p.cmd.Names, Slots: true})
}

// begin notes which instances there are.
func (p *progress) begin(ctx context.Context) error {
	st, err := p.look(ctx)
	if err == nil {
		p.remember(st)
	}
	return err
}

func (p *progress) remember(st control.Status) {
	for _, c := range st.Consumers {
		for _, s := range c.Slots {
			if s.PID != 0 {
				p.before[slotKey{c.Name, s.Slot}] = s.Run
			}
		}
	}
}

func (p *progress) text(st control.Status, now time.Time) string {
	var who []string
	for _, c := range st.Consumers {
		who = append(who, oneLine(c.Name))
	}
	name := strings.Join(who, ", ")
	if len(p.cmd.Names) == 0 || len(who) > 3 {
		name = plural(len(who), "consumer")
	}
	done, total, limit, left := p.count(st)
	text := fmt.Sprintf("%s %s: %d of %d %s, %s", p.words.doing, name, done, total, p.words.state, humane(now.Sub(p.began).Truncate(time.Second)))
	if limit > 0 {
		text += "/" + humane(limit.Round(time.Second))
	}
	if len(left) > 0 && len(left) <= 5 {
		text += " (" + strings.Join(left, ", ") + ")"
	}
	return text
}

// count says how many instances are done, out of how many; how long the longest
// grace is, counted from the beginning; and who is left.
func (p *progress) count(st control.Status) (done, total int, limit time.Duration, left []string) {
	done, total = p.early, p.early
	for _, c := range st.Consumers {
		if p.words.state == "running" {
			done, total = done+c.Running, total+c.Wanted
			continue
		}
		for _, s := range c.Slots {
			run, was := p.before[slotKey{c.Name, s.Slot}]
			if !was {
				continue
			}
			total++
			if p.finished(s, run) {
				done++
				continue
			}
			left = append(left, fmt.Sprintf("%s/%d", oneLine(c.Name), s.Slot))
			if s.Deadline != nil && s.Phase != "running" {
				limit = max(limit, s.Deadline.Sub(p.began))
			}
		}
	}
	return done, total, limit, left
}

func (p *progress) finished(s control.SlotStatus, run uint64) bool {
	if p.words.state == "renewed" {
		return s.Run > run && s.PID != 0
	}
	return s.Run > run || s.PID == 0
}
