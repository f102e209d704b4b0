package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// requirePackages ends the test when a Debian package of packages.txt is not
// installed. There are no silent skips.
func requirePackages(t *testing.T) {
	t.Helper()
	list, err := os.ReadFile("packages.txt")
	if err != nil {
		t.Fatal(err)
	}
	var missing []string
	for line := range strings.Lines(string(list)) {
		name, _, _ := strings.Cut(line, "#")
		if name = strings.TrimSpace(name); name == "" {
			continue
		}
		out, err := exec.Command("dpkg-query", "-W", "-f", "${db:Status-Status}", name).Output()
		if err != nil || string(out) != "installed" {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		t.Fatalf("this test needs Debian packages; run: apt-get install -y --no-install-recommends %s", strings.Join(missing, " "))
	}
}

// app is an application of test/apps with its journals in a folder of this test.
type app struct {
	t       *testing.T
	dir     string
	console string            // its command line, absolute
	env     map[string]string // what it gets, by hand and as a consumer
}

func newApp(t *testing.T, console string) *app {
	t.Helper()
	requirePackages(t)
	path, err := filepath.Abs(filepath.Join("apps", console))
	if err != nil {
		t.Fatal(err)
	}
	a := &app{t: t, dir: t.TempDir(), console: path}
	a.env = map[string]string{
		"APP_JOURNAL": string(a.handled()), "APP_RUNS": string(a.processes()), "APP_CACHE_DIR": filepath.Join(a.dir, "cache"),
	}
	return a
}

func (a *app) handled() journal   { return journal(filepath.Join(a.dir, "handled")) }
func (a *app) processes() journal { return journal(filepath.Join(a.dir, "processes")) }

// run runs a console command of the application by hand.
func (a *app) run(args ...string) {
	a.t.Helper()
	cmd := exec.Command("php", append([]string{a.console}, args...)...)
	cmd.Env = os.Environ()
	for k, v := range a.env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		a.t.Fatalf("%s %s: %v\n%s", filepath.Base(a.console), strings.Join(args, " "), err, out)
	}
}

// file is the configuration of the consumer "orders" of the queue "orders" on
// a connection, both in YAML; keys are further lines of the consumer.
func (a *app) file(connection, preset string, keys ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "connections:\n  backend: %s\nconsumers:\n  orders:\n", connection)
	fmt.Fprintf(&b, "    preset: {%s, console: %q}\n    queue: {connection: backend, name: orders}\n", preset, a.console)
	for _, k := range keys {
		b.WriteString("    " + k + "\n")
	}
	b.WriteString("    env:\n")
	for k, v := range a.env {
		fmt.Fprintf(&b, "      %s: %q\n", k, v)
	}
	return b.String()
}
