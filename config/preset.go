package config

import (
	"maps"
	"slices"
	"strings"

	"qsuper/internal/kind"
)

// A preset knows how one framework's consumers are run: `preset: symfony`, or
// `preset: {type: symfony, receivers: [async]}` for its parameters.
//
// Its values stand below everything that is written: a key of the consumer wins
// over `defaults`, `defaults` over the preset, the preset over qsuper's built-in
// defaults. Where a setting is not set (max_messages, time_limit, memory_limit),
// the flag for it is left out and the framework's own default holds.
type preset interface {
	// layout is how the framework stores queues in SQL, the default of queue.layout.
	layout() string
	// defaults changes the built-in defaults of a consumer.
	defaults(c *Consumer)
	// command returns the argv, with placeholders.
	command(c *Consumer) []string
	// restart returns the framework's own command that ends all workers.
	restart() []string
}

// presets makes each preset with the defaults of its parameters.
var presets = map[string]func() preset{
	"symfony": func() preset { return &symfony{Program: Program{PHP: "php", Console: "bin/console"}} },
	"laravel": func() preset { return &laravel{Program: Program{PHP: "php", Console: "artisan"}} },
	"magento": func() preset { return &magento{Program: Program{PHP: "php", Console: "bin/magento"}} },
}

// Program is what the presets have in common: <php> <console> … <args>.
type Program struct {
	PHP     string   `yaml:"php"`     // interpreter, looked up in PATH
	Console string   `yaml:"console"` // relative to `dir`
	Args    []string `yaml:"args"`    // appended to the command
}

func (p Program) argv(words ...string) []string { return append([]string{p.PHP, p.Console}, words...) }

// when returns text as one argument when it is wanted, else none.
func when(wanted bool, text string) []string {
	if wanted {
		return []string{text}
	}
	return nil
}

// symfony is Symfony Messenger. TERM ends a worker after its message (with
// ext-pcntl); limits, TERM and stop-workers all end with 0, a lost AMQP
// connection with 1.
type symfony struct {
	Program
	Receivers []string `yaml:"receivers"` // transports, by priority; default: the consumer's name
}

func (s *symfony) layout() string       { return "symfony" }
func (s *symfony) defaults(c *Consumer) { c.Exit.Clean = []int{0} }
func (s *symfony) command(c *Consumer) []string {
	receivers := s.Receivers
	if len(receivers) == 0 {
		receivers = []string{c.Name}
	}
	return slices.Concat(s.argv("messenger:consume"), receivers,
		when(c.MaxMessages > 0, "--limit={max_messages}"),
		when(c.TimeLimit > 0, "--time-limit={time_limit}"),
		when(c.MemoryLimit > 0, "--memory-limit={memory_limit}M"), s.Args)
}

func (s *symfony) restart() []string { return s.argv("messenger:stop-workers") }

// laravel is Laravel's queue:work. 12 is its exit code for "memory limit
// reached", an ordinary end. --stop-when-empty is not used: qsuper sees the
// queue and decides itself.
type laravel struct {
	Program
	Connection string `yaml:"connection"` // of config/queue.php; default: Laravel's default connection
	Queue      string `yaml:"queue"`      // default: queue.name, else the consumer's name
}

func (l *laravel) layout() string       { return "laravel" }
func (l *laravel) defaults(c *Consumer) { c.Exit.Clean = []int{0, 12} }
func (l *laravel) command(c *Consumer) []string {
	queue := "{name}"
	switch {
	case l.Queue != "":
		queue = l.Queue
	case c.Queue != nil:
		queue = "{queue}"
	}
	return slices.Concat(l.argv("queue:work"), when(l.Connection != "", l.Connection), []string{"--queue=" + queue},
		when(c.MaxMessages > 0, "--max-jobs={max_messages}"),
		when(c.TimeLimit > 0, "--max-time={time_limit}"),
		when(c.MemoryLimit > 0, "--memory={memory_limit}"), l.Args)
}

func (l *laravel) restart() []string { return l.argv("queue:restart") }

// magento is Magento 2 and Mage-OS. Its consumers handle no signal: TERM kills
// them at once. A broker delivers the message again, half done as it may be; in the
// database it would be "in progress" for a day. So they are stopped at a safe point. Without
// --max-messages they never look at the poison pill, hence Magento's own
// default of 10000. One instance takes the lock of --single-thread, several
// that of --multi-process=1..N, as Magento's own cron runner has it.
type magento struct {
	Program
	Consumer string `yaml:"consumer"` // default: the consumer's name
}

func (m *magento) layout() string { return "magento" }
func (m *magento) defaults(c *Consumer) {
	c.Exit.Clean = []int{0}
	c.MaxMessages = 10000
	c.Stop.WaitFor = WaitIdle
}

func (m *magento) command(c *Consumer) []string {
	mode := "--single-thread"
	if c.Instances.Max > 1 {
		mode = "--multi-process={slot1}"
	}
	return slices.Concat(m.argv("queue:consumers:start", first(m.Consumer, "{name}"), mode),
		when(c.MaxMessages > 0, "--max-messages={max_messages}"), m.Args)
}

func (m *magento) restart() []string { return m.argv("queue:consumers:restart") }

// presetName returns the type of a `preset` value in either form, or "".
func presetName(n *kind.Node) string {
	if e := n.Get("type"); e != nil {
		n = e.Value
	}
	if n.Shape != kind.Scalar {
		return ""
	}
	return n.Value
}

// newPreset makes the preset that a `preset` value names, or nil.
func newPreset(n *kind.Node) preset {
	if create := presets[presetName(n)]; create != nil {
		return create()
	}
	return nil
}

// presetKey is the key `preset`.
type presetKey struct{ preset preset }

// UnmarshalNode implements kind.Unmarshaler.
func (k *presetKey) UnmarshalNode(d *kind.Decoder, n *kind.Node, path string) {
	names := slices.Sorted(maps.Keys(presets))
	at := place(n, "type")
	k.preset = newPreset(n)
	switch {
	case k.preset == nil && at.Shape == kind.Scalar:
		p := d.Problems.Add(at, path, "unknown preset %s", at.Show())
		if !at.Filled {
			p.Hint = kind.DidYouMean(at.Value, names)
		}
		p.Hint = first(p.Hint, "one of "+strings.Join(names, ", "))
		return
	case k.preset == nil:
		d.Problems.Add(at, path, "expected the name of a preset, or a map with its type, got %s", at.Got()).Hint = "one of " + strings.Join(names, ", ")
		return
	}
	if n.Shape == kind.Map {
		var tag struct {
			Type string `yaml:"type"`
		}
		d.Decode(n, path, &tag, k.preset)
	}
}
