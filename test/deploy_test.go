package test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
)

// A deploy with extra instances: never fewer work while all are replaced. Code
// that crashes is seen by one extra instance, and by nobody else.
func TestDeployWithSurge(t *testing.T) {
	d := newDaemon(t, "")
	d.Write(fmt.Sprintf(`consumers:
  work: {shell: ". ./code", dir: %q, instances: 3, backoff: {min_uptime: 300ms}}
  sole: {command: [sleep, "1000"]}
`, d.Dir))
	deploy := func(code string) {
		t.Helper()
		if err := os.WriteFile(d.Path("code.new"), []byte(code+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(d.Path("code.new"), d.Path("code")); err != nil {
			t.Fatal(err)
		}
	}
	deploy("exec sleep 1000")
	d.Start()
	before := d.UntilRunning("work", 3)

	deploy("exec sleep 2000")
	least, most, end := 3, 3, make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		for {
			select {
			case <-end:
				return
			default:
			}
			if c := d.Consumer("work"); c.Name != "" {
				least, most = min(least, c.Running), max(most, c.Running)
			}
		}
	})
	d.Must("restart", "--rolling", "--surge", "1", "work")
	close(end)
	watch.Wait()
	if least < 3 || most > 4 {
		t.Errorf("from %d to %d instances ran", least, most)
	}
	after := d.UntilRunning("work", 3)
	for _, pid := range after.PIDs() {
		if slices.Contains(before.PIDs(), pid) {
			t.Errorf("pid %d goes on with the old code", pid)
		}
	}

	deploy("echo it is broken; exit 7")
	r := d.Run("restart", "--rolling", "--surge", "2", "work")
	if r.Code != 1 || !strings.Contains(r.Stderr, "given up: work: the new instance in slot 3 does not live (exit 7") || !strings.Contains(r.Stderr, "3 go on as they were") {
		t.Errorf("code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	if c := d.UntilRunning("work", 3); !slices.Equal(c.PIDs(), after.PIDs()) || c.Slots[0].Slot != 0 {
		t.Errorf("pids %v, and they were %v", c.PIDs(), after.PIDs())
	}
	if events := d.Must("events", "work").Stdout; !strings.Contains(events, "rolling restart given up") {
		t.Errorf("no event tells of it:\n%s", events)
	}
	if r := d.Run("restart", "--rolling", "--surge", "1"); r.Code == 0 || !strings.Contains(r.Stderr, "sole: one instance is all it may have") {
		t.Errorf("one instance: code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	if c := d.UntilRunning("work", 3); !slices.Equal(c.PIDs(), after.PIDs()) {
		t.Errorf("what was refused has been done")
	}
}
