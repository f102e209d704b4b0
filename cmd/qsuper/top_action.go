package main

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode"

	tea "charm.land/bubbletea/v2"

	"qsuper/control"
)

// topAction is a command that a key gives.
type topAction struct {
	key   string
	verb  string
	ask   string // the question, after the names
	label string // in the help
	words wording
}

var topActions = []topAction{
	{"s", control.VerbStart, "Start %s?", "start", startWords},
	{"x", control.VerbStop, "Stop %s? What runs finishes its message, and it stays down.", "stop", stopWords},
	{"r", control.VerbRestart, "Restart %s? What runs finishes its message first.", "restart", restartWords},
	{"R", restartRolling, "Restart %s one after another. How many extra instances first? (0: none) ", "rolling restart", restartWords},
	{"w", control.VerbStopWorkers, "Renew the workers of %s? Each finishes its message and comes back.", "stop-workers: finish, come back", stopWorkersWords},
	{"p", control.VerbPause, "Pause %s? What runs finishes its message, nothing starts.", "pause", pauseWords},
	{"u", control.VerbResume, "Resume %s?", "resume", resumeWords},
	{"n", control.VerbScale, "Instances of %s: ", "scale: another number", scaleWords},
}

// runJobNow stands for `jobs run` among the actions: it is what a start of jobs means.
const runJobNow = "run"

// restartRolling stands for `restart --rolling`, with --surge where extra instances
// are asked for.
const restartRolling = "rolling"

// prompt is a question on the last line.
type prompt struct {
	text   string
	input  bool // a text is asked for; else yes or no
	filter bool // the text is a filter, which works while it is typed
	typed  string
	former string // what to go back to
	yes    func(typed string) tea.Cmd
}

func (p *prompt) insert(text string) {
	for _, r := range text {
		if unicode.IsPrint(r) && len(p.typed) < 128 {
			p.typed += string(r)
		}
	}
}

// acted is the outcome of a command.
type acted struct {
	tone style
	text string
}

// ask puts the question of an action.
func (t *top) ask(a topAction) {
	names := t.meant()
	if len(names) == 0 {
		return
	}
	who := strings.Join(names, ", ")
	if len(names) > 4 {
		who = fmt.Sprintf("%s and %d more", strings.Join(names[:3], ", "), len(names)-3)
	}
	p := &prompt{text: fmt.Sprintf(a.ask, oneLine(who))}
	switch {
	case a.verb == control.VerbScale, a.verb == restartRolling:
		p.input = true
		p.yes = func(typed string) tea.Cmd {
			if a.verb == restartRolling && strings.TrimSpace(typed) == "" {
				typed = "0"
			}
			n, err := strconv.Atoi(strings.TrimSpace(typed))
			if err != nil || n < 0 {
				t.say(red, fmt.Sprintf("%q is no number of instances", typed))
				return nil
			}
			return t.act(a, names, n)
		}
	case a.verb == control.VerbStart && t.onlyJobs(names):
		a.verb = runJobNow
		p.text = fmt.Sprintf("Run %s now?", oneLine(who))
		p.yes = func(string) tea.Cmd { return t.act(a, names, 0) }
	default:
		p.yes = func(string) tea.Cmd { return t.act(a, names, 0) }
	}
	t.prompt = p
}

// meant is what an action is about.
func (t *top) meant() []string {
	switch t.tab {
	case tabFleet:
		return t.fleet.meant()
	case tabSlots:
		return t.slots.meant()
	}
	return []string{t.subject}
}

func (t *top) onlyJobs(names []string) bool {
	jobs := map[string]bool{}
	for _, j := range t.st.Jobs {
		jobs[j.Name] = true
	}
	for _, n := range names {
		if !jobs[n] {
			return false
		}
	}
	return true
}

// act gives a command and waits for what becomes of it in a goroutine of its own.
// Whoever quits meanwhile ends the waiting only.
func (t *top) act(a topAction, names []string, count int) tea.Cmd {
	clear(t.fleet.marks)
	clear(t.slots.marks)
	t.doing++
	if a.verb == runJobNow {
		t.say(plain, "running "+oneLine(strings.Join(names, ", ")))
		return func() tea.Msg { return t.runJobs(names) }
	}
	cmd := control.Command{Verb: a.verb, Names: names, Wait: true, Count: count}
	w := a.words
	switch a.verb {
	case restartRolling:
		cmd.Verb, cmd.Rolling, cmd.Count = control.VerbRestart, true, 0
		if count > 0 {
			cmd.Surge = strconv.Itoa(count)
		}
	case control.VerbStart, control.VerbResume:
		cmd.Timeout = startTimeout.String()
	case control.VerbScale:
		w.suffix = " to " + strconv.Itoa(count)
	}
	at := cmd
	at.Wait = false
	t.say(plain, summary(control.CommandReply{Consumers: names}, 0, at, w))
	return func() tea.Msg {
		reply, err := t.client.Do(t.ctx, cmd)
		return outcomeOf(reply, err, cmd, w)
	}
}

// outcomeOf is what the command line would have said in its last line.
func outcomeOf(reply control.CommandReply, err error, cmd control.Command, w wording) acted {
	if err == nil {
		n := outcomes(&screen{Writer: &bytes.Buffer{}}, reply, w)
		if verdict := verdict(reply, cmd, w); reply.TimedOut {
			return acted{yellow, oneLine(verdict.Error())}
		} else if len(reply.Failed) > 0 {
			return acted{red, oneLine(verdict.Error())}
		}
		text, tone := summary(reply, n, cmd, w), green
		if reply.Killed > 0 {
			tone = yellow
		}
		if reply.Warning != "" {
			text, tone = text+"; warning: "+reply.Warning, yellow
		}
		return acted{tone, oneLine(text)}
	}
	text := err.Error()
	if h, ok := err.(interface{ Hint() string }); ok && h.Hint() != "" {
		text += ": " + h.Hint()
	}
	return acted{red, oneLine(text)}
}

func (t *top) runJobs(names []string) acted {
	for _, name := range names {
		r, err := t.client.RunJob(t.ctx, control.JobRun{Name: name})
		switch {
		case err != nil:
			return outcomeOf(control.CommandReply{}, err, control.Command{}, wording{})
		case r.Skipped != "":
			return acted{yellow, oneLine(name + " does not run: " + r.Skipped)}
		}
	}
	return acted{green, oneLine(strings.Join(names, ", ")) + " runs, as far as nothing keeps it from starting"}
}
