package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"qsuper/config"
)

// checkDirs warns of directories into which a daemon of this user could not write.
// shown is what systemctl says of the service, "" if nothing: when it runs this file
// as another user, it is not this user's concern.
func checkDirs(cfg *config.Config, shown string) []config.Problem {
	who := strconv.Itoa(os.Geteuid())
	if u, err := user.LookupId(who); err == nil {
		who = u.Username
	}
	if unitIsFor(shown, cfg.Path) && property(shown, "User") != who && os.Geteuid() != 0 {
		return nil
	}
	var warnings []config.Problem
	for _, d := range []struct{ key, path, what string }{
		{"state_dir", cfg.Daemon.StateDir, "could not begin"}, {"socket.path", filepath.Dir(cfg.Daemon.Socket.Path), "could not begin"},
		{"log_dir", cfg.Daemon.LogDir, "could not keep what consumers print"},
	} {
		if err := writable(d.path); err != nil {
			warnings = append(warnings, config.Problem{
				File: cfg.Files[0], Path: "daemon." + d.key, Message: fmt.Sprintf("a daemon of %s %s: %v", who, d.what, err),
				Hint: fmt.Sprintf("name another place, or as root: install -d -o %s %s", who, d.path),
			})
		}
	}
	return warnings
}

// writable says what keeps this user from making files in a directory, which need not
// be there yet.
func writable(dir string) error {
	at, err := dir, error(nil)
	var info fs.FileInfo
	for {
		if info, err = os.Stat(at); !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTDIR) || at == filepath.Dir(at) {
			break
		}
		at = filepath.Dir(at)
	}
	switch {
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is not a directory", at)
	}
	err = unix.Faccessat(unix.AT_FDCWD, at, unix.W_OK|unix.X_OK, unix.AT_EACCESS)
	switch {
	case err != nil && at != dir:
		return fmt.Errorf("%s cannot be made in %s: %w", dir, at, err)
	case err != nil:
		return fmt.Errorf("%s cannot be written: %w", dir, err)
	}
	return nil
}
