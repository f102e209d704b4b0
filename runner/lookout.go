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

// lookout looks at what has to be asked of this host, files and commands, once an
// interval. With none of them it does nothing.
type lookout struct {
	mu       sync.Mutex
	views    []*view
	interval schedule.Interval
	changed  chan struct{} // holds one token when there is something to look at at once
}

// view is one thing to look at.
type view struct {
	take taker
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

// views are what the signals of all consumers have to be looked at for.
func (s *signals) views(cfg *config.Config, launch *launcher) []*view {
	var views []*view
	known := map[string]bool{}
	for _, c := range cfg.Consumers {
		for _, g := range c.RestartOn {
			v, key := &view{}, signalKey(c, g)
			switch {
			case g.File != "":
				v.look = func(context.Context) health.Answer { return fileAnswer(g.File) }
			case len(g.Command) > 0:
				v.command(launch, c, g.Command)
			}
			if v.look != nil && !known[key] {
				known[key], v.take = true, s.taker(key)
				views = append(views, v)
			}
		}
	}
	return views
}

// command makes it the view of what a command prints.
func (v *view) command(launch *launcher, c *config.Consumer, words []string) {
	own := *c
	own.Command, own.Shell = words, ""
	v.look, v.rest = func(ctx context.Context) health.Answer { return commandAnswer(ctx, launch, &own) }, commandRest
}

// prepare takes what a configuration wants looked at.
func (l *lookout) prepare(interval schedule.Interval, views []*view) {
	l.mu.Lock()
	l.views, l.interval = views, interval
	l.mu.Unlock()
	l.soon()
}

// soon has everything looked at now.
func (l *lookout) soon() {
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
			if v.begin(now) {
				wg.Go(func() { v.once(ctx) })
			}
		}
		if len(views) > 0 {
			timer.Reset(interval.Next(now).Sub(now))
		}
	}
}

// begin says whether to look now: not while the last look is under way.
func (v *view) begin(now time.Time) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case !v.began.IsZero() && now.Sub(v.began) > viewLimit:
		v.take(health.Answer{State: health.Unknown, Err: fmt.Sprintf("no answer within %s", viewLimit)}, v.began, now)
		return false
	case !v.began.IsZero() || now.Before(v.again):
		return false
	}
	v.began = now
	return true
}

func (v *view) once(ctx context.Context) {
	began := time.Now()
	look, cancel := context.WithTimeout(ctx, viewLimit)
	a := v.look(look)
	cancel()
	now := time.Now()
	if ctx.Err() == nil {
		v.take(a, began, now)
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
