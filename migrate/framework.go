package migrate

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Framework is what a command line tells of a framework's consumer.
type Framework struct {
	Name    string   // Symfony Messenger, Celery, …
	Queues  []string // as the command names them; nil = its default
	Suggest []string // lines of YAML that use what qsuper knows of it, with a first line that says what they are
	Ends    bool     // it ends by itself after a time or a number of messages, and is meant to come back
}

// Recognise looks for a consumer of a known framework in a command line. nil says
// that it is none that is known. A shell's -c is looked into.
func Recognise(argv []string) *Framework {
	if len(argv) >= 3 && strings.HasSuffix(filepath.Base(argv[0]), "sh") && strings.HasPrefix(argv[1], "-") && strings.Contains(argv[1], "c") {
		inner, err := Words(argv[2])
		if err != nil {
			return nil
		}
		if f := Recognise(inner); f != nil {
			f.Suggest = nil // a preset would lose what the shell does
			return f
		}
		return nil
	}
	for i, w := range argv {
		look := frameworks[w]
		if look == nil {
			look = frameworks[filepath.Base(w)]
		}
		if look == nil {
			continue
		}
		if f := look(argv[:i+1], argv[i+1:]); f != nil {
			return f
		}
	}
	return nil
}

// frameworks are looked for by a word of the command line. Each gets the words
// up to and with it, and those behind it.
var frameworks = map[string]func(before, after []string) *Framework{
	"messenger:consume":          symfony,
	"messenger:consume-messages": symfony,
	"queue:work":                 laravel,
	"horizon":                    horizon,
	"queue:consumers:start":      magento,
	"celery":                     celery,
	"sidekiq":                    sidekiq,
	"rq":                         rq,
	"rqworker":                   rq,
	"rabbitmq:consumer":          other("RabbitMqBundle"),
	"rabbitmq:consume":           other("a RabbitMQ consumer"),
	"resque:work":                other("Resque"),
}

// options reads the flags of a command line: --name=value, --name value for
// those in valued, -n value. What is neither is an argument.
func options(words []string, valued ...string) (flags map[string]string, args []string) {
	flags = map[string]string{}
	for i := 0; i < len(words); i++ {
		w := words[i]
		name, value, has := strings.Cut(w, "=")
		switch {
		case !strings.HasPrefix(w, "-") || w == "-":
			args = append(args, w)
		case has:
			flags[name] = value
		case slices.Contains(valued, w) && i+1 < len(words):
			i++
			if old := flags[w]; old != "" {
				value = old + ","
			}
			flags[w] = value + words[i]
		default:
			flags[w] = ""
		}
	}
	return flags, args
}

func first(flags map[string]string, names ...string) string {
	for _, n := range names {
		if v := flags[n]; v != "" {
			return v
		}
	}
	return ""
}

// rest are the flags that a preset does not set by itself, as `args`.
func rest(words []string, known ...string) []string {
	var kept []string
	for i := 0; i < len(words); i++ {
		name, _, has := strings.Cut(words[i], "=")
		switch {
		case !strings.HasPrefix(words[i], "-"):
		case slices.Contains(known, name):
			if !has {
				i++
			}
		default:
			kept = append(kept, words[i])
		}
	}
	return kept
}

// preset writes the lines that use a preset; about says where the queue's name and
// the like are written. A queue that is not the right one looks empty, and its
// consumer would never be started.
func preset(kind, about string, before []string, parameters *Map, args []string, queue string, limits ...string) []string {
	p := NewMap().Set("type", kind)
	if len(before) >= 3 { // <php> … <console> <command>
		if before[len(before)-3] != "php" {
			p.Set("php", Dollars(before[len(before)-3]))
		}
		p.Set("console", Dollars(before[len(before)-2]))
	}
	for _, e := range parameters.entries {
		p.Set(e.key, e.value)
	}
	if len(args) > 0 {
		p.Set("args", args)
	}
	lines := []string{"  preset: " + p.flow() + "     # instead of command"}
	for i := 0; i+1 < len(limits); i += 2 {
		if limits[i+1] != "" {
			lines = append(lines, "  "+limits[i]+": "+limits[i+1])
		}
	}
	q := NewMap().Set("connection", "broker").Set("name", queue)
	return append(lines, "  queue: "+q.flow()+"     # an entry of `connections`; "+about, "`qsuper check --probe` shows what is counted there.")
}

func seconds(text string) string {
	if n, err := strconv.Atoi(text); err == nil && n > 0 {
		return strconv.Itoa(n) + "s"
	}
	return ""
}

func symfony(before, after []string) *Framework {
	flags, receivers := options(after, "--limit", "-l", "--memory-limit", "-m", "--time-limit", "-t", "--sleep", "--failure-limit", "-f", "--bus", "-b", "--queues")
	f := &Framework{Name: "Symfony Messenger", Queues: receivers, Ends: first(flags, "--limit", "-l", "--time-limit", "-t", "--memory-limit", "-m") != ""}
	if len(receivers) == 0 || len(before) < 3 || strings.HasPrefix(before[len(before)-3], "-") || len(before) != 3 {
		return f
	}
	memory := first(flags, "--memory-limit", "-m")
	if memory != "" {
		memory = strings.TrimSuffix(strings.ToUpper(memory), "B")
		memory = strings.NewReplacer("K", "KiB", "M", "MiB", "G", "GiB").Replace(memory)
	}
	f.Suggest = append([]string{"Symfony Messenger. Started only while messages wait, by depth of the queue:"},
		preset("symfony", "name: as in the transport's DSN, docs/symfony.md", before, NewMap().Set("receivers", receivers), rest(after, "--limit", "-l", "--memory-limit", "-m", "--time-limit", "-t"), receivers[0],
			"max_messages", first(flags, "--limit", "-l"), "time_limit", seconds(first(flags, "--time-limit", "-t")), "memory_limit", memory)...)
	return f
}

