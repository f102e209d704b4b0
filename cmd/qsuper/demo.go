package main

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"qsuper/control"
	"qsuper/health/backends"
)

// demoMessages are published at once; demoLimit bounds the whole.
const (
	demoMessages = 1000
	demoLimit    = 55 * time.Second
)

// demoConfig is the pattern of config.example.yaml on an SQLite queue.
const demoConfig = `version: 1
daemon:
  name: demo
  state_dir: state
  log_dir: logs
  socket: {path: state/qsuper.sock}
  interval: 200ms
connections:
  local: {type: sqlite, path: queue.db}
consumers:
  orders:
    command: [%q, demo-consumer, --db, %q, --queue, "{queue}", "--max-messages={max_messages}"]
    queue: {connection: local, name: orders}
    instances: {min: 0, max: 4, per_instance: 50, cooldown: 1s}
    max_messages: 100
    idle_timeout: 2s
    stop: {grace: 10s}
`

func newDemoCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "demo",
		Example: "  qsuper demo",
		Short:   "Show the whole thing on an embedded SQLite queue, nothing to install",
		Long: "Start a daemon on a fresh SQLite queue, publish 1,000 messages, and show how consumers\n" +
			"come, are recycled and go. It checks that each message was handled once, and ends by itself.",
		Args: args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			return runDemo(ctx, a.screen(), a.now)
		},
	}
}

// demo is one demonstration: a directory, a queue in it, a daemon on it.
type demo struct {
	dir    string
	db     *sql.DB
	client *control.Client
	out    *screen
	now    clockFunc
	began  time.Time
	peak   int // most consumers at once

	drawn           int // lines on the terminal that the next drawing replaces
	told            bool
	running, second int // of the last line told
}

func runDemo(ctx context.Context, out *screen, now clockFunc) error {
	dir, err := os.MkdirTemp("", "qsuper-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	d := &demo{dir: dir, out: out, now: now, client: control.New(filepath.Join(dir, "state", "qsuper.sock"))}
	if err := d.prepare(); err != nil {
		return err
	}
	defer d.db.Close()
	out.printf("%s\n\n", out.paint(bold, "qsuper demo: 1,000 messages, 0 to 4 consumers, a new process after every 100 messages"))
	daemon, err := d.start(ctx)
	if err != nil {
		return err
	}
	defer daemon.Process.Kill() // only if the stop below did not end it
	limited, cancel := context.WithTimeout(ctx, demoLimit)
	defer cancel()
	err = d.show(limited)
	stopped := d.stop(daemon)
	switch {
	case ctx.Err() != nil:
		return errors.New("interrupted; everything has been stopped")
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("not done within %s:\n%s", demoLimit, d.said())
	case err != nil:
		return fmt.Errorf("%w; the daemon said:\n%s", err, d.said())
	case stopped != nil:
		return fmt.Errorf("%w; the daemon said:\n%s", stopped, d.said())
	}
	return d.summary(ctx)
}

// prepare makes the queue and the file.
func (d *demo) prepare() error {
	path := filepath.Join(d.dir, "queue.db")
	db, err := openQueue(path)
	if err != nil {
		return err
	}
	d.db = db
	if _, err := db.Exec(backends.PlainSQLite + `CREATE TABLE handled (message INTEGER, run TEXT, slot INTEGER);`); err != nil {
		return fmt.Errorf("make the queue: %w", err)
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(d.dir, "qsuper.yaml"), fmt.Appendf(nil, demoConfig, exe, path), 0o600)
}

func openQueue(path string) (*sql.DB, error) {
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=journal_mode(WAL)&_pragma=busy_timeout(20000)&_pragma=synchronous(OFF)&_txlock=immediate")
	if err != nil {
		return nil, fmt.Errorf("open the queue: %w", err)
	}
	db.SetMaxOpenConns(1)
	return db, nil
}

// start runs the daemon in a process group of its own: Ctrl-C reaches this
// command, which then stops it gracefully.
func (d *demo) start(ctx context.Context) (*exec.Cmd, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	out, err := os.Create(filepath.Join(d.dir, "qsuper.log"))
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd := exec.Command(exe, "run", "--config", filepath.Join(d.dir, "qsuper.yaml"))
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the daemon: %w", err)
	}
	ended := make(chan error, 1)
	answer, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // ends when the daemon does; stop waits for it again by its state
		ended <- cmd.Wait()
	}()
	if err := awaitAnswer(answer, d.client, cmd.Process.Pid, ended, d.said); err != nil {
		cmd.Process.Signal(syscall.SIGTERM) // it may be about to answer; without it this is over
		return nil, err
	}
	return cmd, nil
}

