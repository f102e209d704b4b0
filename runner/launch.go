package runner

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"qsuper/config"
	"qsuper/keeper"
)

// launcher turns a consumer and a slot number into what the keeper needs. The
// world is looked at anew for every start: a deploy may have moved a symlink,
// changed an env file or added a user.
type launcher struct {
	stateDir string
	logDir   string
	base     []string // environment every consumer starts from
	users    accounts
}

func newLauncher(cfg *config.Config) *launcher {
	// The keeper follows no link in the path of a log. With a link that must not be
	// followed it says so in each slot's status; CheckHost has refused it before.
	logDir, _ := config.WithoutLinks(cfg.Daemon.LogDir)
	return &launcher{stateDir: cfg.Daemon.StateDir, logDir: logDir, base: baseEnv(cfg), users: accounts{find: config.LookupIdentity}}
}

// baseEnv is the daemon's environment without what is its own business: its
// settings, its service manager's sockets, and every variable that the
// connections took a secret from.
func baseEnv(cfg *config.Config) []string {
	secret := map[string]bool{}
	for _, name := range cfg.EnvUsed {
		secret[name] = true
	}
	var env []string
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		switch {
		case name == "PWD", name == "OLDPWD", name == "_", name == "SHLVL": // of the shell that started the daemon
			continue
		case secret[name], strings.HasPrefix(name, "QSUPER_"), strings.HasPrefix(name, "LISTEN_"),
			strings.HasPrefix(name, "WATCHDOG_"), strings.HasPrefix(name, "MEMORY_PRESSURE_"), slices.Contains(ofService, name):
			continue
		}
		env = append(env, kv)
	}
	return env
}

// ofService are variables that a service manager gives to the service itself; see
// systemd.exec(5). A consumer must neither speak for the daemon nor take the
// daemon's directories for its own.
var ofService = []string{
	"NOTIFY_SOCKET", "INVOCATION_ID", "JOURNAL_STREAM", "SYSTEMD_EXEC_PID", "MAINPID", "FDSTORE",
	"STATE_DIRECTORY", "LOGS_DIRECTORY", "RUNTIME_DIRECTORY", "CACHE_DIRECTORY", "CONFIGURATION_DIRECTORY",
}

// blueprint is what the slots of one consumer have in common, as long as it
// holds: a thousand starts should not look up the same user a thousand times.
type blueprint struct {
	l     *launcher
	cfg   *config.Consumer
	stamp userStamp
	asked time.Time // when the stamp was looked at
	who   account
	own   map[string]string // `env`, filled in
	env   []string          // all of it
	path  string            // the value of PATH

	name, dir, program string // what was looked for last, and where it was
}

// holds says whether a blueprint can be used once more. Env files are read at
// every start, so a consumer that has some never keeps one.
func (b *blueprint) holds(l *launcher, c *config.Consumer) bool {
	if b == nil || b.l != l || b.cfg != c || len(c.EnvFile) > 0 {
		return false
	}
	now := time.Now()
	if now.Sub(b.asked) < stampTime {
		return true
	}
	b.asked = now
	return b.stamp == stampOfUsers()
}

// blueprint looks at users and env files. Its error is what a person has to
// repair.
func (l *launcher) blueprint(c *config.Consumer, own map[string]string) (*blueprint, error) {
	b := &blueprint{l: l, cfg: c, stamp: stampOfUsers(), asked: time.Now(), own: own}
	var err error
	if b.who, err = l.users.lookup(c.User, b.stamp); err != nil {
		return nil, err
	}
	env, err := l.env(c, own, b.who)
	if err != nil {
		return nil, err
	}
	b.env, b.path = list(env), env["PATH"]
	return b, nil
}

