package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"qsuper/control"
	"qsuper/logs"
	"qsuper/runner"
)

func (d *daemon) Events(ctx context.Context, q control.Stream, emit func(control.Event) error) error {
	ask := runner.EventQuery{Names: q.Names, Last: q.Last, Follow: q.Follow}
	if len(q.From) > 0 {
		engine, number, _ := strings.Cut(q.From[0], ".")
		seq, err := strconv.ParseUint(number, 10, 64)
		if err != nil || len(q.From) > 1 {
			return badCursor(q.From[0])
		}
		ask.After = &runner.Since{Engine: engine, Seq: seq}
	}
	return apiError(d.runner.Events(ctx, ask, func(e runner.Event) error {
		out := control.Event{
			Seq: e.Seq, At: e.At, Consumer: e.Consumer, Run: e.Run, PID: e.PID, From: e.From, To: e.To,
			Code: string(e.Reason.Code), Reason: e.Reason.String(),
		}
		if e.Reason.Code != "" { // else it says that others are missing
			out.Cursor = d.runner.Engine() + "." + strconv.FormatUint(e.Seq, 10)
		}
		if e.Consumer != "" && e.Slot >= 0 {
			out.Slot = &e.Slot
		}
		return emit(out)
	}))
}

func badCursor(text string) error {
	return &control.Invalid{Problem: fmt.Sprintf("from=%.60q is no cursor of this stream", text)}
}

// Logs emits the end of each slot's output, or what comes after a cursor, and
// then follows all of them.
func (d *daemon) Logs(ctx context.Context, q control.Stream, emit func(control.LogLine) error) error {
	files, err := d.runner.LogFiles(q.Names)
	if err != nil {
		return apiError(err)
	}
	places, err := logPlaces(q.From)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	out := outputStream{Stream: q, emit: emit, cancel: cancel}
	defer func() { // nobody may emit after the return
		cancel(nil)
		out.followers.Wait()
	}()
	kept := false
	for _, f := range files {
		if !f.Kept {
			continue
		}
		kept = true
		if err := out.begin(ctx, f, places); err != nil {
			return err
		}
	}
	if !kept && len(files) > 0 {
		return &control.Invalid{Problem: "no output is kept in files", Advice: "`logs.to` sends it elsewhere: look at the daemon's own output, or set `logs: {to: both}`"}
	}
	out.followers.Wait()
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// outputStream is the output of several slots on its way to one reader.
type outputStream struct {
	control.Stream
	emit      func(control.LogLine) error
	cancel    context.CancelCauseFunc
	followers sync.WaitGroup
	one       sync.Mutex // emit takes one line at a time
}

// begin emits what there is of one slot, and starts to follow it if asked to.
func (s *outputStream) begin(ctx context.Context, f runner.LogFile, places map[string]logs.Position) error {
	at, known := places[whose(f)]
	if !known {
		end, err := logs.Tail(f.Path, s.Last)
		if err != nil {
			return fmt.Errorf("read the output of %s: %w", whose(f), err)
		}
		for _, line := range end.Lines {
			if err := s.say(control.LogLine{Consumer: f.Consumer, Slot: f.Slot, Text: string(line)}); err != nil {
				return err
			}
		}
		at = end.End
	}
	if !s.Follow {
		return nil
	}
	if s.Marks {
		if err := s.say(control.LogLine{Consumer: f.Consumer, Slot: f.Slot, Cursor: logCursor(f, at), Mark: true}); err != nil {
			return err
		}
	}
	s.followers.Go(func() {
		err := logs.Follow(ctx, f.Path, at, func(line []byte, next logs.Position) error {
			return s.say(control.LogLine{Consumer: f.Consumer, Slot: f.Slot, Text: string(line), Cursor: logCursor(f, next)})
		})
		if err != nil {
			s.cancel(err)
		}
	})
	return nil
}

func (s *outputStream) say(l control.LogLine) error {
	s.one.Lock()
	defer s.one.Unlock()
	return s.emit(l)
}

func whose(f runner.LogFile) string { return f.Consumer + "/" + strconv.Itoa(f.Slot) }

// logCursor is a place in a slot's output: orders/0@64513.1311.2048, which are
// device, inode and offset.
func logCursor(f runner.LogFile, p logs.Position) string {
	return fmt.Sprintf("%s@%d.%d.%d", whose(f), p.Dev, p.Ino, p.Offset)
}

func logPlaces(cursors []string) (map[string]logs.Position, error) {
	places := make(map[string]logs.Position, len(cursors))
	for _, text := range cursors {
		who, place, _ := strings.Cut(text, "@")
		var p logs.Position
		var rest string
		if n, _ := fmt.Sscanf(place, "%d.%d.%d%s", &p.Dev, &p.Ino, &p.Offset, &rest); n != 3 || p.Offset < 0 {
			return nil, badCursor(text)
		}
		places[who] = p
	}
	return places, nil
}
