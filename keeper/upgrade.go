package keeper

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"qsuper/proc"
)

const (
	// trialTime is how long a program that is to take over may take to show that it
	// can. It reads what is handed over and the file.
	trialTime = 10 * time.Second
	// leaveTime is how long the engine may take to leave. It stops nothing, but gives
	// answers that are under way.
	leaveTime = 8 * time.Second
	// maxSaid bounds what is told of a trial that failed, in bytes.
	maxSaid = 4 << 10
	// exitConfig is how a trial says that the file is wrong.
	exitConfig = 78
)

// UpgradeRequest asks the keeper to let another program take over. It is answered
// with Upgrading.
type UpgradeRequest struct {
	Path   string `json:"path"`             // of the program, absolute; "" = where the daemon's own was
	Cancel bool   `json:"cancel,omitempty"` // the engine stays, though Upgrading said that it may leave
}

// Upgrading answers UpgradeRequest. Without Err the engine is to leave now, and
// stops nothing: the next one is the new program's.
type Upgrading struct {
	Path    string `json:"path"`
	Home    string `json:"home"`             // what a later start of the daemon will execute
	Version string `json:"version"`          // of the program, as it says itself
	Err     string `json:"err,omitempty"`    // why it cannot take over; nothing has changed
	Config  bool   `json:"config,omitempty"` // the file is wrong
}

// upgrade is the way to another program: a trial of it, and then the end of this.
type upgrade struct {
	path    string
	file    os.FileInfo   // what was tried
	trial   *proc.Process // nil: none runs
	out     int           // of the trial, files in memory
	err     int
	by      time.Duration // when the trial has failed, or the engine is made to leave
	late    bool          // the trial has been killed
	leaving bool          // the trial was good: as soon as the engine has left
	terms   int           // TERM and INT while leaving
	reload  bool          // HUP while leaving
	escort  *proc.Process // of this keeper, which has just taken over; nil: none
}

// tryUpgrade begins a trial.
func (k *keeper) tryUpgrade(r UpgradeRequest) error {
	u := &k.upgrade
	if r.Cancel {
		u.leaving, u.by = false, never
		return nil
	}
	if r.Path == "" {
		r.Path = k.opt.Binary
	}
	refuse := func(why string) error {
		k.engine.send(frameUpgrading, Upgrading{Path: r.Path, Home: k.opt.Binary, Err: why})
		return nil
	}
	switch {
	case k.terminating || k.quit:
		return refuse("everything is being stopped")
	case u.trial != nil || u.leaving || u.escort != nil:
		return refuse("another upgrade is under way")
	case len(k.opt.Trial) == 0 || !filepath.IsAbs(r.Path):
		return refuse(fmt.Sprintf("%q is not the absolute path of a program", r.Path))
	}
	var err error
	if u.file, err = os.Stat(r.Path); err == nil && !u.file.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a file", r.Path)
	}
	if err == nil {
		u.path = r.Path
		err = k.startTrial()
	}
	if err != nil {
		return refuse(err.Error())
	}
	k.log.Info("upgrade: trying", "binary", u.path, "pid", u.trial.PID)
	return nil
}

// startTrial starts the program with what would be handed over now.
func (k *keeper) startTrial() error {
	u := &k.upgrade
	state, err := k.describe(false).file()
	if err != nil {
		return err
	}
	defer unix.Close(state)
	u.out, u.err = -1, -1
	if u.out, err = memory("trial-stdout"); err == nil {
		u.err, err = memory("trial-stderr")
	}
	var p *proc.Process
	if err == nil {
		p, err = proc.Start(&proc.Spec{
			Path: u.path, Argv: k.opt.Trial, Env: k.opt.EngineEnv,
			Stdin: k.null, Stdout: u.out, Stderr: u.err, Extra: state, OOM: k.oom,
		})
	}
	if err == nil {
		if err = k.poll.add(p.PidFD(), unix.EPOLLIN, (*trialExit)(k)); err != nil {
			k.discard(p)
		}
	}
	if err != nil {
		u.closeFiles()
		return err
	}
	u.trial, u.late = p, false
	k.pids[p.PID] = struct{}{}
	u.by = proc.Boottime() + trialTime
	k.poll.at(u.by)
	return nil
}

func (u *upgrade) closeFiles() {
	for _, fd := range []*int{&u.out, &u.err} {
		if *fd >= 0 {
			unix.Close(*fd)
		}
		*fd = -1
	}
}

// expire is called when the trial, or the engine, has taken too long.
func (u *upgrade) expire(k *keeper) {
	switch {
	case u.escort != nil:
		_ = u.escort.SignalGroup(sigkill)
	case u.trial != nil:
		u.late = true
		_ = u.trial.SignalGroup(sigkill) // gone already is as good
	case u.leaving && k.engine.p != nil:
		k.log.Warn("upgrade: the engine does not leave and is killed", "pid", k.engine.p.PID)
		_ = k.engine.p.SignalGroup(sigkill)
	}
}

// trialExit is the keeper as the source of the end of a trial.
type trialExit keeper

