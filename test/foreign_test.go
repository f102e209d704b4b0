package test

import (
	"bufio"
	"context"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"qsuper/test/servers"
)

// heldFile runs a process that holds a file locked until the returned function is called.
func heldFile(t *testing.T, path string) (release func()) {
	t.Helper()
	cmd := exec.Command("flock", path, "cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	release = sync.OnceFunc(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	t.Cleanup(release)
	eventually(t, patience, "the file is locked", func() bool {
		err := exec.Command("flock", "--nonblock", path, "true").Run()
		return err != nil
	})
	return release
}

// heldNode has a ZooKeeper client of its own make an ephemeral node, as Magento does for
// a lock, until the returned function is called.
func heldNode(t *testing.T, zk *servers.ZooKeeper, path string) (release func()) {
	t.Helper()
	const jars = "/usr/share/java/zookeeper.jar:/usr/share/java/commons-cli.jar:/usr/share/java/slf4j-simple.jar"
	cmd := exec.Command("java", "-Xmx64m", "-XX:TieredStopAtLevel=1", "-cp", jars, "org.apache.zookeeper.ZooKeeperMain", "-server", zk.Addr)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	release = sync.OnceFunc(func() {
		_, _ = in.Write([]byte("quit\n"))
		_ = in.Close()
		_, _ = io.Copy(io.Discard, out)
		_ = cmd.Wait()
	})
	t.Cleanup(release)
	for _, part := range []string{filepath.Dir(filepath.Dir(path)), filepath.Dir(path)} {
		_, _ = fmt.Fprintf(in, "create %s 1\n", part) // it may be there
	}
	_, _ = fmt.Fprintf(in, "create -e %s 1\nget -s %s\n", path, path)
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "ephemeralOwner = 0x") {
			return release
		}
	}
	t.Fatal("no node was made")
	return nil
}