func laravel(before, after []string) *Framework {
	flags, args := options(after, "--queue", "--memory", "--sleep", "--timeout", "--tries", "--max-jobs", "--max-time", "--name", "--backoff", "--delay", "--rest")
	queue := first(flags, "--queue")
	f := &Framework{Name: "Laravel", Ends: first(flags, "--max-jobs", "--max-time") != ""}
	parameters := NewMap()
	if len(args) > 0 {
		parameters.Set("connection", args[0])
	}
	if queue != "" {
		f.Queues = strings.Split(queue, ",")
		parameters.Set("queue", queue)
	} else {
		parameters.Set("queue", "default")
		queue = "default"
	}
	if len(before) != 3 {
		return f
	}
	memory := first(flags, "--memory")
	if memory != "" {
		memory += "MiB"
	}
	f.Suggest = append([]string{"Laravel. Started only while jobs wait, by depth of the queue:"},
		preset("laravel", "on Redis also prefix: as its keys have it, docs/laravel.md", before, parameters, rest(after, "--queue", "--max-jobs", "--max-time", "--memory"), strings.Split(queue, ",")[0],
			"max_messages", first(flags, "--max-jobs"), "time_limit", seconds(first(flags, "--max-time")), "memory_limit", memory)...)
	return f
}

func horizon(before, _ []string) *Framework {
	if len(before) < 2 || filepath.Base(before[len(before)-2]) != "artisan" {
		return nil
	}
	return &Framework{Name: "Laravel Horizon", Suggest: []string{
		"Laravel Horizon is a supervisor of its own. One consumer for each of its",
		"pools can stand here instead: docs/moving-from-horizon.md."}}
}

func magento(before, after []string) *Framework {
	flags, args := options(after, "--max-messages", "--batch-size", "--area-code", "--pid-file-path")
	f := &Framework{Name: "Magento", Queues: args, Ends: true}
	if len(args) != 1 || len(before) != 3 {
		return f
	}
	f.Suggest = append([]string{"Magento. Started only while messages wait, by depth of the queue:"},
		preset("magento", "name: of the queue that the consumer reads, docs/magento.md", before, NewMap().Set("consumer", args[0]), rest(after, "--max-messages", "--multi-process", "--single-thread"), args[0],
			"max_messages", first(flags, "--max-messages"))...)
	return f
}

// queued are the lines for a framework without a preset whose queues qsuper can
// count.
func queued(name, layout, queue string) []string {
	q := NewMap().Set("connection", "cache").Set("name", queue).Set("layout", layout)
	return []string{name + ". With its queue it starts only while something waits:", "  queue: " + q.flow() + "     # an entry of `connections`"}
}

func celery(_, after []string) *Framework {
	if !slices.Contains(after, "worker") {
		return nil
	}
	flags, _ := options(after, "-Q", "--queues", "-A", "--app", "-c", "--concurrency", "-l", "--loglevel", "-n", "--hostname")
	queue := first(flags, "-Q", "--queues")
	f := &Framework{Name: "Celery"}
	if queue != "" {
		f.Queues = strings.Split(queue, ",")
	} else {
		queue = "celery"
	}
	f.Suggest = queued("Celery", "celery", strings.Split(queue, ",")[0])
	f.Suggest[1] += "; without layout when it is RabbitMQ"
	return f
}

func sidekiq(_, after []string) *Framework {
	flags, _ := options(after, "-q", "--queue", "-C", "--config", "-c", "--concurrency", "-e", "--environment", "-r", "--require", "-t", "--timeout")
	queue := first(flags, "-q", "--queue")
	f := &Framework{Name: "Sidekiq"}
	if queue == "" {
		queue = "default"
	} else {
		f.Queues = strings.Split(queue, ",")
	}
	f.Suggest = queued("Sidekiq", "sidekiq", strings.Split(queue, ",")[0])
	return f
}

func rq(before, after []string) *Framework {
	if filepath.Base(before[len(before)-1]) == "rq" {
		if len(after) == 0 || after[0] != "worker" {
			return nil
		}
		after = after[1:]
	}
	_, queues := options(after, "--url", "-u", "--name", "-n", "--config", "-c", "--path", "-P", "--worker-class", "-w")
	f := &Framework{Name: "RQ", Queues: queues}
	queue := "default"
	if len(queues) > 0 {
		queue = queues[0]
	}
	f.Suggest = queued("RQ", "rq", queue)
	return f
}

func other(name string) func(before, after []string) *Framework {
	return func(_, _ []string) *Framework { return &Framework{Name: name, Ends: true} }
}
