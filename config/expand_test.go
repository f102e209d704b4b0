package config

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestExpand(t *testing.T) {
	c := load(t, `
connections: {db: {type: sqlite, path: q.db}}
consumers:
  orders:
    command: [./work, "{name}", "{slot}", "{slot:02}", "{slot1}", "{slot1:03}", "{instances}", "{queue}", "{max_messages}", "{time_limit}", "{memory_limit}"]
    queue: {connection: db, name: "a b;{slot}"}
    instances: 12
    max_messages: 100
    time_limit: 90500ms
    memory_limit: 1000KiB
    dir: /srv/{name}/{slot}
    env: {SLOT: "{slot:02}", JSON: "{\"a\": {}}", OTHER: "{{name}} {{{slot:02}}} {{title}} {{slot} $${name} {foo} {Name} {name } {slot:2} {slot:002} {{slot}{slot}}"}
  line:
    shell: "work {name} {slot} {queue} $${queue}"
    queue: {connection: db, name: App.Jobs-1}
`)
	got, err := consumer(t, c, "orders").Expand(11)
	if err != nil {
		t.Fatal(err)
	}
	want := Launch{
		Argv: []string{"./work", "orders", "11", "11", "12", "012", "12", "a b;{slot}", "100", "91", "1"},
		Dir:  "/srv/orders/11",
		Env:  map[string]string{"SLOT": "11", "JSON": `{"a": {}}`, "OTHER": "{name} {{slot:02}} {title} {11 ${name} {foo} {Name} {name } {slot:2} {slot:002} {1111}"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	got, err = consumer(t, c, "orders").Expand(3)
	if err != nil || got.Env["SLOT"] != "03" || got.Argv[3] != "03" {
		t.Errorf("slot 3: %v, %v", got, err)
	}
	got, err = consumer(t, c, "line").Expand(0)
	if want := []string{"/bin/sh", "-c", "work line 0 App.Jobs-1 ${queue}"}; err != nil || !slices.Equal(got.Argv, want) {
		t.Errorf("shell: %q, %v", got.Argv, err)
	}
}

// TestLiteral: what Literal writes is the text itself once it is filled in.
func TestLiteral(t *testing.T) {
	for _, text := range []string{
		"", "{slot}", "{{slot}}", "{{slot}", "{slot}}", "{{{name}}}x{slots}", "${slot}", "${{slot}}", "${{slot}", "{slot:02}{name}", "{} {a: 1}", "{nmae}",
	} {
		c := newConsumer("x")
		c.Command = []string{"x", Literal(text)}
		if l, err := c.Expand(0); err != nil || l.Argv[1] != text {
			t.Errorf("%q: got %q, %v", text, l.Argv, err)
		}
	}
}

func TestExpandFailsForWhatLoadRefuses(t *testing.T) {
	c := newConsumer("x")
	c.Command = []string{"x", "{max_messages}", "{slots}"}
	_, err := c.Expand(0)
	if err == nil || !strings.Contains(err.Error(), "needs the key max_messages") || !strings.Contains(err.Error(), "did you mean slot") {
		t.Errorf("got %v", err)
	}
}

// TestPresetCommands shows what each framework is started with.
func TestPresetCommands(t *testing.T) {
	const head = "connections: {db: {type: mysql, dsn: x}}\nconsumers:\n  jobs: {preset: "
	for text, want := range map[string]string{
		"symfony}": "php bin/console messenger:consume jobs",
		"symfony, max_messages: 5, time_limit: 1h, memory_limit: 128MiB}": "php bin/console messenger:consume jobs --limit=5 --time-limit=3600 --memory-limit=128M",
		"{type: symfony, receivers: [a, b], php: php8.2, console: c}}":    "php8.2 c messenger:consume a b",
		"laravel}": "php artisan queue:work --queue=jobs",
		"laravel, queue: {connection: db, name: mails}, max_messages: 5, time_limit: 1h, memory_limit: 128MiB}": "php artisan queue:work --queue=mails --max-jobs=5 --max-time=3600 --memory=128",
		"{type: laravel, connection: redis, queue: \"a,b\", args: [--tries=3]}}":                                "php artisan queue:work redis --queue=a,b --tries=3",
		"magento}":                                "php bin/magento queue:consumers:start jobs --single-thread --max-messages=10000",
		"magento, instances: 4}":                  "php bin/magento queue:consumers:start jobs --multi-process=3 --max-messages=10000",
		"magento, max_messages: 0}":               "php bin/magento queue:consumers:start jobs --single-thread",
		"{type: magento, consumer: product.x}}":   "php bin/magento queue:consumers:start product.x --single-thread --max-messages=10000",
		"magento, instances: 1, max_messages: 7}": "php bin/magento queue:consumers:start jobs --single-thread --max-messages=7",
	} {
		l, err := load(t, head+text+"\n").Consumers[0].Expand(2)
		if err != nil || strings.Join(l.Argv, " ") != want {
			t.Errorf("%s\n got %v, %v\nwant %s", text, l.Argv, err, want)
		}
	}
}

// TestPrecedence goes through consumer, defaults, preset and built-in.
func TestPrecedence(t *testing.T) {
	for text, want := range map[string][]int{
		"consumers: {a: {command: [x]}}":                                                                 {0},
		"consumers: {a: {preset: laravel}}":                                                              {0, 12},
		"defaults: {exit: {clean: [1]}}\nconsumers: {a: {preset: laravel}}":                              {1},
		"defaults: {exit: {clean: [1]}}\nconsumers: {a: {preset: laravel, exit: {clean: [2]}}}":          {2},
		"defaults: {preset: laravel}\nconsumers: {a: {exit: {empty: [3]}}}":                              {0, 12},
		"defaults: {preset: laravel}\nconsumers: {a: {exit: {permanent: [12]}}}":                         {0},
		"defaults: {preset: laravel, exit: {empty: [12]}}\nconsumers: {a: {command: [x], preset: null}}": nil,
	} {
		c, err := Load(write(t, text+"\n"), testOptions())
		if want == nil {
			if err == nil {
				t.Errorf("%s: is accepted", text)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if got := c.Consumers[0].Exit.Clean; !slices.Equal(got, want) {
			t.Errorf("%s: clean is %v, want %v", text, got, want)
		}
	}
}
