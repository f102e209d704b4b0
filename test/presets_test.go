package test

import (
	"fmt"
	"testing"

	"qsuper/test/servers"
)

// mariaApp is an application on a MariaDB database of its own; connection is
// qsuper's way to it.
func mariaApp(t *testing.T, console string) (a *app, connection string) {
	t.Helper()
	a = newApp(t, console)
	server := servers.MariaDB(t)
	name, _ := server.NewDatabase(t)
	a.env["DATABASE_URL"] = fmt.Sprintf("mysql://root@%s/%s", server.Addr, name)
	return a, fmt.Sprintf("{type: mysql, dsn: %q}", server.DSN(name))
}

// drain runs a daemon until so many messages have been handled and it rests.
func (a *app) drain(file string, messages int) {
	t := a.t
	t.Helper()
	d := startDaemon(t, file)
	eventually(t, 2*patience, "all messages are handled", func() bool { return a.handled().len(t) >= messages })
	var c consumerJSON
	eventually(t, patience, "the consumer rests", func() bool {
		c = d.Consumer("orders")
		return c.State == "waiting" && len(c.PIDs()) == 0
	})
	if c.Crashes != 0 {
		t.Errorf("%d crashes", c.Crashes)
	}
	d.StopAll()
	a.handled().once(t, messages)
}

func TestLaravel(t *testing.T) {
	const messages = 200
	a, db := mariaApp(t, "laravel/artisan")
	a.run("app:setup")
	a.run("app:publish", fmt.Sprint(messages), "--queue=orders")
	a.drain(a.file(db, `type: laravel, args: ["--sleep=1"]`, "instances: 2", "max_messages: 20", "idle_timeout: 2s"), messages)
	if runs := a.processes().runs(t); runs < messages/20 {
		t.Errorf("%d processes have run, expected at least %d", runs, messages/20)
	}
}

// Exit 12 is Laravel's way to say that it has used its memory: no failure. A
// worker that may use 1 MB says so after each job.
func TestLaravelMemoryLimit(t *testing.T) {
	const messages = 10
	a, db := mariaApp(t, "laravel/artisan")
	a.run("app:setup")
	a.run("app:publish", fmt.Sprint(messages), "--queue=orders")
	a.drain(a.file(db, `type: laravel, args: ["--memory=1", "--sleep=1"]`, "idle_timeout: 2s"), messages)
	for _, e := range a.processes().read(t) {
		if e.Event == "end" && e.Code != 12 && e.Code != 0 {
			t.Errorf("pid %d ended with %d", e.PID, e.Code)
		}
	}
}

// Magento's consumers handle no signal: TERM ends an idle one at once. Alone it
// takes the lock of --single-thread; several take one each.
func TestMagento(t *testing.T) {
	for _, instances := range []int{1, 3} {
		t.Run(fmt.Sprint(instances), func(t *testing.T) {
			const messages = 100
			a, db := mariaApp(t, "magento/bin/magento")
			a.run("app:setup")
			a.run("app:publish", fmt.Sprint(messages), "orders")
			a.drain(a.file(db, "type: magento", fmt.Sprintf("instances: %d", instances), "max_messages: 10", "idle_timeout: 3s"), messages)
			for _, e := range a.processes().read(t) {
				if e.Code != 0 {
					t.Errorf("pid %d of slot %s ended with %d", e.PID, e.Slot, e.Code)
				}
			}
		})
	}
}
