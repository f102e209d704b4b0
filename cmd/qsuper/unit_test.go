package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"qsuper/config"
)

func unitOf(t *testing.T, u unit) string {
	t.Helper()
	var text strings.Builder
	if err := unitTemplate.Execute(&text, u); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

// The unit that is shipped is what `qsuper unit` prints for a file without
// consumers, with a timeout that is long enough for most.
func TestTheShippedUnit(t *testing.T) {
	file := filepath.Join(t.TempDir(), "qsuper.yaml")
	if err := os.WriteFile(file, []byte("version: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := loadAs(file, "")
	if err != nil {
		t.Fatal(err)
	}
	u, err := unitFor(cfg, "/etc/qsuper/qsuper.yaml", unitOptions{binary: "/usr/bin/qsuper", systemd: subgroupVersion - 1})
	if err != nil {
		t.Fatal(err)
	}
	u.Stop = "330s"
	text := unitOf(t, u)
	const shipped = "../../deploy/systemd/qsuper.service"
	if *update {
		if err := os.WriteFile(shipped, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(shipped)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), text); diff != "" {
		t.Errorf("%s (-want +got; go test -update writes it):\n%s", shipped, diff)
	}
}

func TestUnitWord(t *testing.T) {
	for in, want := range map[string]string{
		"/usr/bin/qsuper": "/usr/bin/qsuper",
		"/srv/a b":        `"/srv/a b"`,
		`/srv/a"b\c`:      `"/srv/a\"b\\c"`,
		"/srv/50%/$HOME":  "/srv/50%%/$$HOME",
		"":                `""`,
	} {
		if got, err := unitWord(in); got != want || err != nil {
			t.Errorf("%q becomes %s, %v", in, got, err)
		}
	}
	if got, err := unitWord("a\nExecStart=/bin/evil"); err == nil {
		t.Errorf("two lines: %s", got)
	}
}

func TestUnitDirectories(t *testing.T) {
	for dir, want := range map[string]string{
		"/var/lib/qsuper": "qsuper", "/var/lib/a/b/": "a/b", "/var/lib": "", "/var/library": "", "/var/lib/../x": "", "/var/lib/a b": "", "/srv/x": "",
	} {
		if got := below("/var/lib", dir); got != want {
			t.Errorf("%s: %q, not %q", dir, got, want)
		}
	}
	u, err := unitFor(&config.Config{Daemon: config.Daemon{Socket: config.Socket{Path: "/run/q/s", Group: "ops"}}}, "/etc/q.yaml", unitOptions{binary: "/q"})
	if err != nil || u.Runnable != "0755" || u.Runtime != "q" {
		t.Errorf("%+v, %v: the group cannot reach the socket", u, err)
	}
}

func TestTheInstalledUnitIsTooShort(t *testing.T) {
	slow := &config.Consumer{Name: "reports", Stop: config.Stop{Grace: 10 * time.Minute}}
	cfg := &config.Config{Path: "/etc/q.yaml", Consumers: []*config.Consumer{{Name: "orders", Stop: config.Stop{Grace: 2 * time.Minute}}, slow}}
	for text, want := range map[string]int{
		"argv[]=/q run --config /etc/q.yaml ; x\nTimeoutStopUSec=1min 30s\n":       1,
		"argv[]=/q run --config /etc/q.yaml ; x\nTimeoutStopUSec=10min 500ms\n":    0,
		"argv[]=/q run --config /etc/q.yaml ; x\nTimeoutStopUSec=infinity\n":       0,
		"argv[]=/q run --config /etc/other/q.yaml ; x\nTimeoutStopUSec=1min 30s\n": 0,
		"argv[]=/q run --config /etc/q.yaml ; x\nTimeoutStopUSec=soon\n":           0,
		"TimeoutStopUSec=1min 30s\n":                                               0,
		"":                                                                         0,
	} {
		got := unitProblems(text, cfg)
		if len(got) != want || want == 1 && !strings.Contains(got[0].String(), "reports.stop.grace") {
			t.Errorf("%s: %v", text, got)
		}
	}
}

func TestTheInstalledUnitHoldsTooFew(t *testing.T) {
	own := func(n int, to string) *config.Consumer {
		return &config.Consumer{Name: to, Instances: config.Instances{Max: n}, Logs: config.Logs{To: to}}
	}
	cfg := &config.Config{Path: "/etc/q.yaml", Consumers: []*config.Consumer{own(30, "file"), own(20, "stdout"), own(500, "none")}}
	for text, want := range map[string]int{
		"argv[]=/q run --config /etc/q.yaml ; x\nFileDescriptorStoreMax=0\n":       1,
		"FileDescriptorStoreMax=49\nargv[]=/q run --config /etc/q.yaml ; x\n":      1,
		"argv[]=/q run --config /etc/q.yaml ; x\nFileDescriptorStoreMax=50\n":      0,
		"argv[]=/q run --config /etc/q.yaml ; x\n":                                 0,
		"argv[]=/q run --config /etc/other/q.yaml ; x\nFileDescriptorStoreMax=0\n": 0,
	} {
		if got := unitProblems(text, cfg); len(got) != want || want == 1 && !strings.Contains(got[0].String(), "50 pipes") {
			t.Errorf("%s: %v", text, got)
		}
	}
	if u, err := unitFor(cfg, "/etc/q.yaml", unitOptions{binary: "/q"}); err != nil || u.Pipes != unitPipes {
		t.Errorf("%+v, %v", u, err)
	}
	cfg.Consumers[0].Instances.Max = 2000
	if u, err := unitFor(cfg, "/etc/q.yaml", unitOptions{binary: "/q"}); err != nil || u.Pipes != 4040 {
		t.Errorf("%+v, %v", u, err)
	}
}

func TestTheInstalledUnitFailsAfterAKill(t *testing.T) {
	cfg := &config.Config{Path: "/etc/q.yaml"}
	for text, want := range map[string]int{
		"argv[]=/q run --config /etc/q.yaml ; x\nSuccessExitStatus=\n":       1,
		"argv[]=/q run --config /etc/q.yaml ; x\nSuccessExitStatus=15 75\n":  1,
		"argv[]=/q run --config /etc/q.yaml ; x\nSuccessExitStatus=5\n":      0,
		"argv[]=/q run --config /etc/q.yaml ; x\n":                           0, // not said
		"argv[]=/q run --config /etc/other/q.yaml ; x\nSuccessExitStatus=\n": 0,
	} {
		if got := unitProblems(text, cfg); len(got) != want || want == 1 && !strings.Contains(got[0].String(), "SuccessExitStatus=5") {
			t.Errorf("%s: %v", text, got)
		}
	}
}

// What is printed is what systemd understands, names with blanks included.
func TestTheUnitIsVerified(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a b")
	file, unitFile := filepath.Join(dir, "50% off.yaml"), filepath.Join(dir, "qsuper.service")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	text := "version: 1\nconnections: {c: {type: tcp, address: \"${UNIT_TEST:-127.0.0.1:1}\"}}\nconsumers: {orders: {command: [/bin/true], stop: {grace: 10m}}}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, stderr := run(nil, "unit", "-c", file, "--binary", "/bin/true", "--user", "daemon")
	if code != 0 || stderr != "" {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	if err := os.WriteFile(unitFile, []byte(out), 0o600); err != nil {
		t.Fatal(err)
	}
	said, err := exec.Command("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", unitFile).CombinedOutput()
	if err != nil || len(said) > 0 {
		t.Errorf("systemd-analyze verify: %v (apt-get install systemd)\n%s\n%s", err, said, out)
	}
}