// Each form of an application's own lock, held by a real session or process, keeps a
// consumer from starting; given back, it starts. Its own process ends and starts anew
// although the same lock would be in its way.
func TestForeignLocks(t *testing.T) {
	maria, redis, zk := servers.MariaDB(t), servers.RedisServer(t), servers.ZooKeeperServer(t)
	name, db := maria.NewDatabase(t)
	sum := md5.Sum([]byte("orders"))
	lock := hex.EncodeToString(sum[:])
	connections := fmt.Sprintf("  shop: {type: mysql, dsn: %q}\n  cache: {type: redis, url: \"redis://%s/0\"}\n  zk: {type: zookeeper, servers: [%q], chroot: /apps}\n", maria.DSN(name), redis.Addr, zk.Addr)
	exec := func(statement string) {
		t.Helper()
		if _, err := db.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	exec("CREATE TABLE cache_locks (`key` VARCHAR(255) PRIMARY KEY, owner VARCHAR(255) NOT NULL, expiration INT NOT NULL)")
	for form, hold := range map[string]func(t *testing.T, dir string) (key, evidence string, release func()){
		"database": func(t *testing.T, _ string) (string, string, func()) {
			conn, err := db.Conn(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			var got, id int
			if err := conn.QueryRowContext(t.Context(), "SELECT GET_LOCK(?, 0), CONNECTION_ID()", name+"|"+lock).Scan(&got, &id); err != nil || got != 1 {
				t.Fatal(got, err)
			}
			return fmt.Sprintf("{connection: shop, name: \"%s|{magento_lock}\"}", name), fmt.Sprintf("is held by session %d", id), func() {
				if _, err := conn.ExecContext(context.Background(), "DO RELEASE_LOCK(?)", name+"|"+lock); err != nil {
					t.Error(err)
				}
				conn.Close()
			}
		},
		"file": func(t *testing.T, dir string) (string, string, func()) {
			return fmt.Sprintf("{file: %q}", filepath.Join(dir, "{magento_lock}")), "is held by pid ", heldFile(t, filepath.Join(dir, lock))
		},
		"key": func(t *testing.T, _ string) (string, string, func()) {
			key := "zc:k:LOCKED_RECORD_INFO_" + lock
			redis.Do(t, "HSET", key, "d", "1")
			return `{connection: cache, key: "zc:k:LOCKED_RECORD_INFO_{magento_lock}"}`, "is held by whoever has set it", func() { redis.Do(t, "DEL", key) }
		},
		"node": func(t *testing.T, _ string) (string, string, func()) {
			return `{connection: zk, node: "/locks/{magento_lock}"}`, "is held by session 0x", heldNode(t, zk, "/apps/locks/"+lock)
		},
		"row": func(*testing.T, string) (string, string, func()) {
			exec("INSERT INTO cache_locks VALUES ('orders', 'cron', UNIX_TIMESTAMP() + 3600), ('others', 'cron', UNIX_TIMESTAMP() + 3600)")
			return "{connection: shop, query: \"SELECT owner FROM cache_locks WHERE `key` = '{name}' AND expiration > UNIX_TIMESTAMP()\"}", "is held by",
				func() { exec("UPDATE cache_locks SET expiration = UNIX_TIMESTAMP() - 1 WHERE `key` = 'orders'") }
		},
		"command": func(t *testing.T, dir string) (string, string, func()) {
			mark := filepath.Join(dir, "held-orders")
			if err := os.WriteFile(mark, []byte("node 7"), 0o644); err != nil {
				t.Fatal(err)
			}
			return fmt.Sprintf("{command: [sh, -c, 'cat %s/held-$0 2>&- || true', \"{name}\"]}", dir), "is held by node 7", func() { _ = os.Remove(mark) }
		},
	} {
		t.Run(form, func(t *testing.T) {
			q := newQueue(t)
			key, evidence, giveBack := hold(t, q.dir)
			release := sync.OnceFunc(giveBack)
			defer release()
			file := strings.Replace(q.file("spawn: always", "foreign_lock: "+key), "connections:\n", "connections:\n"+connections, 1)
			d := startDaemon(t, file)
			closedGate(d, "foreign_lock", evidence)
			if c := d.Consumer("orders"); c.State != "waiting" || !strings.Contains(c.Reason, evidence) {
				t.Errorf("%+v", c)
			}
			if r := d.Run("status"); r.Code != 0 {
				t.Errorf("somebody else does the work, which is healthy, but status exits with %d:\n%s", r.Code, r.Stdout)
			}
			release()
			began := time.Now()
			before := d.UntilRunning("orders", 1).PIDs()
			t.Logf("it runs %s after the lock was given back", time.Since(began).Round(time.Millisecond))
			d.Must("restart", "orders")
			if now := d.UntilRunning("orders", 1).PIDs(); slices.Equal(now, before) {
				t.Errorf("pid %v is the old one", now)
			}
			d.StopAll()
			q.processes().runs(t)
		})
	}
}

// Nobody can say: nothing starts, which is not healthy, and what runs goes on.
func TestForeignLockUnknown(t *testing.T) {
	q := newQueue(t)
	mark := filepath.Join(q.dir, "broken")
	if err := os.WriteFile(mark, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	d := startDaemon(t, q.file("spawn: always", fmt.Sprintf("foreign_lock: {command: [sh, -c, 'test ! -e %s']}", mark)))
	eventually(t, patience, "the gate is unknown", func() bool {
		var why explainJSON
		d.JSON(&why, "explain", "orders")
		return why.Gate("foreign_lock").State == "unknown"
	})
	if r := d.Run("status"); r.Code != 3 || d.Consumer("orders").Running != 0 {
		t.Errorf("status: %d\n%s", r.Code, r.Stdout)
	}
	if err := os.Remove(mark); err != nil {
		t.Fatal(err)
	}
	before := d.UntilRunning("orders", 1).PIDs()
	if err := os.WriteFile(mark, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	q.publish(50)
	eventually(t, patience, "messages are handled", func() bool { return q.left() == 0 })
	if now := d.Consumer("orders").PIDs(); !slices.Equal(now, before) {
		t.Errorf("pids %v, now %v", before, now)
	}
}

// An old cron runner starts Magento's consumer whenever its lock is free, and so does
// qsuper, under load: never two at once, each message once, and both do some.
func TestSideBySideWithACronRunner(t *testing.T) {
	const messages = 300
	a, db := mariaApp(t, "magento/bin/magento")
	a.env["APP_WORK_MS"] = "10"
	a.run("app:setup")
	a.run("app:publish", fmt.Sprint(messages), "orders")
	ctx, stop := context.WithCancel(t.Context())
	var cron sync.WaitGroup
	var mu sync.Mutex
	pids := map[int]bool{}
	cron.Go(func() {
		for ctx.Err() == nil {
			cmd := exec.Command("php", a.console, "queue:consumers:start", "orders", "--single-thread", "--max-messages=5")
			cmd.Env = os.Environ()
			for k, v := range a.env {
				cmd.Env = append(cmd.Env, k+"="+v)
			}
			if err := cmd.Start(); err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			pids[cmd.Process.Pid] = true
			mu.Unlock()
			done := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() }) // it may wait for messages for ever
			_ = cmd.Wait()
			done()
			select {
			case <-time.After(200 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	})
	defer cron.Wait()
	defer stop()
	eventually(t, patience, "the cron runner works", func() bool { return a.handled().len(t) > 0 })
	d := startDaemon(t, a.file(db, "type: magento", "spawn: always", "max_messages: 5", "backoff: {initial: 100ms, max: 500ms}",
		fmt.Sprintf("foreign_lock: {file: %q}", filepath.Join(a.env["APP_CACHE_DIR"], "{magento_lock}"))))
	eventually(t, 2*time.Minute, "all messages are handled", func() bool { return a.handled().len(t) >= messages })
	c := d.Consumer("orders")
	d.StopAll()
	stop()
	cron.Wait()
	a.handled().once(t, messages)
	done := a.handled().read(t)
	slices.SortFunc(done, func(x, y entry) int { return int((x.Start - y.Start) * 1e6) })
	ours := 0
	for i, e := range done {
		if i > 0 && done[i-1].PID != e.PID && done[i-1].End > e.Start {
			t.Errorf("pids %d and %d worked at the same time", done[i-1].PID, e.PID)
		}
		if !pids[e.PID] {
			ours++
		}
	}
	t.Logf("qsuper's consumers handled %d of %d messages; %d of %d runs found the lock taken in the meantime", ours, messages, c.Crashes, c.Exits)
	if ours == 0 || ours == messages {
		t.Error("only one of the two has worked")
	}
}
