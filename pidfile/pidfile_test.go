package pidfile

import (
	"bufio"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

const contendEnv = "QSUPER_TEST_CONTEND"

// TestMain lets the test binary be one of many daemons that start at once.
func TestMain(m *testing.M) {
	if dir := os.Getenv(contendEnv); dir != "" {
		_, err := Acquire(dir)
		var held *Held
		switch {
		case err == nil:
			fmt.Println("won", os.Getpid())
			end := make(chan os.Signal, 1) // select{} would be taken for a deadlock
			signal.Notify(end, unix.SIGTERM)
			<-end
		case errors.As(err, &held):
			fmt.Println("held", held.PID)
			os.Exit(75)
		}
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func TestOneOfAHundred(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	type answer struct {
		cmd  *exec.Cmd
		says string
	}
	answers := make(chan answer)
	for range 100 {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), contendEnv+"="+dir, "GORACE=atexit_sleep_ms=0")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		go func() {
			line, _ := bufio.NewReader(out).ReadString('\n')
			answers <- answer{cmd, strings.TrimSpace(line)}
		}()
	}
	var winner *exec.Cmd
	says := map[string]int{}
	for range 100 {
		a := <-answers
		says[a.says]++
		if strings.HasPrefix(a.says, "won") {
			winner = a.cmd
			defer a.cmd.Wait()
			defer a.cmd.Process.Kill()
		} else if err := a.cmd.Wait(); a.cmd.ProcessState.ExitCode() != 75 {
			t.Errorf("%s: %v", a.says, err)
		}
	}
	if winner == nil {
		t.Fatal("nobody won: ", says)
	}
	pid := winner.Process.Pid
	if says[fmt.Sprint("won ", pid)] != 1 || says[fmt.Sprint("held ", pid)] != 99 {
		t.Errorf("the winner is %d: %v", pid, says)
	}
	if b, err := os.ReadFile(filepath.Join(dir, pidName)); string(b) != fmt.Sprintln(pid) {
		t.Errorf("pid file %q, %v", b, err)
	}
	if names, _ := filepath.Glob(filepath.Join(dir, "*")); len(names) != 2 {
		t.Errorf("the losers left something: %v", names)
	}
}

func TestReleaseAndStaleFiles(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, pidName)
	if err := os.WriteFile(path, []byte("1\n"), 0o600); err != nil { // of a daemon that died
		t.Fatal(err)
	}
	l, err := Acquire(dir)
	if err != nil {
		t.Fatal(err)
	}
	var held *Held
	if _, err := Acquire(dir); !errors.As(err, &held) || held.PID != os.Getpid() || !strings.Contains(err.Error(), dir) {
		t.Errorf("%v", err)
	}
	if err := l.Release(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Error("the pid file is still there: ", err)
	}
	if l, err = Acquire(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("1\n"), 0o600); err != nil { // somebody else's now
		t.Fatal(err)
	}
	if err := l.Release(); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(path); string(b) != "1\n" {
		t.Error("a foreign pid file was removed")
	}
}

// A lock on a file that somebody has removed is worth nothing.
func TestRemovedLockFile(t *testing.T) {
	dir := t.TempDir()
	l, err := Acquire(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Release()
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if fd, err := lockFile(filepath.Join(dir, "link")); err == nil {
		unix.Close(fd)
		t.Error("a link was followed")
	}
}

func self(slot string, run uint64) Run {
	return Run{Slot: slot, Run: run, PID: os.Getpid(), Began: 0, Started: boottime()}
}

func boottime() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return time.Duration(ts.Nano())
}

