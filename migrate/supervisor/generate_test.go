package supervisor

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// generate writes a random file of the words that matter to Supervisor.
func generate(seed uint64) string {
	r := rand.New(rand.NewPCG(seed, 1))
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	var b strings.Builder
	section := func(kind string) {
		fmt.Fprintf(&b, "%s[%s]%s\n", pick("", "", "", "", " "), kind, pick("", "", " ; comment", " x"))
		for range r.IntN(9) {
			b.WriteString(generateLine(r, pick))
		}
	}
	section("supervisord")
	for range 1 + r.IntN(4) {
		name := pick("a", "b", "c", "d.e", " a", "a ", "x_y")
		switch r.IntN(12) {
		case 0:
			section("group:" + name)
			fmt.Fprintf(&b, "programs=%s\n", pick("a", "a,b", "b, c", "", "d.e,a"))
		case 1:
			section("eventlistener:" + name)
			fmt.Fprintf(&b, "command=listen\nevents=%s\n", pick("TICK_5", "process_state,TICK_60", "NOTHING", ""))
		case 2:
			section("DEFAULT")
		case 3:
			section(pick("supervisord", "include:x", "other", "supervisorctl"))
		default:
			section("program:" + name)
			if r.IntN(8) > 0 {
				fmt.Fprintf(&b, "command=%s\n", pick("run", "run %(program_name)s %(process_num)02d", `bash -c "a ; b"`, "date +%%s", "x 'y z' \\\n  \"q\\\"r\" s", "run%(ENV_FROM)s"))
			}
		}
	}
	return b.String()
}

func generateLine(r *rand.Rand, pick func(...string) string) string {
	number := pick("0", "1", "2", "3", "10", " 7", "1_0", "0x1", "-1", "", "1.5", "%(ENV_N)s", "+4", "007", "%(process_num)d")
	switches := pick("true", "false", "yes", "off", "1", "0", "TRUE", "maybe", "", "unexpected", "%(ENV_N)s")
	text := pick("plain", "/var/log/x.log", "%(here)s/x", "%(program_name)s-%(process_num)d", "%(group_name)s_%(process_num)03d", "%(process_num)x%(numprocs)d",
		"%(ENV_N)s", "%(ENV_OWN)s", "100%%", "100%%%%", "50%", "a b", "a ; b", "a;b", "a # b", "NONE", "auto", "syslog", "~/x", "%(host_node_name)s", "%(nothing)s", "", "é", "%(process_num)-3d|", "%(process_num)s", "%(program_name)5s", "%(process_num)+d")
	env := pick(`A="x"`, "A=x", `A="x",B='y'`, "A=x,B=y,", `OWN="%(process_num)d",B="%(ENV_N)s"`, "A=$X", "A=a b", "A=x#y\n  B=z", "A=~/x", "A=http://h/p?x=1", "A=u@h", "A=", `A=""`,
		`A="x" B="y"`, "A='it\"s'", `A="open`, "A=a'b,C=d", `A="%%%%",B="%%"`, "A=1,\n B=2", "A=é", `A="x;y ;z"`, "=,", "A==b", `A="x"y,B=z`, "OWN=1")
	key := pick("command", "process_name", "process_name", "numprocs", "numprocs_start", "priority", "autostart", "startsecs", "startretries", "autorestart", "exitcodes", "stopsignal", "stopwaitsecs",
		"stopasgroup", "killasgroup", "user", "redirect_stderr", "stdout_logfile", "stdout_logfile_maxbytes", "stdout_logfile_backups", "stdout_capture_maxbytes",
		"stdout_events_enabled", "stdout_syslog", "stderr_logfile", "stderr_logfile_maxbytes", "environment", "environment", "directory", "umask", "serverurl", "minfds", "identifier", "strip_ansi", "loglevel", "nodaemon", "unknown")
	val := text
	switch key {
	case "numprocs", "numprocs_start", "priority", "startsecs", "startretries", "stopwaitsecs", "stdout_logfile_backups", "minfds":
		val = number
	case "autostart", "autorestart", "stopasgroup", "killasgroup", "redirect_stderr", "stdout_events_enabled", "stdout_syslog", "strip_ansi", "nodaemon":
		val = switches
	case "exitcodes":
		val = pick("0", "0,2", "", "300", "1, 2", "x", "0,")
	case "stopsignal":
		val = pick("TERM", "sigint", "9", "USR1", "0", "34", "35", "nothing", "SIG_IGN", " QUIT", "CLD")
	case "umask":
		val = pick("022", "0o27", "8", "1777", "")
	case "loglevel":
		val = pick("info", "DEBUG", "loud")
	case "environment":
		val = env
	case "stdout_logfile_maxbytes", "stderr_logfile_maxbytes", "stdout_capture_maxbytes":
		val = pick("0", "50MB", "1 kb", "10M", "1.5MB", "1KiB", "2GB", "", "MB", "-1", "%(process_num)dMB")
	}
	switch r.IntN(12) {
	case 0:
		return fmt.Sprintf("%s %s  %s%s\n", key, pick("=", ":"), val, pick("", " ; comment", "\t# comment", " ;", "#tail"))
	case 1:
		return fmt.Sprintf("%s=%s\n%s\n", strings.ToUpper(key), val, pick("", "; comment", "# comment", "  continued", "\n  continued", "  ; inner\n  more", "[odd", "\tx=y", "no delimiter", "  =x", ": x"))
	}
	return fmt.Sprintf("%s=%s\n", key, val)
}

// TestRandomFilesAgreeWithSupervisor reads files of a seeded generator, for a
// moment, or as long as QSUPER_FUZZ (a duration) says, both ways.
func TestRandomFilesAgreeWithSupervisor(t *testing.T) {
	o := startOracle(t)
	file := filepath.Join(t.TempDir(), "supervisord.conf")
	least, end, first := 1500, time.Now(), uint64(1)
	if text := os.Getenv("QSUPER_FUZZ"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil {
			t.Fatal(err)
		}
		end, first = end.Add(d), uint64(end.UnixNano())
	}
	accepted, seed := 0, first
	for ; seed < first+uint64(least) || time.Now().Before(end); seed++ {
		text := generate(seed)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		env := map[string]string{"HOME": "/root", "N": "2", "FROM": " --from"}
		theirs := o.ask(t, file, env)
		cfg, err := readWith(t, env, file)
		if tooMuch(cfg) {
			continue
		}
		if cfg != nil && len(cfg.free) > 0 && theirs.Error != "" { // they count as set here
			continue
		}
		agree(t, file, theirs, cfg, err)
		if theirs.Error == "" {
			accepted++
		}
		if t.Failed() {
			t.Fatalf("seed %d:\n%s", seed, text)
		}
	}
	if n := int(seed - first); accepted*20 < n {
		t.Errorf("only %d of %d files are accepted by Supervisor: the generator is too wild", accepted, n)
	} else {
		t.Logf("%d files, %d of them accepted by Supervisor", n, accepted)
	}
}
