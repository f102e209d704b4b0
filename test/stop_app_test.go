package test

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// stop-workers --app ends also the workers that somebody else has started by hand, by
// the framework's own command, and renews qsuper's. Without --app they go on.
func TestStopWorkersOfOthers(t *testing.T) {
	for name, prepare := range map[string]struct {
		app   func(*testing.T) *redisApp
		words []string
		ran   string
	}{
		"symfony": {symfonyOnRedis, []string{"messenger:consume", "async"}, "messenger:stop-workers"},
		"laravel": {laravelOnRedis, []string{"queue:work", "--queue=orders", "--sleep=1"}, "queue:restart"},
	} {
		t.Run(name, func(t *testing.T) {
			r := prepare.app(t)
			cmd := exec.Command("php", append([]string{r.console}, prepare.words...)...)
			cmd.Env = os.Environ()
			for k, v := range r.env {
				cmd.Env = append(cmd.Env, k+"="+strings.ReplaceAll(v, "{slot}", "by-hand"))
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			over := make(chan error, 1)
			go func() { over <- cmd.Wait() }()
			t.Cleanup(func() { _ = cmd.Process.Kill() })
			d := startDaemon(t, r.file("{type: redis, url: \"redis://"+r.server.Addr+"/0\"}", r.preset, "spawn: always"))
			before := d.UntilRunning("orders", 1).PIDs()
			eventually(t, patience, "both have begun", func() bool { return r.processes().len(t) >= 2 })
			d.Must("stop-workers", "orders", "--wait")
			select {
			case err := <-over:
				t.Fatalf("the other worker has ended without --app: %v", err)
			default:
			}
			// A worker takes no notice of a signal that is older than its first look.
			eventually(t, patience, "the other worker ends", func() bool {
				out := d.Must("stop-workers", "orders", "--app", "--wait").Stdout
				if !strings.Contains(out, "ran php "+r.console+" "+prepare.ran+" (orders)") {
					t.Errorf("it does not say what was run:\n%s", out)
				}
				select {
				case err := <-over:
					if err != nil {
						t.Errorf("the other worker: %v", err)
					}
					return true
				case <-time.After(5 * time.Second):
					return false
				}
			})
			if now := d.UntilRunning("orders", 1).PIDs(); slices.Equal(now, before) {
				t.Errorf("pids %v are the old ones", now)
			}
			d.StopAll()
		})
	}
}

// A command that fails is told, and qsuper's own workers are renewed all the same; what
// it changes is no reason to renew them a second time.
func TestStopWorkersTellsOfFailure(t *testing.T) {
	r := newRelease(t)
	file := strings.Replace(r.file("instances: 2", "spawn: always", "restart_on: [{file: "+r.at("revision")+"}]",
		"app_restart: [sh, -c, 'echo $0 > "+r.at("revision")+"; test $0 = orders || exit 3', \"{name}\"]"), "consumers:\n", "consumers:\n  other: {command: [sleep, 1000], app_restart: [\"false\"]}\n", 1)
	d := startDaemon(t, file)
	d.UntilRunning("orders", 2)
	known(d)
	d.Must("stop-workers", "orders", "--app", "--wait")
	pids := d.UntilRunning("orders", 2).PIDs()
	known(d)
	eventually(t, patience, "the change is seen", func() bool {
		var why explainJSON
		d.JSON(&why, "explain", "orders")
		return strings.Contains(why.Gate("restart_on").Evidence, "changed")
	})
	if now := d.UntilRunning("orders", 2).PIDs(); !slices.Equal(now, pids) {
		t.Errorf("renewed twice: pids %v, now %v", pids, now)
	}
	before := d.Consumer("other").PIDs()
	if out := d.Run("stop-workers", "other", "--app", "--wait"); out.Code != 1 || !strings.Contains(out.Stderr, "exit status 1") {
		t.Errorf("code %d\n%s%s", out.Code, out.Stdout, out.Stderr)
	}
	if now := d.UntilRunning("other", 1).PIDs(); slices.Equal(now, before) {
		t.Errorf("pids %v are the old ones", now)
	}
}
