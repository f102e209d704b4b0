package supervisor

import (
	"fmt"
	"slices"
	"strings"

	"qsuper/migrate"
)

// ownOutput are files that stand for Supervisor's own standard output or error.
var ownOutput = []string{"/dev/stdout", "/dev/stderr", "/dev/fd/1", "/dev/fd/2", "/proc/1/fd/1", "/proc/1/fd/2", "/proc/self/fd/1", "/proc/self/fd/2", "/dev/console", "/dev/tty"}

// target is where a stream goes: file, stdout or none.
func target(l Log) string {
	switch {
	case l.Path == "" || l.Path == "/dev/null":
		return "none"
	case slices.Contains(ownOutput, l.Path):
		return "stdout"
	}
	return "file"
}

// outputOf is where the output of a process goes, in qsuper's words. Both
// streams share one place there.
func outputOf(p *Process) string {
	out, err := target(p.Stdout), target(p.Stderr)
	if p.RedirectStderr {
		err = out
	}
	switch {
	case out == err:
		return out
	case out == "none":
		return err
	case err == "none":
		return out
	}
	return "both"
}

// logs writes where output goes, and says where it went.
func (c *converter) logs(pt *part, name string, body *migrate.Map, one *Process, first, slots int) {
	to := outputOf(one)
	logs := migrate.NewMap()
	if to != "file" {
		logs.Set("to", to)
	}
	from := one.Stdout
	if target(from) != "file" {
		from = one.Stderr
	}
	if to == "file" || to == "both" {
		if from.MaxBytes != 50<<20 && from.MaxBytes >= 0 {
			logs.Set("max_size", size(from.MaxBytes))
		}
		if from.Backups != 10 && from.Backups >= 0 {
			logs.Set("keep", int(from.Backups))
		}
		if from.Backups == 0 && from.MaxBytes > 0 {
			c.item(pt, migrate.Note, "stdout_logfile_backups", name, "0 throws a full log away, here as there")
		}
	}
	if logs.Len() > 0 {
		body.Set("logs", logs)
	}
	c.paths(pt, name, to, first, slots)
	if one.RedirectStderr || target(one.Stderr) == "none" && target(one.Stdout) == "none" {
		return
	}
	switch {
	case target(one.Stderr) == "none":
		c.item(pt, migrate.Changed, "stderr_logfile", name, "standard error is kept as well, with standard output")
	case target(one.Stdout) == "none":
		c.item(pt, migrate.Changed, "stdout_logfile", name, "standard output is kept as well, with standard error")
	case one.Stderr.Path != one.Stdout.Path && target(one.Stderr) == "file" && one.Stderr.Path != auto:
		c.item(pt, migrate.Changed, "stderr_logfile", name, "standard error stands in the same file as standard output, in order")
	}
}

// paths says which file became which.
func (c *converter) paths(pt *part, name, to string, first, slots int) {
	if to != "file" && to != "both" {
		return
	}
	for i := range slots {
		one := pt.p.Processes[first+i]
		for key, l := range map[string]Log{"stdout_logfile": one.Stdout, "stderr_logfile": one.Stderr} {
			if target(l) != "file" || l.Path == auto || key == "stderr_logfile" && one.RedirectStderr {
				continue
			}
			ours := migrate.LogOf("/var/log/qsuper", name, i, "file")
			switch {
			case slots == 1:
				c.item(pt, migrate.Changed, key, name, "%s became %s", l.Path, ours)
			case i == 0:
				c.item(pt, migrate.Changed, key, name, "%s became %s, and one for each slot", l.Path, ours)
			}
		}
	}
}

// size writes bytes as people do.
func size(n int64) migrate.Raw {
	for i, unit := range []string{"GiB", "MiB", "KiB"} {
		if one := int64(1) << (30 - 10*i); n > 0 && n%one == 0 {
			return migrate.Raw(fmt.Sprintf("%d%s", n/one, unit))
		}
	}
	return migrate.Raw(fmt.Sprint(n))
}

// expected are the instances of all programs that were converted.
func (c *converter) expected() []migrate.Instance {
	var all []migrate.Instance
	for _, pt := range c.parts {
		all = append(all, c.expectedOf(pt)...)
	}
	return all
}

// expectedOf is what Supervisor starts for a part.
func (c *converter) expectedOf(pt *part) []migrate.Instance {
	var all []migrate.Instance
	for _, con := range pt.consumers {
		for i := range con.slots {
			one := pt.p.Processes[con.first+i]
			argv, _ := words(one.Command)
			in := migrate.Instance{Name: namespec(one), Consumer: con.name, Slot: i, Argv: argv, Env: c.cfg.env(one), Dir: one.Directory, User: one.User, Log: logOf(one)}
			if in.User == "" {
				in.User = c.serverUser()
			}
			if one.Umask != nil {
				mask := uint32(*one.Umask)
				in.Umask = &mask
			} else {
				in.Umask = c.serverUmask()
			}
			if c.compat() {
				in.Env["SUPERVISOR_ENABLED"], in.Env["SUPERVISOR_GROUP_NAME"] = "1", one.Group
				if con.text.Name != "" {
					in.Env["SUPERVISOR_PROCESS_NAME"] = one.Name
				}
			}
			all = append(all, in)
		}
	}
	return all
}

// namespec is what supervisorctl calls a process.
func namespec(p *Process) string {
	if p.Group == p.Name {
		return p.Name
	}
	return p.Group + ":" + p.Name
}

func logOf(p *Process) string {
	if to := outputOf(p); to != "file" {
		return to
	}
	if target(p.Stdout) == "file" {
		return strings.Replace(p.Stdout.Path, auto, "", 1)
	}
	return strings.Replace(p.Stderr.Path, auto, "", 1)
}
