package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// qsuperPeer drives the qsuper binary through its file and its commands only.
type qsuperPeer struct {
	binary string
	// probe is a TCP address that every interval asks for; "" = no connection.
	probe string
}

func (qsuperPeer) name() string  { return "qsuper" }
func (qsuperPeer) tools() []tool { return nil }
func (qsuperPeer) slow() bool    { return false }

func (p qsuperPeer) setUp(w workload) (setup, error) {
	logs := "{to: none}"
	if w.capture {
		logs = fmt.Sprintf("{to: file, max_size: %dMiB, keep: %d}", rotateBytes>>20, rotateKeep)
	}
	var b strings.Builder
	b.WriteString(daemonSection(w.dir, "1s"))
	requires := ""
	if p.probe != "" {
		fmt.Fprintf(&b, "connections:\n  probe: {type: tcp, address: %q}\n", p.probe)
		requires = "    requires: [probe]\n"
	}
	fmt.Fprintf(&b, `consumers:
  bench:
    command: [%q]
    instances: %d
    spawn: always
    env: %s
    backoff: {min_uptime: 0s}
    logs: %s
%s`, w.program, w.n, flowMap(w.env), logs, requires)
	return p.operate(w.dir, b.String())
}

// operate writes the file and says how a qsuper that runs on it is driven.
func (p qsuperPeer) operate(dir, text string) (setup, error) {
	file := filepath.Join(dir, "qsuper.yaml")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return setup{}, err
	}
	return setup{
		start: []string{p.binary, "run", "-c", file},
		stop:  []string{p.binary, "stop", "-c", file, "--timeout", "60s"},
		status: map[string][]string{
			"status":      {p.binary, "status", "-c", file},
			"status-json": {p.binary, "status", "-c", file, "--json", "--verbose"},
		},
	}, nil
}

// daemonSection is the head of every file: all paths private, no start rate.
func daemonSection(dir, interval string) string {
	return fmt.Sprintf(`version: 1
daemon:
  name: bench
  state_dir: %q
  log_dir: %q
  socket: {path: %q, mode: "0600"}
  log: {level: error}
  interval: %s
  start_rate: 0
`, filepath.Join(dir, "state"), filepath.Join(dir, "logs"), filepath.Join(dir, "q.sock"), interval)
}

// flowMap writes a map of strings as one line of YAML.
func flowMap(m map[string]string) string {
	var pairs []string
	for k, v := range m {
		pairs = append(pairs, fmt.Sprintf("%s: %q", k, v))
	}
	return "{" + strings.Join(pairs, ", ") + "}"
}