// A daemon is killed while a child of it has not executed its program yet.
func TestAChildOfADeadDaemonIsWaitedFor(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command("sh", "-c", `exec 9>"$1"; flock -n 9 || exit 1; sleep 0.3 & exec 9>&-`, "sh", filepath.Join(dir, lockName))
	if err := cmd.Run(); err != nil { // without its output: the child has that, too
		t.Fatal(err)
	}
	l, err := Acquire(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Release(); err != nil {
		t.Error(err)
	}
}

func TestRunsOutliveTheirWriter(t *testing.T) {
	dir := t.TempDir()
	r, left, err := OpenRuns(dir)
	if err != nil || len(left) != 0 {
		t.Fatal(left, err)
	}
	alive := self("orders/0", 1)
	full := self(strings.Repeat("x", maxSlot), 1<<62)
	full.Signal, full.Grace, full.Scope, full.Tag = 64, 1<<62, 2, strings.Repeat("y", maxTag)
	full.Serial, full.UID = strings.Repeat("z", maxSerial), 1<<32-1
	full.Deadline, full.Signalled, full.Held = 1<<62, true, true
	full.Lease = &Lease{Token: 1<<63 + 5, Until: 36500 * 24 * time.Hour, Fence: 24 * time.Hour}
	dropped := self("orders/3", 4)
	torn := self("orders/4", 5)
	long := self(strings.Repeat("x", maxSlot+1), 1)
	for _, run := range []Run{alive, full, dropped, torn} {
		if err := r.Put(run); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Put(long); err == nil {
		t.Error("a name without end was recorded")
	}
	again := alive
	again.Run = 7
	if err := r.Put(again); err != nil {
		t.Fatal(err)
	}
	r.Forget("orders/3")
	other := self("mail/0", 9)
	if err := r.Put(other); err != nil { // in the line that became free
		t.Fatal(err)
	}
	if _, err := r.f.WriteAt([]byte("xx"), 4*lineLen+3); err != nil {
		t.Fatal(err)
	}
	if st, _ := r.f.Stat(); st.Size() != 5*lineLen {
		t.Errorf("%d bytes", st.Size())
	}
	for range 2 { // the second finds what the first kept
		r, left, err = OpenRuns(dir)
		if err != nil {
			t.Fatal(err)
		}
		byName := map[string]Run{}
		for _, run := range left {
			byName[run.Slot] = run
		}
		if d := cmp.Diff(map[string]Run{"orders/0": again, full.Slot: full, "mail/0": other}, byName); d != "" {
			t.Error(d)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	// Another boot, or no record at all.
	for _, text := range []string{"", "x", "qsuper runs, boot 0\n", strings.Repeat("y", 3000)} {
		if err := os.WriteFile(filepath.Join(dir, runsName), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, left, err := OpenRuns(dir); err != nil || len(left) != 0 {
			t.Errorf("%q: %v, %v", text, left, err)
		}
	}
}

// Slots that are forgotten in one order and begin again in another change lines.
func TestNoSlotHasTwoLines(t *testing.T) {
	dir := t.TempDir()
	r, _, err := OpenRuns(dir)
	if err != nil {
		t.Fatal(err)
	}
	put := func(run Run) {
		if err := r.Put(run); err != nil {
			t.Fatal(err)
		}
	}
	put(self("orders/0", 1))
	put(self("mail/0", 1))
	r.Forget("orders/0")
	r.Forget("mail/0")
	r.Forget("never/0")
	now := self("orders/0", 2)
	put(now) // where mail/0 was
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	_, left, err := OpenRuns(dir)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]Run{now}, left); d != "" {
		t.Error(d)
	}
}

// An earlier release has recorded less.
func TestParseOldLine(t *testing.T) {
	text := "orders/0 7 812 1000 2000 15 30 1 .tag"
	old := line([]byte(text + " " + strconv.FormatUint(uint64(crc32.ChecksumIEEE([]byte(text))), 16)))
	want := Run{Slot: "orders/0", Run: 7, PID: 812, Began: 1000, Started: 2000, Signal: 15, Grace: 30, Scope: 1, Tag: "tag"}
	if run, ok := parse(old[:]); !ok || run != want {
		t.Errorf("%+v, %v", run, ok)
	}
}

// And in shorter lines.
func TestRunsOfAnOlderVersion(t *testing.T) {
	dir := t.TempDir()
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		t.Fatal(err)
	}
	run := "orders/0 7 812 1000 2000 15 30 1 .tag .serial 33"
	text := fmt.Sprintf("%-383s\n%-383s\n", "qsuper runs, boot "+strings.TrimSpace(string(boot)), fmt.Sprintf("%s %x", run, crc32.ChecksumIEEE([]byte(run))))
	path := filepath.Join(dir, runsName)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	want := Run{Slot: "orders/0", Run: 7, PID: 812, Began: 1000, Started: 2000, Signal: 15, Grace: 30, Scope: 1, Tag: "tag", Serial: "serial", UID: 33}
	for range 2 {
		r, left, err := OpenRuns(dir)
		if err != nil || len(left) != 1 || left[0] != want {
			t.Fatalf("%+v, %v", left, err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("orders/0 1 2 3 4 abcdef"))
	f.Add([]byte(""))
	f.Fuzz(func(t *testing.T, b []byte) {
		if run, ok := parse(b); ok && (run.PID < 0 || run.Slot == "") {
			t.Errorf("%q: %+v", b, run)
		}
	})
}

func BenchmarkPut(b *testing.B) {
	r, _, err := OpenRuns(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	run := self("orders/0", 1)
	for b.Loop() {
		if err := r.Put(run); err != nil {
			b.Fatal(err)
		}
	}
}
