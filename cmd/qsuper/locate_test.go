package main

import (
	"os"
	"path/filepath"
	"testing"

	"qsuper/config"
)

// TestStandardSocket: this is the path that config fills in when a file names none.
func TestStandardSocket(t *testing.T) {
	for _, tc := range []struct {
		euid int
		env  map[string]string
		text string
	}{
		{0, map[string]string{"HOME": "/root", "XDG_RUNTIME_DIR": "/run/user/0"}, ""},
		{1000, map[string]string{"HOME": "/home/anna", "XDG_RUNTIME_DIR": "/run/user/1000"}, ""},
		{1000, map[string]string{"HOME": "/home/anna"}, ""},
		{1000, map[string]string{"HOME": "/home/anna", "XDG_STATE_HOME": "/state"}, ""},
		{1000, map[string]string{"HOME": "/home/anna"}, "daemon: {state_dir: /srv/q}\n"},
		{1000, map[string]string{"HOME": "/home/anna", "XDG_RUNTIME_DIR": "relative"}, ""},
	} {
		file := filepath.Join(t.TempDir(), "q.yaml")
		if err := os.WriteFile(file, []byte("version: 1\n"+tc.text), 0o600); err != nil {
			t.Fatal(err)
		}
		lookup := func(name string) (string, bool) { v, ok := tc.env[name]; return v, ok }
		cfg, err := config.Load(file, config.Options{LookupEnv: lookup, EUID: func() int { return tc.euid }})
		if err != nil {
			t.Fatal(err)
		}
		stateDir := ""
		if tc.text != "" {
			stateDir = cfg.Daemon.StateDir
		}
		got := standardSocket(func(name string) string { return tc.env[name] }, tc.euid, stateDir)
		if got != cfg.Daemon.Socket.Path {
			t.Errorf("%+v: looked for at %s, listens at %s", tc, got, cfg.Daemon.Socket.Path)
		}
	}
}

func TestFindSocketPrefers(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	env := map[string]string{}
	find := func(flag, file string) string {
		t.Helper()
		a := newApp(nil, nil, func(name string) string { return env[name] })
		a.socket, a.config = flag, file
		path, err := a.findSocket()
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	other := write("other.yaml", "daemon: {socket: {path: other.sock}}\n")
	write("qsuper.yaml", "daemon: {socket: {path: here.sock}}\n")
	if got := find("", ""); got != filepath.Join(dir, "here.sock") {
		t.Errorf("the file of this directory: %s", got)
	}
	if got := find("", other); got != filepath.Join(dir, "other.sock") {
		t.Errorf("--config: %s", got)
	}
	env["QSUPER_SOCKET"] = "/env.sock"
	if got := find("", other); got != "/env.sock" {
		t.Errorf("QSUPER_SOCKET: %s", got)
	}
	if got := find("/flag.sock", other); got != "/flag.sock" {
		t.Errorf("--socket: %s", got)
	}
}

// Whose daemon is asked for follows from how it was found.
func TestWhoseDaemonIsMeant(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for _, name := range []string{"qsuper.yaml", "other.yaml"} {
		if err := os.WriteFile(name, []byte("daemon: {socket: {path: q.sock}}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct{ flag, file, env, want string }{
		{want: "qsuper.yaml"},
		{file: "other.yaml", want: "other.yaml"},
		{flag: "q.sock", file: "other.yaml"},
		{env: "q.sock"},
	} {
		a := newApp(nil, nil, func(name string) string {
			if name == "QSUPER_SOCKET" {
				return tc.env
			}
			return ""
		})
		a.socket, a.config = tc.flag, tc.file
		if _, file, err := a.findDaemon(); err != nil || file != tc.want {
			t.Errorf("%+v: %q, %v", tc, file, err)
		}
	}
}

// A file that is no YAML any more still says where its daemon is, however it is written.
func TestSocketInABrokenFile(t *testing.T) {
	for text, want := range map[string]string{
		"daemon: {state_dir: state, log_dir: logs, socket: {path: q.sock}}\nx: [\n": "q.sock",
		"daemon:\n  socket:\n    mode: \"0660\"\n    path: \"/run/a.sock\"\n\tx":    "/run/a.sock",
		"daemon:\n  socket: {mode: \"0660\", path: /run/b.sock, group: x}\n":        "/run/b.sock",
		"daemon:\n  websocket: {path: /no}\n  state_dir: /s\n":                      "",
	} {
		got := ""
		if m := socketLine().FindStringSubmatch(text); m != nil {
			got = m[1]
		}
		if got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
