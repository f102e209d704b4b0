package runner

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"qsuper/config"
	"qsuper/health"
	"qsuper/plan"
)

// signals knows how everything in `restart_on` was when it was last looked at, and
// when it was seen to change. It is on the disk, so that an engine notices what has
// changed while there was none.
type signals struct {
	log  *slog.Logger
	path string
	born time.Time

	saving sync.Mutex // held while the file is written, and mu is not
	mu     sync.Mutex
	all    map[string]*signal // by signalKey
}

// signal is one of them, whoever it is for.
type signal struct {
	name  string
	heirs []*consumer // to be told of changes

	fresh bool      // this engine has seen it
	seen  bool      // value is known
	value string    // a hash; "" = there was nothing
	since time.Time // when it was seen to have changed; zero: never
	at    time.Time // of the last look
	err   string    // why that did not tell; "" = it did
}

// savedSignal is what is on the disk, by the hash of signalKey.
type savedSignal struct {
	Value string `json:"value"`
	Since int64  `json:"since,omitempty"` // Unix ms
}

type signalFile struct {
	Version int                    `json:"version"`
	Signals map[string]savedSignal `json:"signals"`
}

func newSignals(stateDir string, log *slog.Logger) *signals {
	return &signals{log: log, path: filepath.Join(stateDir, "signals.json"), born: time.Now(), all: map[string]*signal{}}
}

// firstLooks is how long after the start of an engine a change that is seen for the
// first time belongs to the time before it.
const firstLooks = 5 * time.Second

// watched is a signal of a consumer.
type watched struct {
	key  string // "" = a schedule
	name string
}

func watchedBy(c *config.Consumer) []watched {
	var list []watched
	for _, s := range c.RestartOn {
		w := watched{name: s.String()}
		if s.Schedule == nil {
			w.key = signalKey(c, s)
		}
		list = append(list, w)
	}
	return list
}

// signalKey is the same for signals that one look can tell of. Command lines that
// are run for different consumers may print different things.
func signalKey(c *config.Consumer, s config.Signal) string {
	key := fmt.Sprintf("%q %q %+v %q", s.File, s.Connection, s.Question, s.Command)
	if len(s.Command) > 0 {
		key += fmt.Sprintf(" %q %q %v %q", c.User, c.Dir, c.Env, c.EnvFile)
	}
	return digest(key)
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:12])
}

// prepare takes the signals of a configuration. What is known of those that were
// there before, in this engine or an earlier one, stays known.
func (s *signals) prepare(cfg *config.Config, consumers map[string]*consumer, now time.Time) {
	known, err := s.read()
	if err != nil {
		s.log.Error("what changed in restart_on while no engine was there is not noticed", "error", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.all
	s.all = map[string]*signal{}
	for _, c := range cfg.Consumers {
		for _, conf := range c.RestartOn {
			if conf.Schedule != nil {
				continue
			}
			key := signalKey(c, conf)
			g := s.all[key]
			if g == nil {
				g = &signal{name: conf.String()}
				if o := old[key]; o != nil {
					g.fresh, g.seen, g.value, g.since, g.at, g.err = o.fresh, o.seen, o.value, o.since, o.at, o.err
				} else if k, ok := known[key]; ok {
					g.seen, g.value, g.since = true, k.Value, recalled(k.Since, now)
				}
				s.all[key] = g
			}
			g.heirs = append(g.heirs, consumers[c.Name])
		}
	}
}

// recalled is a moment of the wall clock, which may have been set back since.
func recalled(ms int64, now time.Time) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return now.Add(min(0, time.UnixMilli(ms).Sub(now)))
}

// taker is who takes the answers for one signal.
func (s *signals) taker(key string) taker {
	return func(a health.Answer, _, at time.Time) { s.saw(key, a, at) }
}

// questions are those that the signals of all consumers ask of one connection.
func (s *signals) questions(cfg *config.Config, conn string) []asking {
	var list []asking
	known := map[string]bool{}
	for _, c := range cfg.Consumers {
		for _, g := range c.RestartOn {
			if key := signalKey(c, g); g.Connection == conn && !known[key] {
				known[key] = true
				list = append(list, asking{g.Question, s.taker(key)})
			}
		}
	}
	return list
}

func (s *signals) read() (map[string]savedSignal, error) {
	raw, err := os.ReadFile(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var f signalFile
	if err == nil {
		err = json.Unmarshal(raw, &f)
	}
	return f.Signals, err
}

// saw takes what a look has told. Not to know is no change, and neither is that
// something has gone: what comes after it is compared with what was there before.
func (s *signals) saw(key string, a health.Answer, at time.Time) {
	value := ""
	if a.State == health.OK {
		value = digest(a.Text)
	}
	s.mu.Lock()
	g := s.all[key]
	if g == nil {
		s.mu.Unlock()
		return
	}
	g.at, g.err = at, ""
	changed := a.State != health.Unknown && (!g.seen || value != g.value && value != "")
	switch {
	case a.State == health.Unknown:
		g.err = a.Err
	case a.State == health.Missing && g.value != "":
		g.err = "it is not there"
	case changed:
		if g.seen {
			g.since = at
		}
		if !g.fresh && g.seen && at.Sub(s.born) < firstLooks {
			g.since = s.born
		}
		g.seen, g.value = true, value
	}
	g.fresh = g.fresh || a.State != health.Unknown
	heirs := g.heirs
	told := changed && !g.since.IsZero()
	s.mu.Unlock()
	if !changed {
		return
	}
	if err := s.save(); err != nil { // before anybody acts on it
		s.log.Error("a change in restart_on may be acted on twice after a crash", "signal", g.name, "error", err)
	}
	if !told {
		return
	}
	s.log.Info("changed", "signal", g.name, "consumers", len(heirs))
	for _, c := range heirs {
		c.box.put(observed{})
	}
}

func (s *signals) save() error {
	s.saving.Lock()
	defer s.saving.Unlock()
	f := signalFile{Version: 1, Signals: map[string]savedSignal{}}
	s.mu.Lock()
	for key, g := range s.all {
		if g.seen {
			f.Signals[key] = savedSignal{g.value, stamp(g.since)}
		}
	}
	s.mu.Unlock()
	raw, err := json.Marshal(f)
	if err != nil {
		return err
	}
	return config.ReplaceFile(s.path, raw)
}

// of is what is known of a consumer's signals, in the order of the file.
func (s *signals) of(list []watched) []plan.Signal {
	if len(list) == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	known := make([]plan.Signal, len(list))
	for i, w := range list {
		known[i] = plan.Signal{Name: w.name, Schedule: w.key == ""}
		if g := s.all[w.key]; g != nil {
			known[i].Since, known[i].At, known[i].Err = g.since, g.at, g.err
		}
	}
	return known
}
