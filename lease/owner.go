package lease

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxHost bounds the readable part of an owner id, in bytes.
const maxHost = 64

// Owner returns the id under which a host holds leases: its name, this boot, and
// something that no other has. It is kept in the state directory, which the
// caller's daemon holds: the next engine and the next daemon of this boot go on
// with the leases of the one before. A machine that was copied boots with an id of
// its own.
func Owner(stateDir string) (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read boot id: %w", err)
	}
	boot, _, _ := strings.Cut(string(bytes.TrimSpace(b)), "-")
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("read host name: %w", err)
	}
	path := filepath.Join(stateDir, "lease-owner")
	known, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read who this host is to lock stores: %w", err)
	}
	// A host that is given another name meanwhile keeps its leases.
	if parts := strings.Split(strings.TrimSpace(string(known)), "/"); len(parts) == 3 && parts[1] == boot && parts[2] != "" {
		return strings.Join(parts, "/"), nil
	}
	owner := hostLabel(host) + "/" + boot + "/" + strings.ToLower(rand.Text()[:12])
	temp := path + ".new"
	if err := os.WriteFile(temp, []byte(owner+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("write who this host is to lock stores: %w", err)
	}
	if err := os.Rename(temp, path); err != nil {
		return "", fmt.Errorf("write who this host is to lock stores: %w", err)
	}
	return owner, nil
}

// hostLabel keeps what is safe in every store and on every terminal.
func hostLabel(host string) string {
	label := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '-', r == '_':
			return r
		}
		return '-'
	}, host)
	if label == "" {
		label = "host"
	}
	return label[:min(len(label), maxHost)]
}
