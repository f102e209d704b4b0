package runner

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"qsuper/config"
)

// intent is what people have asked of one consumer, apart from the file.
type intent struct {
	Stopped string         `json:"stopped,omitempty"` // "by root on 2026-11-21 19:40"; "" = nobody
	Paused  string         `json:"paused,omitempty"`
	Slots   map[int]string `json:"slots,omitempty"`   // slots stopped one by one
	Started bool           `json:"started,omitempty"` // asked for although autostart is false
	Count   *int           `json:"count,omitempty"`   // scale
	Gone    time.Time      `json:"gone,omitzero"`     // since when the file has no such consumer
}

// keepGone is how long it is remembered what people asked of a consumer that is no
// longer in the file. A deploy that takes one away and puts it back must not start
// what somebody has stopped; one of the same name a week later is another.
const keepGone = 24 * time.Hour

func (i intent) empty() bool {
	return i.Stopped == "" && i.Paused == "" && len(i.Slots) == 0 && !i.Started && i.Count == nil
}

// intents is the memory of what people asked for: stop and pause outlive the
// daemon, start and scale only the engine. It is written before anything is
// done, so that a crash in between does not start again what was being stopped.
type intents struct {
	mu   sync.Mutex
	path string
	data intentFile
}

type intentFile struct {
	Version   int               `json:"version"`
	Keeper    time.Time         `json:"keeper"` // start of the daemon that Started and Count belong to
	Consumers map[string]intent `json:"consumers"`
}

// loadIntents reads the file of an earlier engine. A file that cannot be read
// is an error: starting what somebody had stopped would be worse than to ask.
func loadIntents(stateDir string, keeper time.Time) (*intents, error) {
	s := &intents{path: filepath.Join(stateDir, "intents.json")}
	raw, err := os.ReadFile(s.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("read what was stopped and paused: %w", err)
	default:
		if err := json.Unmarshal(raw, &s.data); err != nil {
			return nil, fmt.Errorf("%s is damaged (%w): remove it to forget what was stopped and paused", s.path, err)
		}
	}
	if !s.data.Keeper.Equal(keeper) {
		for name, i := range s.data.Consumers {
			i.Started, i.Count = false, nil
			s.data.Consumers[name] = i
		}
	}
	s.data.Version, s.data.Keeper = 1, keeper
	return s, nil
}

func (s *intents) get(name string) intent {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.data.Consumers[name]
}

// change edits the intents of some consumers and writes the file once.
func (s *intents) change(names []string, edit func(name string, i *intent)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.data.Consumers == nil {
		s.data.Consumers = map[string]intent{}
	}
	for _, name := range names {
		i := s.data.Consumers[name]
		edit(name, &i)
		if i.empty() {
			delete(s.data.Consumers, name)
		} else {
			s.data.Consumers[name] = i
		}
	}
	raw, err := json.MarshalIndent(s.data, "", "  ")
	if err != nil {
		return err
	}
	return config.ReplaceFile(s.path, raw)
}

// settle compares what is remembered with the consumers of a file, and forgets
// those that have been gone for keepGone.
func (s *intents) settle(known func(name string) bool, now time.Time) error {
	s.mu.Lock()
	var names []string
	for name, i := range s.data.Consumers {
		if known(name) != i.Gone.IsZero() || now.Sub(i.Gone) > keepGone && !i.Gone.IsZero() {
			names = append(names, name)
		}
	}
	s.mu.Unlock()
	if len(names) == 0 {
		return nil
	}
	return s.change(names, func(name string, i *intent) {
		switch {
		case known(name):
			i.Gone = time.Time{}
		case i.Gone.IsZero():
			i.Gone = now
		default:
			*i = intent{}
		}
	})
}

// counts are the numbers that `scale` has given.
func (s *intents) counts() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	given := map[string]int{}
	for name, i := range s.data.Consumers {
		if i.Count != nil {
			given[name] = *i.Count
		}
	}
	return given
}

// forgetCounts drops what `scale` had said: the file is in force again.
func (s *intents) forgetCounts() error {
	s.mu.Lock()
	var names []string
	for name, i := range s.data.Consumers {
		if i.Count != nil {
			names = append(names, name)
		}
	}
	s.mu.Unlock()
	if len(names) == 0 {
		return nil
	}
	return s.change(names, func(_ string, i *intent) { i.Count = nil })
}

// settle forgets what people asked of consumers that have long been gone.
func (r *Runner) settle(cfg *config.Config) {
	known := func(name string) bool {
		return slices.ContainsFunc(cfg.Consumers, func(c *config.Consumer) bool { return c.Name == name }) ||
			slices.ContainsFunc(cfg.Jobs, func(j *config.Job) bool { return j.Name == name })
	}
	if err := r.intents.settle(known, time.Now()); err != nil {
		r.log.Warn("what was asked of consumers that are gone is not forgotten", "error", err)
	}
}