// show publishes once the empty queue has been seen, and ends when everything
// has been handled and the last consumer has gone.
func (d *demo) show(ctx context.Context) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	d.began = d.now()
	published := false
	for {
		st, err := d.client.Status(ctx, control.StatusQuery{})
		if err != nil {
			return err
		}
		if len(st.Consumers) != 1 {
			return fmt.Errorf("%d consumers instead of one", len(st.Consumers))
		}
		c := st.Consumers[0]
		d.peak = max(d.peak, c.Running)
		d.draw(st)
		if !published && c.Queue.State == "ok" {
			if err := d.publish(ctx); err != nil {
				return err
			}
			published = true
		}
		done, err := d.count(ctx, "SELECT count(*) FROM messages WHERE done_at IS NOT NULL")
		if err != nil {
			return err
		}
		if done == demoMessages && c.Running == 0 && c.State == "waiting" {
			d.draw(st)
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (d *demo) publish(ctx context.Context) error {
	tx, err := d.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	defer tx.Rollback()
	for i := range demoMessages {
		if _, err := tx.Exec("INSERT INTO messages (queue, body) VALUES ('orders', ?)", "order "+strconv.Itoa(i+1)); err != nil {
			return fmt.Errorf("publish: %w", err)
		}
	}
	return tx.Commit()
}

func (d *demo) count(ctx context.Context, query string) (n int, err error) {
	err = d.db.QueryRowContext(ctx, query).Scan(&n)
	if err != nil {
		err = fmt.Errorf("look into the queue: %w", err)
	}
	return n, err
}

// stop ends the daemon gracefully and waits until its process is gone.
func (d *demo) stop(daemon *exec.Cmd) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if _, err := d.client.Shutdown(ctx, control.Shutdown{}); err != nil {
		return fmt.Errorf("stop the daemon: %w", err)
	}
	for daemon.Process.Signal(syscall.Signal(0)) == nil {
		select {
		case <-ctx.Done():
			return errors.New("the daemon did not end")
		case <-time.After(5 * time.Millisecond):
		}
	}
	return nil
}

func (d *demo) said() string { return tailFrom(filepath.Join(d.dir, "qsuper.log"), 0) }

// summary checks what the demo claims.
func (d *demo) summary(ctx context.Context) error {
	checks := []struct {
		what  string
		query string
		ok    func(n int) bool
	}{
		{"messages handled", "SELECT count(DISTINCT message) FROM handled", func(n int) bool { return n == demoMessages }},
		{"messages handled twice", "SELECT count(*) - count(DISTINCT message) FROM handled", func(n int) bool { return n == 0 }},
		{"messages left in the queue", "SELECT count(*) FROM messages WHERE done_at IS NULL", func(n int) bool { return n == 0 }},
		{"processes, none of which handled more than 100 messages", "SELECT count(DISTINCT run || '/' || slot) FROM handled", func(n int) bool { return n >= demoMessages/100 }},
		{"most messages of one process", "SELECT max(n) FROM (SELECT count(*) n FROM handled GROUP BY run, slot)", func(n int) bool { return n <= 100 }},
	}
	d.out.printf("\n%s\n", d.out.paint(bold, fmt.Sprintf("Summary after %.1f s", d.now().Sub(d.began).Seconds())))
	failed := false
	line := func(ok bool, n int, what string) {
		sign := d.out.paint(green, d.out.sign("✓", "ok"))
		if !ok {
			sign, failed = d.out.paint(red, d.out.sign("✗", "NO")), true
		}
		d.out.printf("  %s %5d %s\n", sign, n, what)
	}
	for _, c := range checks {
		n, err := d.count(ctx, c.query)
		if err != nil {
			return err
		}
		line(c.ok(n), n, c.what)
	}
	line(d.peak == 4, d.peak, "consumers at most, and none in the end")
	if failed {
		return errors.New("the demo did not do what it claims; please report this with the output above")
	}
	d.out.printf("\nNext: read config.example.yaml, write a qsuper.yaml, try \"qsuper check\" and \"qsuper run\".\n")
	return nil
}

// draw shows the status in place on a terminal; elsewhere one line whenever the
// number of consumers changes, and once a second.
func (d *demo) draw(st control.Status) {
	if !d.out.live {
		d.report(st.Consumers[0])
		return
	}
	d.out.measure()
	var page bytes.Buffer
	_ = statusView{screen: d.out.to(&page), now: d.now()}.print(st) // into memory
	text := ""
	if d.drawn > 0 {
		text = fmt.Sprintf("\x1b[%dA\r", d.drawn)
	}
	text += strings.ReplaceAll(page.String(), "\n", clearToEOL+"\n") + clearBelow
	d.drawn = strings.Count(page.String(), "\n")
	d.out.printf("%s", text)
}

func (d *demo) report(c control.ConsumerStatus) {
	second := int(d.now().Sub(d.began).Seconds())
	if c.Running == d.running && second == d.second && d.told {
		return
	}
	d.told, d.running, d.second = true, c.Running, second
	ready := "?"
	if c.Queue.Ready != nil {
		ready = strconv.FormatInt(*c.Queue.Ready, 10)
	}
	d.out.printf("%5.1f s  %-8s  %d of %d consumers run  %4s messages wait  %2d processes have ended\n",
		d.now().Sub(d.began).Seconds(), c.State, c.Running, c.Wanted, ready, c.Exits)
}
