package servers

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestMain lets the test binary play a test process that is killed.
func TestMain(m *testing.M) {
	dir := os.Getenv("QSUPER_TEST_GUARDED")
	if dir == "" {
		os.Exit(m.Run())
	}
	// The server has a child of its own that ignores what it can.
	s, err := start(dir, true, []string{"PATH=/usr/bin:/bin"}, "sh", "-c", `trap "" TERM HUP; sleep 1000 & echo $! >"$PWD/child"; wait`)
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	fmt.Println(s.pid)
	select {}
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !is(); {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10 s: %s", what)
		}
		<-time.After(10 * time.Millisecond)
	}
}

func TestServersDieWithTheTest(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "server")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "QSUPER_TEST_GUARDED="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	var pid, child int
	if _, err := fmt.Sscan(line, &pid); err != nil {
		t.Fatalf("the test process said %q: %v", line, err)
	}
	eventually(t, "the server's child runs", func() bool {
		b, err := os.ReadFile(filepath.Join(dir, "child"))
		_, scanErr := fmt.Sscan(string(b), &child)
		return err == nil && scanErr == nil
	})
	if (&server{pid: pid}).gone() || (&server{pid: child}).gone() {
		t.Fatalf("server %d and its child %d should run", pid, child)
	}

	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	eventually(t, "the server has ended", (&server{pid: pid}).gone)
	eventually(t, "its child has ended", (&server{pid: child}).gone)
	eventually(t, "its folder is removed", func() bool {
		_, err := os.Stat(dir)
		return os.IsNotExist(err)
	})
}

func TestAMissingProgramIsNamed(t *testing.T) {
	err := require("rabbitmq-server", "sh", "/no/such/rabbitmq-server")
	if err == nil || !strings.HasSuffix(err.Error(), "run: apt-get install -y --no-install-recommends rabbitmq-server") {
		t.Errorf("got %v", err)
	}
}

func TestStartReportsWhatAServerSaid(t *testing.T) {
	s, err := start(t.TempDir(), false, []string{"PATH=/usr/bin:/bin"}, "sh", "-c", "echo no licence; exit 1")
	if err != nil {
		t.Fatal(err)
	}
	defer s.stop()
	err = s.await("sh", time.Minute, func() bool { return false })
	if err == nil || !strings.Contains(err.Error(), "no licence") {
		t.Errorf("got %v", err)
	}
}
