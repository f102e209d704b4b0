package systemd

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"qsuper/migrate"
)

// emit writes text for the file, with {slot1} in place of %i.
func emit(text string) string { return strings.ReplaceAll(migrate.Literal(text), slotMark, "{slot1}") }

// run is the command with its environment. The error's key is where it stands.
func (s *service) run() (key string, err error) {
	env, order, err := s.environment()
	if err != nil {
		return "Environment", err
	}
	files := s.list("EnvironmentFile")
	cmd, err := s.parse(s.list("ExecStart")[0].value, env, len(files) > 0)
	switch {
	case err != nil:
		return "ExecStart", err
	case cmd.shell == "" && (len(cmd.argv) == 0 || cmd.argv[0] == ""):
		return "ExecStart", errors.New("the command is empty once its variables are filled in")
	case cmd.full:
		s.item(migrate.Changed, "ExecStart", "+ and ! are not kept: it runs as its user in every respect")
	}
	if cmd.ignored {
		s.item(migrate.Changed, "ExecStart", "with - in front no failure counts; write its exit codes into exit: {clean: […]}")
	}
	if cmd.shell != "" {
		s.item(migrate.Changed, "ExecStart", "a shell fills in %s, from the EnvironmentFile", strings.Join(cmd.names, ", "))
		s.body.Set("shell", emit(cmd.shell))
		s.want.Argv = []string{"/bin/sh", "-c", cmd.shell}
	} else {
		argv := make([]string, len(cmd.argv))
		for i, w := range cmd.argv {
			argv[i] = emit(w)
		}
		s.body.Set("command", argv)
		s.want.Argv = cmd.argv
	}
	if s.slots > 1 {
		s.body.Set("instances", s.slots)
	}
	return s.variables(env, order, files)
}

// variables writes env and env_file.
func (s *service) variables(env map[string]string, order []string, files []setting) (key string, err error) {
	s.want.Env = env
	m := migrate.NewMap()
	for _, name := range order {
		m.Set(name, emit(env[name]))
	}
	if m.Len() > 0 {
		s.body.Set("env", m)
	}
	var paths []string
	for _, f := range files {
		path, err := s.specifiers(f.value)
		switch {
		case err != nil:
			return "EnvironmentFile", err
		case strings.ContainsAny(path, "*?["):
			s.item(migrate.Lost, "EnvironmentFile", "patterns are not looked at: name the files in env_file")
		case strings.Contains(path, slotMark):
			s.item(migrate.Lost, "EnvironmentFile", "one file for each instance is not possible; use --instances with names")
		default:
			paths = append(paths, path)
		}
	}
	if len(paths) > 0 {
		s.body.Set("env_file", paths)
		if m.Len() > 0 {
			s.item(migrate.Changed, "EnvironmentFile", "where both set a variable, env wins over env_file; systemd has it the other way round")
		}
	}
	return "", nil
}

// identity is who and where.
func (s *service) identity() {
	user, group := s.text("User", ""), s.text("Group", "")
	switch {
	case user != "" && group != "":
		s.want.User = user + ":" + group
	case group != "":
		s.want.User = "root:" + group
	default:
		s.want.User = user
	}
	if who, err := s.specifiers(s.want.User); err == nil {
		s.want.User = who
	}
	if s.want.User == "root" {
		s.want.User = ""
		s.item(migrate.Note, "User", "root is who qsuper's service runs as")
	}
	if s.want.User != "" {
		s.body.Set("user", emit(s.want.User))
	}
	s.directory(user)
	if mask, err := strconv.ParseUint(s.text("UMask", "x"), 8, 32); err == nil && mask <= 0o777 {
		m := uint32(mask)
		s.want.Umask = &m
		s.body.Set("umask", migrate.Raw(fmt.Sprintf("%q", fmt.Sprintf("%03o", m))))
	}
}

func (s *service) directory(user string) {
	dir, err := s.specifiers(strings.TrimPrefix(s.text("WorkingDirectory", ""), "-"))
	if dir == "" {
		return
	}
	if dir == "~" {
		if dir = homeOf(user); dir == "" {
			s.item(migrate.Lost, "WorkingDirectory", "~ is not known here, as user %s does not exist; write dir", user)
			return
		}
	}
	if err != nil || !strings.HasPrefix(dir, "/") {
		s.item(migrate.Note, "WorkingDirectory", "%q is no absolute path, so systemd takes no notice of it", s.text("WorkingDirectory", ""))
		return
	}
	if strings.HasPrefix(s.text("WorkingDirectory", ""), "-") {
		s.item(migrate.Changed, "WorkingDirectory", "the directory has to exist")
	}
	dir = filepath.Clean(dir)
	s.want.Dir = dir
	s.body.Set("dir", emit(dir))
}

