package config

import (
	"path/filepath"
	"time"

	"qsuper/internal/kind"
	"qsuper/internal/pattern"
	"qsuper/schedule"
)

// validName is what consumers, connections, groups and daemons may be called:
// safe in file names, in shells and in keys of other systems.
var validName = pattern.Lazy(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

const nameRule = "use 1 to 128 ASCII letters, digits, dots, underscores and dashes, starting with a letter or digit"

// maxSocketPath is what fits into sockaddr_un with its final NUL (unix(7)).
const maxSocketPath = 107

func defaultDaemon() Daemon {
	return Daemon{
		Name:      "qsuper",
		Socket:    Socket{Mode: 0o660},
		Log:       DaemonLog{Level: "info", Format: "text"},
		Interval:  schedule.Every(time.Second),
		StartRate: 50,
	}
}

// daemon fills in the paths that depend on who runs it, and checks the section.
func (l *loader) daemon(d *Daemon, root *kind.Node) {
	var at *kind.Node
	if e := root.Get("daemon"); e != nil {
		at = e.Value
	}
	if !validName().MatchString(d.Name) {
		l.name(at, "name", "daemon.name", d.Name)
	}
	if l.options.EUID() == 0 {
		d.StateDir = first(d.StateDir, "/var/lib/qsuper")
		d.LogDir = first(d.LogDir, "/var/log/qsuper")
		d.Socket.Path = first(d.Socket.Path, "/run/qsuper/qsuper.sock")
	} else {
		d.StateDir = first(d.StateDir, l.userDir("XDG_STATE_HOME", ".local/state"))
		if d.StateDir == "" {
			l.add(root, "daemon.state_dir", "cannot be guessed without HOME or XDG_STATE_HOME").Hint = "give daemon.state_dir"
		}
		d.LogDir = first(d.LogDir, filepath.Join(d.StateDir, "logs"))
		runtime := first(l.userDir("XDG_RUNTIME_DIR", ""), d.StateDir)
		d.Socket.Path = first(d.Socket.Path, filepath.Join(runtime, "qsuper.sock"))
	}
	l.http(&d.HTTP, at)
	if len(d.Socket.Path) > maxSocketPath {
		l.add(place(at, "socket", "path"), "daemon.socket.path", "is longer than %d bytes, the most a unix socket may have", maxSocketPath)
	}
}

// userDir returns the folder qsuper below the directory that variable names or,
// below HOME, below fallback; "" when there is neither.
func (l *loader) userDir(variable, fallback string) string {
	if dir, _ := l.options.LookupEnv(variable); filepath.IsAbs(dir) {
		return filepath.Join(dir, "qsuper")
	}
	if home, _ := l.options.LookupEnv("HOME"); filepath.IsAbs(home) && fallback != "" {
		return filepath.Join(home, fallback, "qsuper")
	}
	return ""
}

// name reports a value that is not a valid name.
func (l *loader) name(n *kind.Node, key, path, value string) {
	at := place(n, key)
	shown := kind.Quote(value)
	if at != nil && at.Filled {
		shown = "***"
	}
	l.add(at, path, "%s is not a valid name", shown).Hint = nameRule
}

// place returns the deepest node of keys below n that was written.
func place(n *kind.Node, keys ...string) *kind.Node {
	for _, key := range keys {
		e := n.Get(key)
		if e == nil {
			break
		}
		n = e.Value
	}
	return n
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}
