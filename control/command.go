package control

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// The verbs of a Command.
const (
	VerbStart       = "start"
	VerbStop        = "stop"
	VerbRestart     = "restart"
	VerbStopWorkers = "stop-workers"
	VerbPause       = "pause"
	VerbResume      = "resume"
	VerbScale       = "scale"
	VerbPass        = "pass" // of `run --once`: look at every gate once more
)

var verbs = []string{VerbStart, VerbStop, VerbRestart, VerbStopWorkers, VerbPause, VerbResume, VerbScale, VerbPass}

// A request names at most maxNames consumers of at most maxName bytes each:
// far above any fleet, far below what would hurt the daemon.
const (
	maxNames     = 4096
	maxName      = 256
	maxInstances = 10000
)

// Validate returns an *Invalid when the command cannot be carried out by any
// daemon. The server calls it, so a Daemon sees only valid commands.
func (c Command) Validate() error {
	if !slices.Contains(verbs, c.Verb) {
		return &Invalid{
			Problem: fmt.Sprintf("unknown verb %q", clip(c.Verb)),
			Advice:  "verbs are " + strings.Join(verbs, ", "),
		}
	}
	if err := validNames(c.Names); err != nil {
		return err
	}
	if _, err := c.limit(); err != nil {
		return err
	}
	if c.Verb == VerbScale {
		if len(c.Names) == 0 {
			return &Invalid{Problem: "scale needs the name of a consumer"}
		}
		if c.Count < 0 || c.Count > maxInstances {
			return &Invalid{Problem: fmt.Sprintf("cannot scale to %d instances", c.Count), Advice: fmt.Sprintf("give a number from 0 to %d", maxInstances)}
		}
	}
	if c.Fleet && (c.Wait || c.Verb != VerbStopWorkers && c.Verb != VerbPause && c.Verb != VerbResume) {
		return &Invalid{Problem: "this cannot be asked of the whole fleet", Advice: "stop-workers, pause and resume can, without waiting for the instances"}
	}
	if c.App && c.Verb != VerbStopWorkers {
		return &Invalid{Problem: c.Verb + " tells no application", Advice: "only stop-workers does"}
	}
	return c.validRoll()
}

// validRoll checks how a restart goes from one to the next.
func (c Command) validRoll() error {
	switch {
	case c.Verb != VerbRestart && (c.Rolling || c.MaxUnavailable != "" || c.Surge != ""):
		return &Invalid{Problem: c.Verb + " cannot be rolling", Advice: "only restart can"}
	case c.Surge != "" && !c.Rolling:
		return &Invalid{Problem: "surge means nothing unless the restart is rolling", Advice: "say rolling, too"}
	case c.Surge != "" && c.MaxUnavailable != "":
		return &Invalid{Problem: "surge and max_unavailable exclude each other", Advice: "with surge none is taken away before there is another"}
	}
	if _, err := share("max_unavailable", c.MaxUnavailable, "25%", 1); err != nil {
		return err
	}
	_, err := share("surge", c.Surge, "1", 1)
	return err
}

// Extra is how many of a consumer's instances a rolling restart starts before it
// stops others: Surge of them, rounded down, but at least one. It is 0 without Surge.
func (c Command) Extra(instances int) int {
	if c.Surge == "" {
		return 0
	}
	n, err := share("surge", c.Surge, "1", instances)
	if err != nil {
		return 1
	}
	return n
}

// Limit is how long Wait may take; 0 = as long as it needs.
func (c Command) Limit() time.Duration {
	d, _ := c.limit()
	return d
}

func (c Command) limit() (time.Duration, error) {
	if c.Timeout == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(c.Timeout)
	if err != nil || d <= 0 {
		return 0, &Invalid{Problem: fmt.Sprintf("cannot use %q as a timeout", clip(c.Timeout)), Advice: "give a duration above zero with its unit, such as 60s"}
	}
	return d, nil
}

// Batch is how many of a consumer's instances a rolling restart may take away
// at once: MaxUnavailable of them, rounded down, but at least one. Without
// Rolling it is all of them.
func (c Command) Batch(instances int) int {
	if !c.Rolling {
		return max(1, instances)
	}
	n, err := share("max_unavailable", c.MaxUnavailable, "25%", instances)
	if err != nil {
		return 1
	}
	return n
}

// share reads a number of instances, or a share of them; "" stands for standard.
func share(key, text, standard string, instances int) (int, error) {
	bad := &Invalid{Problem: fmt.Sprintf("cannot use %q as %s", clip(text), key), Advice: `give a number such as 2, or a share such as 25%`}
	if text == "" {
		text = standard
	}
	number, percent := strings.CutSuffix(text, "%")
	n, err := strconv.Atoi(number)
	if err != nil || n < 1 || n > maxInstances || percent && n > 100 {
		return 0, bad
	}
	if percent {
		n = instances * n / 100
	}
	return max(1, n), nil
}

func validNames(names []string) error {
	if len(names) > maxNames {
		return &Invalid{Problem: fmt.Sprintf("%d names are too many", len(names)), Advice: "use a glob such as 'mail-*' or a @group"}
	}
	for _, n := range names {
		if n == "" || len(n) > maxName || strings.ContainsFunc(n, unicode.IsControl) {
			return &Invalid{
				Problem: fmt.Sprintf("%q cannot be a name", clip(n)),
				Advice:  "give a consumer, consumer/slot, @group or a glob",
			}
		}
	}
	return nil
}

// clip keeps what a stranger sent from filling a message.
func clip(s string) string {
	const most = 64
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}