// spec builds the launch of one slot on the consumer's blueprint, or on a new
// one. Its error is what a person has to repair: a missing program, a user that
// does not exist, an env file that is gone.
func (l *launcher) spec(c *config.Consumer, n int, old *blueprint) (keeper.Spec, *blueprint, error) {
	launch, err := c.Expand(n)
	if err != nil {
		return keeper.Spec{}, nil, err
	}
	b := old
	if !b.holds(l, c) || !maps.Equal(b.own, launch.Env) {
		if b, err = l.blueprint(c, launch.Env); err != nil {
			return keeper.Spec{}, nil, err
		}
	}
	if b.program == "" || b.name != launch.Argv[0] || b.dir != launch.Dir {
		b.name, b.dir = launch.Argv[0], launch.Dir
		if b.program, err = config.FindProgram(b.name, b.dir, b.path, b.who.Identity); err != nil {
			return keeper.Spec{}, nil, err
		}
	}
	s := keeper.Spec{
		Path: b.program, Argv: launch.Argv, Env: b.env, Own: []string{"QSUPER_SLOT=" + strconv.Itoa(n)}, Dir: launch.Dir, Cred: b.who.cred,
		Umask: c.Umask, NoFile: c.Limits.NoFile, Nice: c.Limits.Nice, NoNew: c.Limits.NoNewPrivs,
		Limits: keeper.Limits{PIDs: c.Limits.PIDsMax, Memory: c.Limits.MemoryMax, CPU: c.Limits.CPUWeight},
		Lock:   filepath.Join(l.stateDir, "locks", fileName(c.Name, n)),
		Log:    l.log(c, n), Stop: l.stop(c, launch.Dir, b.path),
	}
	if c.Logs.To != "none" {
		s.FIFO = keeper.FIFOPath(l.stateDir, slotKey(c.Name, n))
	}
	return s, b, nil
}

func (l *launcher) log(c *config.Consumer, n int) keeper.Log {
	return keeper.Log{
		To: c.Logs.To, Path: l.logPath(c.Name, n), MaxSize: c.Logs.MaxSize, Keep: c.Logs.Keep,
		Compress: c.Logs.Compress, Prefix: c.Logs.Prefix, Consumer: c.Name, Slot: n,
	}
}

// remains is all that is known of a process whose consumer is not in the file any
// more: where its log was.
func (l *launcher) remains(consumer string, n int) keeper.Spec {
	return keeper.Spec{
		FIFO: keeper.FIFOPath(l.stateDir, slotKey(consumer, n)),
		Log:  keeper.Log{To: "file", Path: l.logPath(consumer, n), Prefix: "none", Consumer: consumer, Slot: n},
		Stop: strayStop,
	}
}

func (l *launcher) logPath(consumer string, n int) string {
	return filepath.Join(l.logDir, fileName(consumer, n)+".log")
}

// stop is the ladder of a consumer, with its command found as a program is. One
// that cannot be found is left as it is: the keeper will say so when it fails.
func (l *launcher) stop(c *config.Consumer, dir, path string) keeper.Stop {
	s := keeper.Stop{Command: c.Stop.Command, Signal: int(c.Stop.Signal), Scope: c.Stop.Scope, Grace: c.Stop.Grace}
	if len(s.Command) == 0 {
		return s
	}
	if found, err := config.FindProgram(s.Command[0], dir, path, nil); err == nil {
		s.Command = append([]string{found}, s.Command[1:]...)
	}
	return s
}

// ladder is the stop of a slot whose process runs already, by the words of the
// file that is in force now.
func (l *launcher) ladder(c *config.Consumer, n int) keeper.Stop {
	if len(c.Stop.Command) == 0 {
		return l.stop(c, "", "")
	}
	launch, err := c.Expand(n)
	if err != nil {
		return l.stop(c, "", os.Getenv("PATH"))
	}
	path := launch.Env["PATH"]
	if path == "" {
		path = os.Getenv("PATH")
	}
	return l.stop(c, launch.Dir, path)
}

func slotKey(consumer string, n int) string  { return consumer + "/" + strconv.Itoa(n) }
func fileName(consumer string, n int) string { return consumer + "." + strconv.Itoa(n) }

// env is the environment of one start: the base, the user's own, the file's
// env_file in order, env, and who the process is.
func (l *launcher) env(c *config.Consumer, own map[string]string, who account) (map[string]string, error) {
	env := make(map[string]string, len(l.base)+len(own)+8)
	for _, kv := range l.base {
		k, v, _ := strings.Cut(kv, "=")
		env[k] = v
	}
	if env["PATH"] == "" {
		env["PATH"] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	}
	for k, v := range who.env {
		if c.User != "" || env[k] == "" {
			env[k] = v
		}
	}
	files, err := c.ReadEnvFiles()
	if err != nil {
		return nil, err
	}
	maps.Copy(env, files)
	maps.Copy(env, own)
	if !c.IsJob() {
		env["QSUPER_CONSUMER"] = c.Name
	}
	delete(env, "QSUPER_SLOT") // each slot's own
	return env, nil
}

func list(env map[string]string) []string {
	l := make([]string, 0, len(env))
	for k, v := range env {
		l = append(l, k+"="+v)
	}
	sort.Strings(l)
	return l
}
