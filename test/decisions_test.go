package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What a daemon keeps of its decisions is enough to take them again: as its own file
// has them there is no difference, as another one has them there is what that
// changes. An engine that dies loses none, and no password is in it.
func TestDecisionLog(t *testing.T) {
	d := newDaemon(t, "")
	depth := d.Path("depth")
	set := func(n int) {
		t.Helper()
		if err := os.WriteFile(depth+".new", fmt.Append(nil, n), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(depth+".new", depth); err != nil {
			t.Fatal(err)
		}
	}
	set(0)
	file := func(instances int, requires string) string {
		return fmt.Sprintf(`connections:
  depths: {type: exec, command: [/bin/cat, %q]}
  away: {type: redis, url: "redis://:geheim4711@127.0.0.1:1/0"}
consumers:
  orders: {shell: "exec sleep 1000", instances: %d, queue: {connection: depths, name: orders}}
  export: {shell: "exec sleep 1000", requires: [%s]}
jobs:
  tick: {schedule: "* * * * * *", command: ["true"]}
  stuck: {schedule: "* * * * * *", command: ["true"], requires: [away]}
`, depth, instances, requires)
	}
	d.Write(file(4, "away"))
	d.Start()
	closed := func() bool {
		var why explainJSON
		d.JSON(&why, "explain", "orders")
		return why.Gate("depth").State == "closed"
	}
	eventually(t, patience, "the empty queue is seen", closed)
	set(300)
	d.UntilRunning("orders", 4)
	d.KillEngine()
	d.UntilRunning("orders", 4)
	d.Must("pause", "orders", "--wait")
	decisions := d.Path("state/decisions.jsonl")
	eventually(t, patience, "the pause is kept", func() bool { return strings.Contains(tail(decisions, 1<<20), `"Paused":"by `) })
	eventually(t, patience, "fires of jobs are kept", func() bool {
		text := tail(decisions, 1<<20)
		return strings.Contains(text, `"Consumer":"tick"`) && strings.Contains(text, `"Did":"started"`) && strings.Contains(text, `"Did":"waits"`) && strings.Contains(text, `"Did":"skipped"`)
	})
	d.StopAll()

	text := tail(decisions, 1<<20)
	if strings.Contains(text, "geheim4711") {
		t.Error("a password is in the decision log")
	}
	if !strings.Contains(text, "away does not answer") {
		t.Errorf("it does not say why export was not started:\n%s", text)
	}
	if info, err := os.Stat(decisions); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if r := d.Must("simulate"); !strings.HasPrefix(r.Stdout, "nothing would have been decided differently") {
		t.Errorf("the same file:\n%s\n%s", r.Stdout, text)
	} else if !strings.Contains(r.Stdout, "about fires of jobs are left as they are") {
		t.Errorf("nothing is said of jobs:\n%s", r.Stdout)
	}
	other := filepath.Join(d.Dir, "other.yaml")
	if err := os.WriteFile(other, []byte("version: 1\n"+file(2, "")), 0o600); err != nil {
		t.Fatal(err)
	}
	r := d.Must("simulate", "--trace", decisions, "--file", other)
	for _, want := range []string{"4 up", "2 up", "export", "not: away "} {
		if !strings.Contains(r.Stdout, want) {
			t.Errorf("another file: %q is not in\n%s", want, r.Stdout)
		}
	}
}
