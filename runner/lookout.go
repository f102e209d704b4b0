package runner

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"qsuper/config"
	"qsuper/health"
	"qsuper/schedule"
)

// lookout looks at the signals of this host, files and commands, once an interval.
// With none of them it does nothing.
type lookout struct {
	to       *signals
	mu       sync.Mutex
	views    []*view
	interval schedule.Interval
	changed  chan struct{} // holds one token when views or interval are new
}

// view is one thing to look at.
type view struct {
	key  string
	look func(ctx context.Context) health.Answer
	rest int // times as long as a look took, it is left alone

	mu    sync.Mutex
	began time.Time // of the look under way; zero: none is
	again time.Time // not before then
}

// viewLimit is how long a look may take until nobody knows.
const viewLimit = 3 * time.Second

// commandRest keeps a command from using more than a tenth of the time.
const commandRest = 9

func newLookout(to *signals) *lookout { return &lookout{to: to, changed: make(chan struct{}, 1)} }

// prepare takes the signals of a configuration.
func (l *lookout) prepare(cfg *config.Config, launch *launcher) {
	var views []*view
	known := map[string]bool{}
	for _, c := range cfg.Consumers {
		for _, s := range c.RestartOn {
			v := &view{key: signalKey(c, s)}
			switch {
			case s.File != "":
				v.look = func(context.Context) health.Answer { return fileAnswer(s.File) }
			case len(s.Command) > 0:
				own := *c
				own.Command, own.Shell = s.Command, ""
				v.look, v.rest = func(ctx context.Context) health.Answer { return commandAnswer(ctx, launch, &own) }, commandRest
			}
			if v.look != nil && !known[v.key] {
				known[v.key] = true
				views = append(views, v)
			}
		}
	}
	l.mu.Lock()
	l.views, l.interval = views, cfg.Daemon.Interval
	l.mu.Unlock()
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

// run looks until ctx is done. It waits for looks under way, but not for one that
// hangs in the kernel.
func (l *lookout) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var wg sync.WaitGroup
	for {
		select {
		case <-ctx.Done():
			over := make(chan struct{})
			go func() { wg.Wait(); close(over) }()
			late := time.NewTimer(time.Second)
			defer late.Stop()
			select {
			case <-over:
			case <-late.C:
			}
			return
		case <-timer.C:
		case <-l.changed:
		}
		l.mu.Lock()
		views, interval := l.views, l.interval
		l.mu.Unlock()
		now := time.Now()
		for _, v := range views {
			if v.begin(l.to, now) {
				wg.Go(func() { v.once(ctx, l.to) })
			}
		}
		if len(views) > 0 {
			timer.Reset(interval.Next(now).Sub(now))
		}
	}
}

// begin says whether to look now: not while the last look is under way.
func (v *view) begin(to *signals, now time.Time) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case !v.began.IsZero() && now.Sub(v.began) > viewLimit:
		to.saw(v.key, health.Answer{State: health.Unknown, Err: fmt.Sprintf("no answer within %s", viewLimit)}, now)
		return false
	case !v.began.IsZero() || now.Before(v.again):
		return false
	}
	v.began = now
	return true
}

func (v *view) once(ctx context.Context, to *signals) {
	began := time.Now()
	look, cancel := context.WithTimeout(ctx, viewLimit)
	a := v.look(look)
	cancel()
	now := time.Now()
	if ctx.Err() == nil {
		to.saw(v.key, a, now)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.began, v.again = time.Time{}, now.Add(time.Duration(v.rest)*now.Sub(began))
}

// fileAnswer tells files apart by what a path resolves to: a folder by its path and
// number only, so that what comes and goes in it does not count; anything else by
// its size and time as well.
func fileAnswer(path string) health.Answer {
	real, err := filepath.EvalSymlinks(path)
	var info fs.FileInfo
	if err == nil {
		info, err = os.Stat(real)
	}
	switch {
	case os.IsNotExist(err):
		return health.Answer{State: health.Missing}
	case err != nil:
		return health.Answer{State: health.Unknown, Err: err.Error()}
	}
	text := fmt.Sprintf("%s %d", real, inode(info))
	if !info.IsDir() {
		text += fmt.Sprintf(" %d %d", info.Size(), info.ModTime().UnixNano())
	}
	return health.Answer{State: health.OK, Text: text}
}