func (x *trialExit) ready(uint32) {
	k := (*keeper)(x)
	u := &k.upgrade
	if u.trial == nil {
		return
	}
	_ = u.trial.SignalGroup(sigkill) // what it has started
	exit, ok, err := u.trial.Reap(true)
	if !ok && err == nil {
		return
	}
	k.poll.remove(u.trial.PidFD())
	delete(k.pids, u.trial.PID)
	u.trial.Close()
	u.trial, u.by = nil, never
	answer := u.judge(exit)
	answer.Home = k.opt.Binary
	u.closeFiles()
	switch {
	case answer.Err != "":
	case k.terminating || k.quit:
		answer.Err = "everything is being stopped"
	case !k.engine.listed: // whoever asked is gone
		answer.Err = "the engine was restarted meanwhile"
	}
	if answer.Err != "" {
		k.log.Error("upgrade: refused, nothing has changed", "binary", u.path, "reason", answer.Err)
		k.engine.send(frameUpgrading, answer)
		return
	}
	k.log.Info("upgrade: taking over next", "binary", u.path, "version", answer.Version)
	k.engine.send(frameUpgrading, answer)
	u.leaving = true
	u.by = proc.Boottime() + leaveTime
	k.poll.at(u.by)
}

// judge says how a trial has ended.
func (u *upgrade) judge(exit proc.Exit) Upgrading {
	a := Upgrading{Path: u.path}
	var v verdict
	said := whatWasSaid(u.err)
	switch {
	case u.late:
		a.Err = fmt.Sprintf("the trial of %s took longer than %v", u.path, trialTime)
	case exit.Signal != 0:
		a.Err = fmt.Sprintf("the trial of %s ended with signal %d (%v)", u.path, int(exit.Signal), exit.Signal)
	case exit.Code == exitConfig:
		a.Config, a.Err = true, said
		said = ""
	case exit.Code != 0:
		a.Err = fmt.Sprintf("the trial of %s ended with exit code %d", u.path, exit.Code)
	case json.Unmarshal([]byte(whatWasSaid(u.out)), &v) != nil || v.Handover == 0:
		a.Err = fmt.Sprintf("%s is not a qsuper that can take over", u.path)
	}
	a.Version = v.Version
	if a.Err != "" && said != "" {
		a.Err += ": " + said
	}
	if a.Err == "" && a.Config {
		a.Err = "the file is wrong"
	}
	return a
}

func whatWasSaid(fd int) string {
	buf := make([]byte, maxSaid)
	n, _ := unix.Pread(fd, buf, 0)
	return strings.TrimSpace(string(bytes.ToValidUTF8(buf[:max(n, 0)], []byte("?"))))
}

// due says whether the next program can take over: nobody is there who could ask
// for something, and nothing is just being started.
func (u *upgrade) due(k *keeper) bool {
	if u.leaving && k.quit {
		u.leaving = false // the end came first
	}
	return u.leaving && k.engine.p == nil && k.starting == 0 && len(k.reaped) == 0
}

// hear keeps a signal for the next program.
func (u *upgrade) hear(sig os.Signal) {
	switch sig {
	case syscall.SIGTERM, syscall.SIGINT:
		u.terms++
	case syscall.SIGHUP:
		u.reload = true
	}
}

// keptLock is the part of *pidfile.Lock that is needed.
type keptLock interface{ Keep() (int, error) }

// become executes the next program in this process. It returns only when neither
// that nor the one that runs now can be executed.
func (k *keeper) become(lock keptLock) error {
	for _, s := range k.slots {
		if r := s.run; r != nil && r.drainBy != never {
			r.finish() // the pump has ended: all output is taken
		}
	}
	guard, err := k.escort()
	if err != nil {
		k.log.Info("upgrade: no escort; a TERM within the next milliseconds would end the daemon", "reason", err)
	}
	k.heard()
	h := k.describe(true)
	h.Binary, h.Terminate, h.Reload = k.upgrade.path, k.upgrade.terms, k.upgrade.reload
	if guard != nil {
		kept := guard.Keep(false)
		h.Escort = &kept
	}
	held, err := lock.Keep()
	if err != nil {
		return err
	}
	state, err := h.file()
	if err == nil {
		_, err = unix.FcntlInt(uintptr(state), unix.F_SETFD, 0)
	}
	if err != nil {
		return err
	}
	env := append(os.Environ(), fmt.Sprintf("%s=%d %d", handoverEnv, state, held))
	now, err := os.Stat(k.upgrade.path)
	if err == nil && !sameFile(now, k.upgrade.file) {
		err = errors.New("it has changed since it was tried")
	}
	if err == nil {
		err = syscall.Exec(k.upgrade.path, os.Args, env)
	}
	k.log.Error("upgrade: the program cannot be executed; the old one goes on", "binary", k.upgrade.path, "error", err)
	return errors.Join(err, syscall.Exec("/proc/self/exe", os.Args, env))
}

func sameFile(a, b os.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// Upgrade asks the keeper to let another program take over.
func (c *Client) Upgrade(r UpgradeRequest) error { return c.send(frameUpgrade, r) }
