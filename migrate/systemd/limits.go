package systemd

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"qsuper/migrate"
)

// output says where standard output goes.
func (s *service) output() {
	out := s.text("StandardOutput", "journal")
	err := s.text("StandardError", out)
	kind := func(text string) string { k, _, _ := strings.Cut(text, ":"); return k }
	switch k := kind(out); {
	case k == "null" && kind(err) == "null":
		s.body.Set("logs", migrate.NewMap().Set("to", "none"))
		s.want.Log = "none"
	case k == "file" || k == "append" || k == "truncate":
		_, path, _ := strings.Cut(out, ":")
		s.want.Log = path
		s.item(migrate.Changed, "StandardOutput", "%s became %s", path, migrate.LogOf("/var/log/qsuper", s.name, 0, "file"))
	case s.c.opt.Mode == migrate.Compat:
		s.body.Set("logs", migrate.NewMap().Set("to", "stdout"))
		s.want.Log = "stdout"
	}
	if kind(out) == "socket" || kind(out) == "fd" || kind(s.text("StandardInput", "null")) != "null" {
		s.item(migrate.Lost, "StandardInput", "standard input is empty, and no socket is handed over")
	}
}

// limits are those that qsuper has, too.
func (s *service) limits() {
	limits := migrate.NewMap()
	if text, ok := s.one("LimitNOFILE"); ok {
		soft, _, _ := strings.Cut(text.value, ":")
		if n, err := strconv.Atoi(soft); err == nil && n >= 3 {
			limits.Set("nofile", n)
		} else {
			s.item(migrate.Lost, "LimitNOFILE", "%s is no number; write limits: {nofile: …}", soft)
		}
	}
	if n, err := strconv.Atoi(s.text("Nice", "x")); err == nil && n >= -20 && n <= 19 {
		limits.Set("nice", n)
	}
	if truth(s.text("NoNewPrivileges", "no")) {
		limits.Set("no_new_privs", true)
	}
	if limits.Len() > 0 {
		s.body.Set("limits", limits)
	}
	s.memory("MemoryHigh", "memory_limit", "above it the consumer is asked to end and started anew; systemd slows it down")
	if _, ok := s.one("MemoryMax"); ok {
		s.memory("MemoryMax", "memory_hard", "")
	} else {
		s.memory("MemoryLimit", "memory_hard", "")
	}
	if text, ok := s.one("RuntimeMaxSec"); ok {
		if seconds, infinite, err := span(text.value); err == nil && !infinite && seconds > 0 {
			s.body.Set("time_limit", migrate.Duration(seconds))
		}
	}
}

// memory writes a limit in bytes. Shares of the host's memory are not known here.
func (s *service) memory(key, ours, how string) {
	text, ok := s.one(key)
	if !ok || text.value == "infinity" {
		return
	}
	digits := strings.TrimRight(text.value, "KMGT")
	n, err := strconv.ParseInt(digits, 10, 64)
	suffix := text.value[len(digits):]
	shift, known := map[string]string{"": "", "K": "KiB", "M": "MiB", "G": "GiB"}[suffix]
	if err != nil || !known || n <= 0 || n > math.MaxInt64>>30 {
		s.item(migrate.Lost, key, "%s is not converted; write %s", text.value, ours)
		return
	}
	s.body.Set(ours, migrate.Raw(strconv.FormatInt(n, 10)+shift))
	if how != "" {
		s.item(migrate.Changed, key, "%s", how)
	}
}

// Settings that were looked at, or say nothing that qsuper would have to do.
var seen = []string{"Type", "ExecStart", "ExecStop", "Environment", "EnvironmentFile", "User", "Group", "WorkingDirectory", "UMask", "Restart", "RestartSec",
	"SuccessExitStatus", "RestartPreventExitStatus", "KillSignal", "KillMode", "TimeoutStopSec", "TimeoutSec", "SendSIGKILL", "StandardOutput", "StandardError", "StandardInput",
	"LimitNOFILE", "Nice", "NoNewPrivileges", "MemoryHigh", "MemoryMax", "MemoryLimit", "RuntimeMaxSec",
	"SyslogIdentifier", "SyslogFacility", "SyslogLevel", "StartLimitBurst", "StartLimitInterval", "StartLimitIntervalSec", "TimeoutStartSec", "PIDFile", "GuessMainPID", "ExecReload",
	"CPUAccounting", "MemoryAccounting", "TasksAccounting", "IOAccounting", "RestartSteps", "RestartMaxDelaySec"}

// rest says what became of everything else.
func (s *service) rest() {
	if kind := s.text("Type", "simple"); kind == "notify" || kind == "notify-reload" {
		s.item(migrate.Changed, "Type", "its READY=1 is not waited for")
	} else if kind == "oneshot" {
		s.item(migrate.Changed, "Type", "nobody waits for its end")
	}
	instead := map[string]string{
		"WatchdogSec": "qsuper's stall watches the queue instead", "ExecStartPre": "nothing runs before a start; put it into shell: \"… && exec …\"",
		"ExecStartPost": "nothing runs after a start", "ExecStopPost": "nothing runs after a stop", "ExecCondition": "use requires or active",
		"PassEnvironment": "a consumer inherits qsuper's environment", "UnsetEnvironment": "a consumer inherits qsuper's environment",
		"SupplementaryGroups": "the groups are those of the user", "DynamicUser": "name a user",
		"CPUQuota": "use limits: {nice: …}", "RestartForceExitStatus": "use restart: always",
	}
	var sandbox []string
	told := map[string]bool{}
	for _, x := range s.settings {
		if x.section != "Service" || x.value == "" && x.key != "CapabilityBoundingSet" || slices.Contains(seen, x.key) || told[x.key] {
			continue
		}
		told[x.key] = true
		if how := instead[x.key]; how != "" {
			s.item(migrate.Lost, x.key, "%s", how)
			continue
		}
		sandbox = append(sandbox, x.key)
	}
	if len(sandbox) > 0 {
		s.item(migrate.Lost, sandbox[0], "has no counterpart (put it into qsuper's own unit, where it holds for all consumers): %s", strings.Join(sandbox, ", "))
	}
	var needs []string
	for _, x := range s.settings {
		if x.section == "Unit" && slices.Contains([]string{"Requires", "BindsTo", "PartOf", "Requisite"}, x.key) {
			needs = append(needs, x.value)
		}
	}
	if len(needs) > 0 {
		s.item(migrate.Changed, "Requires", "%s is not waited for; a connection that must answer belongs into `requires`", strings.Join(needs, ", "))
	}
}
