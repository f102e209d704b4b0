package systemd

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// supervised is a fleet as its owner has it when he comes.
const supervised = `[program:orders]
command=/bin/sh /srv/worker 0
autostart=true
stopwaitsecs=40
`

// packages builds two versions for this machine, and puts them into the box.
func (b *box) packages() {
	b.t.Helper()
	arch, err := exec.Command("go", "env", "GOHOSTARCH").Output()
	if err != nil {
		b.t.Fatal(err)
	}
	makefile, err := exec.Command("make", "-s", "-C", "../..", "nfpm").Output()
	if err != nil {
		b.t.Fatal(err)
	}
	for _, version := range []string{"1.0.0", "1.1.0"} {
		build := exec.Command("../../deploy/package/build", b.share(""), version, strings.TrimSpace(string(arch)))
		build.Env = append(os.Environ(), "NFPM="+strings.TrimSpace(string(makefile)))
		if out, err := build.CombinedOutput(); err != nil {
			b.t.Fatalf("%v\n%s", err, out)
		}
	}
}

// pack is the path of a version in the box.
func (b *box) pack(pattern string) string {
	b.t.Helper()
	found, err := filepath.Glob(b.share(pattern))
	if err != nil || len(found) != 1 {
		b.t.Fatalf("%s: %v (%v)", pattern, found, err)
	}
	return "/srv/" + filepath.Base(found[0])
}

// version is that of the daemon.
func (b *box) version() string {
	b.t.Helper()
	for _, f := range strings.FieldsFunc(b.try("qsuper", "status", "--json").text, func(r rune) bool { return strings.ContainsRune("{},\n", r) }) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(f), `"version": "`); ok {
			return strings.TrimSuffix(v, `"`)
		}
	}
	return ""
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// From Supervisor to a fleet under qsuper, over an upgrade that no consumer
// notices, one that is refused, and away again: with the packages of both kinds.
func TestThePackageLives(t *testing.T) {
	b := newBox(t, file)
	b.packages()
	b.write("supervisord.conf", supervised)
	for _, kind := range []struct {
		name, v1, v2           string
		install, remove, purge []string
	}{
		{"deb", "qsuper_1.0.0_*.deb", "qsuper_1.1.0_*.deb", []string{"apt-get", "install", "-y", "--allow-downgrades"}, []string{"apt-get", "remove", "-y", "qsuper"}, []string{"apt-get", "purge", "-y", "qsuper"}},
		{"rpm", "qsuper-1.0.0*.rpm", "qsuper-1.1.0*.rpm", []string{"rpm", "-U", "--nodeps", "--oldpackage"}, []string{"rpm", "-e", "--nodeps", "qsuper"}, nil},
	} {
		t.Run(kind.name, func(t *testing.T) {
			b.t = t
			for _, name := range []string{"begun", "finished"} {
				b.write(name, "")
			}
			b.boot()
			defer b.halt()
			b.must("rm", "-f", "/usr/sbin/policy-rc.d") // of the machine, where it says that packages start nothing
			install := func(version string) string { return b.must(append(kind.install, b.pack(version))...) }

			if said := install(kind.v1); !strings.Contains(said, "nothing to run yet") || b.property("ActiveState") != "inactive" {
				t.Errorf("installed: %s\nand the service is %s", said, b.property("ActiveState"))
			}
			t.Log(b.must("qsuper", "import", "supervisor", "/srv/supervisord.conf", "-o", "/etc/qsuper/qsuper.yaml", "--verify"))
			b.must("systemctl", "enable", "--now", "qsuper")
			eventually(t, "the consumer runs", func() bool { return len(b.lines("begun")) == 1 })
			pid, keeper := b.lines("begun")[0], b.property("MainPID")
			t.Log(b.must("qsuper", "status"))
			if v := b.version(); v != "1.0.0" {
				t.Errorf("version %q runs", v)
			}

			t.Log(lastLines(install(kind.v2), 5))
			if v := b.version(); v != "1.1.0" || b.property("MainPID") != keeper || b.property("NRestarts") != "0" {
				t.Errorf("upgraded: version %q runs, main process %s, it was %s", v, b.property("MainPID"), keeper)
			}
			b.untouched(pid)

			good := b.must("cat", "/etc/qsuper/qsuper.yaml")
			b.must("sh", "-c", "echo 'nonsense: 1' >>/etc/qsuper/qsuper.yaml")
			if said := install(kind.v1); !strings.Contains(said, "the version before goes on running") || !strings.Contains(said, "nonsense") {
				t.Errorf("with a broken file the upgrade says:\n%s", said)
			}
			if v := b.version(); v != "1.1.0" || b.property("MainPID") != keeper {
				t.Errorf("refused: version %q runs, main process %s, it was %s", v, b.property("MainPID"), keeper)
			}
			b.untouched(pid)
			b.write("good.yaml", good)
			b.must("cp", "/srv/good.yaml", "/etc/qsuper/qsuper.yaml")

			b.must(kind.remove...)
			if number, _ := strconv.Atoi(pid); number == 0 || b.alive(pid) || len(b.lines("finished")) != 1 {
				t.Errorf("removed: %s lives: %v, finished: %v", pid, b.alive(pid), b.lines("finished"))
			}
			if b.try("test", "-e", "/usr/bin/qsuper").code == 0 || b.try("test", "-e", "/etc/qsuper/qsuper.yaml").code != 0 {
				t.Error("the binary is still there, or the file is not")
			}
			if said := install(kind.v2); strings.Contains(said, "nothing to run") {
				t.Error(said)
			}
			eventually(t, "it runs again, with the file that was there", func() bool { return len(b.lines("begun")) == 2 })
			if b.property("UnitFileState") != "enabled" {
				t.Errorf("the unit is %s", b.property("UnitFileState"))
			}
			if kind.purge != nil {
				b.must(kind.purge...)
				if b.try("test", "-e", "/var/lib/qsuper").code == 0 || b.try("test", "-e", "/etc/qsuper/qsuper.yaml").code != 0 {
					t.Error("the state is still there, or the file is not")
				}
			}
		})
	}
	b.t = t
}