// lifecycle is what follows an exit.
func (s *service) lifecycle() {
	policy := s.text("Restart", "no")
	switch policy {
	case "always":
	case "no":
		s.body.Set("restart", "never")
	case "on-failure":
		s.body.Set("restart", "unexpected")
	default:
		s.body.Set("restart", "unexpected")
		s.item(migrate.Lost, "Restart", "%s is not possible; unexpected restarts after each failure", policy)
	}
	if codes := s.codes("SuccessExitStatus"); len(codes) > 0 {
		s.body.Set("exit", migrate.NewMap().Set("clean", append([]int{0}, codes...)))
	}
	if codes := s.codes("RestartPreventExitStatus"); len(codes) > 0 {
		exit, _ := s.body.Get("exit").(*migrate.Map)
		if exit == nil {
			exit = migrate.NewMap()
		}
		s.body.Set("exit", exit.Set("permanent", codes))
	}
	pause, given := s.one("RestartSec")
	seconds, _, err := span(pause.value)
	switch {
	case err != nil && !given && s.c.opt.Mode == migrate.Compat:
		seconds = 0.1
	case err != nil || policy == "no":
		return
	}
	if s.c.opt.Mode == migrate.Compat {
		d := migrate.Duration(max(seconds, 0.1))
		s.body.Set("backoff", migrate.NewMap().Set("initial", d).Set("factor", 1).Set("max", d).Set("jitter", migrate.Raw("0%")))
		return
	}
	s.item(migrate.Changed, "RestartSec", "a clean exit is followed by the next start at once, a failure by backoff (1s to 60s)")
}

// codes reads exit statuses that are numbers; signals and names are told.
func (s *service) codes(key string) []int {
	var codes []int
	for _, x := range s.list(key) {
		for _, w := range strings.Fields(x.value) {
			n, err := strconv.Atoi(w)
			if err != nil || n < 0 || n > 255 {
				s.item(migrate.Lost, key, "%s is no number; qsuper sorts exit codes only", w)
				continue
			}
			if n > 0 && !slices.Contains(codes, n) {
				codes = append(codes, n)
			}
		}
	}
	return codes
}

// Signals that end no process, which qsuper does not take for a stop.
var harmless = []string{"STOP", "CONT", "TSTP", "TTIN", "TTOU", "CHLD", "URG"}

// stop is the signal, its scope and the grace.
func (s *service) stop() {
	stop := migrate.NewMap()
	if name, ok := s.one("KillSignal"); ok {
		text := strings.TrimPrefix(strings.ToUpper(name.value), "SIG")
		if number, err := strconv.Atoi(text); err == nil {
			text = strings.TrimPrefix(unix.SignalName(unix.Signal(number)), "SIG")
		}
		switch {
		case unix.SignalNum("SIG"+text) == 0, slices.Contains(harmless, text):
			s.item(migrate.Lost, "KillSignal", "%s cannot be sent; TERM is", name.value)
		case text != "TERM":
			stop.Set("signal", text)
		}
	}
	s.grace(stop)
	switch mode := s.text("KillMode", "control-group"); {
	case mode == "none":
		s.item(migrate.Lost, "KillMode", "none: qsuper leaves nothing behind")
	case mode == "control-group" && s.c.opt.Mode == migrate.Compat:
		stop.Set("scope", "group")
	case mode == "process":
		s.item(migrate.Changed, "KillMode", "what the main process leaves behind is killed at the end")
	}
	if stop.Get("scope") == nil && s.body.Get("shell") != nil {
		stop.Set("scope", "process")
	}
	if line := s.list("ExecStop"); len(line) > 0 {
		s.stopCommand(stop, line)
	}
	if s.text("SendSIGKILL", "yes") != "yes" && !truth(s.text("SendSIGKILL", "yes")) {
		s.item(migrate.Lost, "SendSIGKILL", "after the grace it is killed; give a long stop.grace")
	}
	if stop.Len() > 0 {
		s.body.Set("stop", stop)
	}
}

func (s *service) grace(stop *migrate.Map) {
	given, ok := s.one("TimeoutStopSec", "TimeoutSec")
	if !ok {
		if s.c.opt.Mode == migrate.Compat {
			stop.Set("grace", "90s")
		}
		return
	}
	seconds, infinite, err := span(given.value)
	switch {
	case err != nil:
		s.item(migrate.Lost, given.key, "%v", err)
	case infinite, seconds == 0:
		stop.Set("grace", "8760h")
	default:
		stop.Set("grace", migrate.Duration(seconds))
	}
}

// stopCommand keeps one ExecStop that needs no number of a process.
func (s *service) stopCommand(stop *migrate.Map, lines []setting) {
	cmd, err := s.parse(lines[0].value, s.want.Env, true)
	if err != nil || len(lines) > 1 || cmd.shell != "" || strings.Contains(strings.Join(cmd.argv, " "), slotMark) {
		s.item(migrate.Lost, "ExecStop", "only one command without variables can be run before the signal (stop.command)")
		return
	}
	for i, w := range cmd.argv {
		cmd.argv[i] = migrate.Dollars(w)
	}
	stop.Set("command", cmd.argv)
	s.item(migrate.Changed, "ExecStop", "it is run before the stop signal, with no environment but qsuper's")
}
