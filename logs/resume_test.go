package logs

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// One pump leaves in the middle of a line, the next one goes on: the line is whole
// in every format, in the file and on stdout.
func TestResumeInsideALine(t *testing.T) {
	for _, prefix := range []string{PrefixNone, PrefixTime, PrefixJSON} {
		dir := t.TempDir()
		out, err := os.OpenFile(filepath.Join(dir, "stdout"), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
		check(t, err)
		defer out.Close()
		fifo := filepath.Join(dir, "fifo")
		check(t, unix.Mkfifo(fifo, 0o600))
		open := func() int {
			fd, err := unix.Open(fifo, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
			check(t, err)
			return fd
		}
		consumer := open()
		defer unix.Close(consumer)
		o := Options{To: ToBoth, Path: filepath.Join(dir, "log"), Prefix: prefix, Consumer: "c"}

		// Each piece goes through a pump of its own; the second cut is inside of é.
		var begun Begun
		for i, piece := range []string{"whole\nha", "lf \xc3", "\xa9 and\nla", "st\n"} {
			p, err := NewPump(out)
			check(t, err)
			s, err := p.Resume(open(), o, begun)
			check(t, err)
			_, err = unix.Write(consumer, []byte(piece))
			check(t, err)
			ctx, cancel := context.WithCancel(context.Background())
			cancel() // what is in the pipe is taken at the end
			p.Leave()
			check(t, p.Run(ctx))
			if begun = s.Begun(); begun.InLine != (i < 3) {
				t.Errorf("%s, piece %d: %+v", prefix, i, begun)
			}
		}
		for _, name := range []string{"log", "stdout"} {
			b, err := os.ReadFile(filepath.Join(dir, name))
			check(t, err)
			lines := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
			if len(lines) != 3 || !strings.Contains(lines[0], "whole") || !strings.Contains(lines[1], "half é and") || !strings.Contains(lines[2], "last") {
				t.Errorf("%s, %s: %q", prefix, name, b)
			}
		}
	}
}

// What a dead process has left in the pipe is a line of its own, however soon the next
// one writes, and however late the pump runs.
func TestAttachAfter(t *testing.T) {
	for _, prefix := range []string{PrefixNone, PrefixTime} {
		for _, resumed := range []bool{false, true} {
			dir := t.TempDir()
			fifo, path := filepath.Join(dir, "fifo"), filepath.Join(dir, "log")
			check(t, unix.Mkfifo(fifo, 0o600))
			open := func() int {
				fd, err := unix.Open(fifo, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
				check(t, err)
				return fd
			}
			consumer := open()
			defer unix.Close(consumer)
			write := func(text string) {
				_, err := unix.Write(consumer, []byte(text))
				check(t, err)
			}
			check(t, os.WriteFile(path, []byte("to"), 0o600))
			write("rn\nend")
			p, err := NewPump(nil)
			check(t, err)
			o := Options{To: ToFile, Path: path, Prefix: prefix}
			if resumed {
				_, err = p.ResumeAfter(open(), o, Begun{InLine: true, File: true, Open: true, Size: 2})
			} else {
				_, err = p.AttachAfter(open(), o)
			}
			check(t, err)
			write("next\nlast")
			ctx, cancel := context.WithCancel(context.Background())
			ended := make(chan error)
			go func() { ended <- p.Run(ctx) }()
			eventually(t, "all is there", func() bool { return strings.HasSuffix(contents(t, path), "last") })
			write(" one\n")
			eventually(t, "it goes on", func() bool { return strings.HasSuffix(contents(t, path), "last one\n") })
			cancel()
			check(t, <-ended)
			var ends []string
			for line := range strings.Lines(contents(t, path)) {
				_, text, ok := strings.Cut(line, "Z ")
				if !ok {
					text = line
				}
				ends = append(ends, strings.TrimSuffix(text, "\n"))
			}
			if got := strings.Join(ends, "|"); got != "torn|end|next|last one" {
				t.Errorf("%s, resumed %v: %q", prefix, resumed, got)
			}
		}
	}
}
