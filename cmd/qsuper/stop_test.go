package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"qsuper/control"
)

// draining is a fleet whose last instance is killed after grace.
func draining(t *testing.T, grace time.Duration) (*fakeDaemon, *control.Client) {
	t.Helper()
	d := scenario("fleet", time.Now())
	d.do = func(ctx context.Context, c control.Command) (control.CommandReply, error) {
		return d.drain(ctx, c, grace)
	}
	return d, serve(t, d)
}

func waits() waitOptions { return waitOptions{wait: true} }

func TestStopSaysHowEachOneEnded(t *testing.T) {
	_, c := draining(t, 80*time.Millisecond)
	out, text, _ := paper(80)
	err := runStop(context.Background(), c, stopOptions{names: []string{"orders"}, waitOptions: waits()}, out)
	if exitCode(err) != exitKilled {
		t.Errorf("exit code %d, want %d", exitCode(err), exitKilled)
	}
	for _, want := range []string{"orders/0  exit 0 after 0", "orders/3  killed after 0.1s of grace", "stopped orders: 4 instances, 1 of them had to be killed\n"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
}

func TestStopTimeout(t *testing.T) {
	_, c := draining(t, 20*time.Second)
	out, text, _ := paper(80)
	o := stopOptions{names: []string{"ticker"}, waitOptions: waitOptions{wait: true, timeout: 50 * time.Millisecond}}
	err := runStop(context.Background(), c, o, out)
	if exitCode(err) != exitFailed || !strings.Contains(err.Error(), "the stop goes on: still busy ticker/0") {
		t.Errorf("code %d, %v", exitCode(err), err)
	}
	if e, _ := errors.AsType[*exitError](err); e.Hint() != "to kill what is left: qsuper stop --now ticker" {
		t.Errorf("hint %q", e.Hint())
	}
	if !strings.Contains(text.String(), "ticker/0  draining, pid 999") {
		t.Errorf("output:\n%s", text)
	}
}

func TestStopInterrupted(t *testing.T) {
	d, c := draining(t, 20*time.Second)
	ctx, cancel := context.WithCancel(context.Background())
	out, _, _ := paper(80)
	done := make(chan error, 1)
	go func() {
		done <- runStop(ctx, c, stopOptions{names: []string{"orders"}, waitOptions: waits()}, out)
	}()
	eventually(t, "the stop to be under way", func() bool { return len(d.asked()) == 1 })
	cancel()
	if err := <-done; exitCode(err) != exitFailed || !strings.Contains(err.Error(), "the stop goes on") {
		t.Errorf("%v", err)
	}
}

func TestStopNoWait(t *testing.T) {
	_, c := draining(t, 20*time.Second)
	out, text, _ := paper(80)
	if err := runStop(context.Background(), c, stopOptions{names: []string{"orders", "mails"}}, out); err != nil {
		t.Fatal(err)
	}
	if text.String() != "stopping orders, mails\n" {
		t.Errorf("output %q", text)
	}
}

// keeperWithEngine starts a process with a child, as keeper and engine are.
func keeperWithEngine(t *testing.T) (keeper *exec.Cmd, engine int) {
	t.Helper()
	keeper = exec.Command("sh", "-c", "sleep 60 & echo $!; wait")
	out, err := keeper.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := keeper.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if engine, err = strconv.Atoi(strings.TrimSpace(line)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = exec.Command("kill", strconv.Itoa(engine)).Run()
		_ = keeper.Process.Kill()
		_ = keeper.Wait()
	})
	return keeper, engine
}

// TestStopEverythingWaitsForTheKeeper: the command returns when the daemon's
// process has ended, and not before.
func TestStopEverythingWaitsForTheKeeper(t *testing.T) {
	keeper, engine := keeperWithEngine(t)
	d := scenario("fleet", time.Now())
	d.status.Daemon.KeeperPID, d.status.Daemon.EnginePID = keeper.Process.Pid, engine
	d.shutdown = func(ctx context.Context, s control.Shutdown) (control.CommandReply, error) {
		return d.drain(ctx, control.Command{Wait: true}, 50*time.Millisecond)
	}
	c := serve(t, d)
	out, text, _ := paper(80)
	done := make(chan error, 1)
	go func() { done <- runStop(context.Background(), c, stopOptions{waitOptions: waits()}, out) }()
	eventually(t, "the socket to go", func() bool { return !exists(c.Socket()) })
	select {
	case err := <-done:
		t.Fatalf("returned while the keeper runs: %v", err)
	case <-time.After(150 * time.Millisecond):
	}
	if err := keeper.Process.Kill(); err != nil { // it stays a zombie, which is gone enough
		t.Fatal(err)
	}
	if err := <-done; exitCode(err) != exitKilled {
		t.Errorf("exit code %d: %v", exitCode(err), err)
	}
	if !strings.Contains(text.String(), "stopped the daemon shop and 5 instances, 1 of them had to be killed\n") {
		t.Errorf("output:\n%s", text)
	}
}

