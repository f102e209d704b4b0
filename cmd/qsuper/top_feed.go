package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"qsuper/control"
)

const (
	feedKeep  = 2000                  // lines that can be scrolled back to
	feedBegin = 200                   // lines of each instance to begin with
	feedClip  = 8 << 10               // bytes of a line that are shown
	feedPause = 50 * time.Millisecond // how long lines are gathered before they are drawn
)

// feed follows the output or the events of one consumer. A goroutine of its own
// reads; the live view takes what has come when it draws.
type feed struct {
	stop context.CancelFunc
	wake chan struct{} // holds one token while there is something to take

	mu    sync.Mutex
	fresh []string // escaped, with colours if the screen has them
	over  bool
	err   error
}

// fed are the lines that a feed has had since the last time.
type fed struct {
	from  *feed
	lines []string
	over  bool
	err   error
}

// newFeed starts to read. Events are asked for instead of output with events.
func newFeed(ctx context.Context, c *control.Client, out *screen, name string, events bool) *feed {
	ctx, stop := context.WithCancel(ctx)
	f := &feed{stop: stop, wake: make(chan struct{}, 1)}
	quiet := *out
	quiet.stderr = notes{f, &quiet}
	ask := control.Stream{Last: feedBegin, Follow: true, Marks: !events}
	if name != "" { // "" = the whole fleet
		ask.Names = []string{name}
	}
	read := func(ask control.Stream, at cursors) error { return f.output(ctx, c, &quiet, name, ask, at) }
	if events {
		read = func(ask control.Stream, at cursors) error {
			return c.Events(ctx, ask, func(e control.Event) error {
				at.keep("", e.Cursor)
				f.put(eventLine(&quiet, timeOfDay(e.At), narrowestName, e))
				return nil
			})
		}
	}
	go func() { f.end(follow(ctx, c, &quiet, ask, read)) }()
	return f
}

// timeOfDay is a local time, with its day unless that is today.
func timeOfDay(t time.Time) string {
	t = t.Local()
	if now := time.Now(); t.YearDay() == now.YearDay() && t.Year() == now.Year() {
		return t.Format("15:04:05")
	}
	return t.Format("Jan _2 15:04:05")
}

// output marks lines of several instances with the one they come from.
func (f *feed) output(ctx context.Context, c *control.Client, out *screen, name string, ask control.Stream, at cursors) error {
	marked := !strings.Contains(name, "/")
	return c.Logs(ctx, ask, func(l control.LogLine) error {
		at.keep(fmt.Sprint(l.Consumer, "/", l.Slot), l.Cursor)
		if l.Mark {
			return nil
		}
		text := l.Text
		if len(text) > feedClip {
			text = text[:feedClip]
		}
		text = strings.ReplaceAll(printed(text, out.colour), "\t", "    ")
		if marked {
			who := fmt.Sprintf("%d", l.Slot)
			text = out.paint(hue(l.Consumer+"/"+who), fmt.Sprintf("%4s |", who)) + " " + text
		}
		f.put(text)
		return nil
	})
}

func (f *feed) put(line string) {
	f.mu.Lock()
	if f.fresh = append(f.fresh, line); len(f.fresh) > 2*feedKeep {
		f.fresh = append(f.fresh[:0], f.fresh[len(f.fresh)-feedKeep:]...)
	}
	f.mu.Unlock()
	f.ring()
}

func (f *feed) end(err error) {
	f.mu.Lock()
	f.over, f.err = true, err
	f.mu.Unlock()
	f.ring()
}

func (f *feed) ring() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// notes are what a follower has to say itself.
type notes struct {
	to  *feed
	out *screen
}

func (n notes) Write(text []byte) (int, error) {
	n.to.put(n.out.paint(dim, oneLine(strings.TrimPrefix(string(text), "qsuper: "))))
	return len(text), nil
}

// next waits for lines.
func (f *feed) next(ctx context.Context) tea.Cmd {
	return func() tea.Msg {
		select {
		case <-f.wake:
		case <-ctx.Done():
			return nil
		}
		select { // more come with the first
		case <-time.After(feedPause):
		case <-ctx.Done():
			return nil
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		m := fed{f, f.fresh, f.over, f.err}
		f.fresh = nil
		return m
	}
}

// scroll is text of which a part is on the screen.
type scroll struct {
	lines []string
	first int  // line on top of the screen
	away  bool // the reader has left the end: what comes is not followed
	live  bool // what comes is followed, unless away
	left  int  // columns that are left out
	room  int  // lines that fit, as of the last draw
}

// add appends lines; a reader who has scrolled up keeps his place.
func (s *scroll) add(lines []string) {
	s.lines = append(s.lines, lines...)
	if more := len(s.lines) - feedKeep; more > 0 {
		s.lines = append(s.lines[:0:0], s.lines[more:]...)
		s.first -= more
	}
	s.move(0)
}

func (s *scroll) move(n int) {
	end := max(0, len(s.lines)-s.room)
	s.first = max(0, min(s.first+n, end))
	if n != 0 {
		s.away = s.first < end
	}
	if s.live && !s.away {
		s.first = end
	}
}

// draw returns the lines on the screen.
func (s *scroll) draw(width, height int) []string {
	s.room = height
	s.move(0)
	shown := make([]string, 0, height)
	for _, l := range s.lines[s.first:min(len(s.lines), s.first+height)] {
		shown = append(shown, ansi.Cut(l, s.left, s.left+width))
	}
	return shown
}
