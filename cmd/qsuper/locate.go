package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"qsuper/config"
	"qsuper/control"
	"qsuper/internal/kind"
	"qsuper/internal/pattern"
)

// findSocket says where the daemon answers: --socket, $QSUPER_SOCKET, what the
// file says that was named or lies in this directory, the standard path if a
// socket is there, what the system's file says, the standard path.
//
// The system's file comes after the standard path only because looking for a
// socket takes microseconds and reading YAML milliseconds.
func (a *app) findSocket() (string, error) {
	socket, _, err := a.findDaemon()
	return socket, err
}

// client asks the daemon that findSocket finds. Where a file was named, or lies in this
// directory, it must be that file's.
func (a *app) client() (*control.Client, error) {
	socket, file, err := a.findDaemon()
	if err != nil {
		return nil, err
	}
	c := control.New(socket)
	if abs, err := filepath.Abs(file); err == nil && file != "" {
		c = c.For(abs)
	}
	return c, nil
}

// findDaemon is findSocket, and the file that this came from; "" = anybody's daemon is
// meant who answers there.
func (a *app) findDaemon() (socket, file string, err error) {
	if a.socket != "" {
		return a.socket, "", nil
	}
	if path := a.getenv("QSUPER_SOCKET"); path != "" {
		return path, "", nil
	}
	standard := standardSocket(a.getenv, os.Geteuid(), "")
	named := a.config != "" || a.getenv("QSUPER_CONFIG") != ""
	if _, err := os.Lstat(standard); err == nil && !named && !exists("qsuper.yaml") { // what cannot be seen is not one's own
		return standard, "", nil
	}
	path, err := config.Find(a.config)
	if err != nil {
		return standard, "", nil
	}
	if named || path == "qsuper.yaml" {
		file = path
	}
	socket, err = a.socketIn(path)
	if err != nil && file != "" {
		if socket := a.socketDespite(path, standard); socket != "" {
			fmt.Fprintf(a.stderr, "qsuper: warning: %s cannot be read; asking the daemon at %s, which runs what it said before\n", path, socket)
			return socket, file, nil
		}
		return "", "", err
	}
	if err != nil {
		return a.systemSocket(path, standard), "", nil
	}
	return socket, file, nil
}

// systemFile is the file of the host's own daemon, which root runs.
const systemFile = "/etc/qsuper/qsuper.yaml"

// systemSocket is where the daemon of a file is that names no socket: the system's
// runs as root, whoever asks, and a user who has a daemon of his own was found to have one before.
func (a *app) systemSocket(file, standard string) string {
	if file == systemFile && exists(filepath.Dir(rootSocket)) {
		return rootSocket
	}
	return standard
}

// socketIn reads daemon.socket.path of a file and nothing else: a file that is
// half edited, or needs variables that only the daemon has, must not keep
// anybody from asking the running daemon.
func (a *app) socketIn(file string) (string, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return "", &exitError{code: exitConfig, err: errors.New("cannot read " + file + ": " + errors.Unwrap(err).Error()), hint: "name the daemon's socket with --socket"}
	}
	root, problems := kind.Parse(file, data, os.LookupEnv)
	if root == nil && len(problems) > 0 {
		return "", &exitError{code: exitConfig, err: fmt.Errorf("cannot tell from the file where the daemon answers: %w", problems),
			hint: "repair it, or name the daemon's socket with --socket"}
	}
	daemon := valueOf(root, "daemon")
	if s := valueOf(valueOf(daemon, "socket"), "path"); s != nil && s.Value != "" {
		return within(file, s.Value), nil
	}
	state := ""
	if s := valueOf(daemon, "state_dir"); s != nil && s.Value != "" {
		state = within(file, s.Value)
	}
	return a.systemSocket(file, standardSocket(a.getenv, os.Geteuid(), state)), nil
}

// A file that is no YAML any more often still holds the line that matters.
var (
	socketLine = pattern.Lazy(`(?m)(?:^|[\s{,])socket:\s*(?:\{[^}\n]*?|\n(?:\s+\w+:.*\n)*?\s+)\bpath:\s*["']?([^"',}\s]+)`)
	stateLine  = pattern.Lazy(`(?m)(?:^|[\s{,])state_dir:\s*["']?([^"',}\s]+)`)
)

// socketDespite finds the daemon of a file that cannot be understood: where its
// text or the standard says, if a daemon answers there that runs this very file.
// Nobody else's daemon is ever asked, for the next word may be "stop".
func (a *app) socketDespite(file, standard string) string {
	data, _ := os.ReadFile(file)
	candidates := []string{standard}
	if m := stateLine().FindSubmatch(data); m != nil {
		candidates = append(candidates, standardSocket(a.getenv, os.Geteuid(), within(file, string(m[1]))))
	}
	if m := socketLine().FindSubmatch(data); m != nil {
		candidates = append(candidates, within(file, string(m[1])))
	}
	abs, err := filepath.Abs(file)
	if err != nil {
		return ""
	}
	for _, socket := range slices.Backward(candidates) {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		st, err := control.New(socket).Status(ctx, control.StatusQuery{})
		cancel()
		if err == nil && st.Daemon.Config.Path == abs {
			return socket
		}
	}
	return ""
}

func valueOf(n *kind.Node, key string) *kind.Node {
	if e := n.Get(key); e != nil {
		return e.Value
	}
	return nil
}

// within resolves a path of a file: relative ones start at its directory.
func within(file, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	if abs, err := filepath.Abs(file); err == nil {
		file = abs
	}
	return filepath.Join(filepath.Dir(file), path)
}

// rootSocket is where root's daemon answers if its file names no other.
const rootSocket = "/run/qsuper/qsuper.sock"

// standardSocket is the path package config gives a file that names none.
func standardSocket(getenv func(string) string, euid int, stateDir string) string {
	if euid == 0 {
		return rootSocket
	}
	if dir := getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "qsuper", "qsuper.sock")
	}
	if stateDir == "" {
		if dir := getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
			stateDir = filepath.Join(dir, "qsuper")
		} else {
			stateDir = filepath.Join(getenv("HOME"), ".local", "state", "qsuper")
		}
	}
	return filepath.Join(stateDir, "qsuper.sock")
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