func TestStopEverythingTimeout(t *testing.T) {
	d := scenario("fleet", time.Now())
	d.shutdown = func(ctx context.Context, s control.Shutdown) (control.CommandReply, error) {
		return d.drain(ctx, control.Command{Wait: true}, 20*time.Second)
	}
	d.end = func() {}
	c := serve(t, d)
	out, text, _ := paper(80)
	err := runStop(context.Background(), c, stopOptions{waitOptions: waitOptions{wait: true, timeout: 50 * time.Millisecond}}, out)
	if exitCode(err) != exitFailed || !strings.Contains(err.Error(), "not done after 0.1s; the stop goes on") {
		t.Errorf("%v", err)
	}
	if !strings.Contains(text.String(), "orders/3  draining, pid 4245") {
		t.Errorf("output:\n%s", text)
	}
}

// TestStopWhenTheAnswerIsLost: the daemon ended before it had answered.
func TestStopWhenTheAnswerIsLost(t *testing.T) {
	d := scenario("one", time.Now())
	ended := make(chan struct{})
	var stop func()
	d.shutdown = func(ctx context.Context, s control.Shutdown) (control.CommandReply, error) {
		go func() { stop(); close(ended) }()
		<-ctx.Done()
		panic("the engine died") // the connection breaks
	}
	path := t.TempDir() + "/q.sock"
	stop = serveAt(t, d, path)
	out, _, _ := paper(80)
	err := runStop(context.Background(), control.New(path), stopOptions{waitOptions: waits()}, out)
	<-ended
	if code := exitCode(err); code != exitDone && code != exitFailed {
		t.Errorf("exit code %d: %v", code, err)
	}
}

func TestStrangersAreNotWaitedFor(t *testing.T) {
	keeper, _ := keeperWithEngine(t)
	p := watchProcess(keeper.Process.Pid, 1) // pid 1 is no child of it
	defer p.close()
	if err := p.wait(context.Background()); err != nil {
		t.Error(err)
	}
	if p.pidfd >= 0 {
		t.Error("took hold of a process that is no keeper")
	}
}

func TestProgressLine(t *testing.T) {
	began := noon
	var buf bytes.Buffer
	p := &progress{
		cmd: control.Command{Names: []string{"orders"}}, words: stopWords, began: began, before: map[slotKey]uint64{},
		out: &screen{Writer: &buf, width: 80},
	}
	st := scenario("fleet", noon).status
	st.Consumers = st.Consumers[:1]
	p.remember(st)
	deadline := began.Add(30 * time.Second)
	slots := st.Consumers[0].Slots
	slots[0].PID, slots[0].Phase = 0, "halted"
	slots[1].Run++ // a new one already: the old one is gone
	slots[2].PID, slots[2].Phase = 0, "waiting"
	slots[3].Phase, slots[3].Deadline = "draining", &deadline
	got := p.text(st, began.Add(12400*time.Millisecond))
	if want := "stopping orders: 3 of 4 gone, 12s/30s (orders/3)"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	p.words = restartWords
	got = p.text(st, began.Add(12400*time.Millisecond))
	if want := "restarting orders: 1 of 4 renewed, 12s/30s (orders/0, orders/2, orders/3)"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	p.words = startWords
	if got := p.text(st, began); got != "starting orders: 4 of 4 running, 0s" {
		t.Errorf("got %s", got)
	}
}

// Where nobody watches, progress is a line on stderr, and stdout has the outcome only.
func TestProgressInALog(t *testing.T) {
	c := serve(t, scenario("fleet", noon))
	out, text, errs := paper(0)
	p := &progress{client: c, cmd: control.Command{Names: []string{"orders"}}, words: restartWords, out: out, began: time.Now(), before: map[slotKey]uint64{}}
	p.begin(t.Context())
	p.show(t.Context(), false)
	if !strings.HasPrefix(errs.String(), "qsuper: restarting orders") || !strings.Contains(errs.String(), " renewed, 0s") || strings.Contains(errs.String(), "\x1b") || text.String() != "" {
		t.Errorf("stderr %q, stdout %q", errs, text)
	}
}

func TestProgressIsErased(t *testing.T) {
	_, c := draining(t, 3*progressEvery)
	out, text, _ := paper(80)
	out.live = true
	_ = runStop(context.Background(), c, stopOptions{names: []string{"orders"}, waitOptions: waits()}, out)
	before, after, found := strings.Cut(text.String(), "orders/0  exit 0")
	if !found || !strings.Contains(before, "stopping orders: ") || !strings.HasSuffix(before, eraseLine) || strings.Contains(after, "\x1b") {
		t.Errorf("output %q", text)
	}
}
