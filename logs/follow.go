package logs

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"time"
)

const (
	followSoon = 10 * time.Millisecond  // until the next look after something came
	followLate = 200 * time.Millisecond // at most, when nothing comes
)

// Follow calls emit for each line of the log at path after from, as it is
// finished, until ctx is done (nil) or emit fails (its error). The line is
// without its newline and only valid during the call; a Follow from next gives the
// line after it. Files that are rotated
// meanwhile are read to their end, each line once; where some were rotated away
// or deleted before they could be read, a line says so. With keep: 0 what was
// written within 200 ms before the file was emptied may be missed. A line longer
// than 1 MiB comes in pieces. Follow waits by looking at file and path at least
// every 200 ms, so that a thousand followers need no inotify instances.
func Follow(ctx context.Context, path string, from Position, emit func(line []byte, next Position) error) error {
	f := follower{path: path, emit: emit}
	defer f.drop()
	if err := f.start(from); err != nil {
		return fmt.Errorf("follow log %s: %w", path, err)
	}
	delay := followSoon
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		moved, err := f.step(ctx)
		switch {
		case f.failed != nil:
			return f.failed
		case err != nil:
			return fmt.Errorf("follow log %s: %w", path, err)
		case moved:
			delay = followSoon
		default:
			delay = min(2*delay, followLate)
		}
		timer.Reset(delay)
	}
}

type follower struct {
	path   string
	emit   func([]byte, Position) error
	failed error // what emit said

	g     *segment // nil: not there yet
	after identity // g nil: what comes will be newer than this
	at    int64    // plain: offset of the first line not emitted
	last  identity // plain: when at was as far as one could get
	rest  io.Reader
	carry []byte // the beginning of a line that goes on in the next file
	buf   []byte
}

func (f *follower) use(g *segment, at int64) (err error) {
	f.drop()
	f.g, f.at, f.last, f.rest = g, at, identity{}, nil
	if g.zip != nil {
		f.rest, err = g.reader(at)
	}
	return err
}

func (f *follower) drop() {
	if f.g != nil {
		f.g.close()
	}
	f.g = nil
}

// start finds the file that from is in, under whatever name.
func (f *follower) start(from Position) error {
	if from == (Position{}) {
		_, err := f.oldest(identity{})
		return err
	}
	err := walk(f.path, func(g *segment, _ int) (bool, error) {
		if g.id.Dev != from.Dev || g.id.Ino != from.Ino || g.id.Size < from.Offset {
			return true, nil
		}
		g.kept = true
		return false, f.use(g, from.Offset)
	})
	if err != nil || f.g != nil {
		return err
	}
	return f.skip(identity{})
}

// step reads what there is and moves on to the next file when there is one.
func (f *follower) step(ctx context.Context) (moved bool, err error) {
	if f.g == nil {
		if _, err := f.oldest(f.after); err != nil || f.g == nil {
			return false, err
		}
	}
	if moved, err = f.read(ctx); err != nil || ctx.Err() != nil {
		return moved, err
	}
	next, lost, err := f.successor()
	if err != nil || next == nil && !lost {
		return moved, err
	}
	// Nothing is added to the old file any more, but perhaps was since.
	if _, err := f.read(ctx); err != nil || ctx.Err() != nil {
		if next != nil {
			next.close()
		}
		return true, err
	}
	if err := f.leave(); err != nil {
		if next != nil {
			next.close()
		}
		return true, err
	}
	if !lost {
		return true, f.use(next, 0)
	}
	gone, _, err := f.g.stat()
	if err != nil {
		return true, err
	}
	return true, f.skip(gone)
}

// read emits the lines that are there.
func (f *follower) read(ctx context.Context) (moved bool, err error) {
	if f.g.zip != nil {
		return f.unpack(ctx)
	}
	size := readBlock
	for ctx.Err() == nil {
		id, _, err := f.g.stat()
		if err != nil {
			return moved, err
		}
		if id.Size < f.at {
			f.at = 0 // emptied: keep 0, or by hand
		}
		if id == f.last || id.Size == f.at {
			break
		}
		if len(f.buf) < size {
			f.buf = make([]byte, size)
		}
		n, err := f.g.f.ReadAt(f.buf[:size], f.at)
		if err != nil && err != io.EOF {
			return moved, err
		}
		end := bytes.LastIndexByte(f.buf[:n], '\n') + 1
		switch {
		case end > 0:
			err = f.lines(f.buf[:end], f.at)
		case n < size: // the beginning of a line
			f.last = id
			return moved, nil
		case size < maxLine:
			size *= 4
			continue
		default:
			end = n
			err = f.line(f.buf[:n], f.at+int64(n))
		}
		if err != nil {
			return true, err
		}
		f.at += int64(end)
		moved = true
	}
	f.buf = nil // a thousand followers that wait hold nothing
	return moved, nil
}

// unpack reads a compressed file to its end, once.
func (f *follower) unpack(ctx context.Context) (moved bool, err error) {
	for f.rest != nil && ctx.Err() == nil {
		if f.buf == nil {
			f.buf = make([]byte, readBlock)
		}
		n, err := f.rest.Read(f.buf)
		end := bytes.LastIndexByte(f.buf[:n], '\n') + 1
		if err := f.lines(f.buf[:end], f.at); err != nil {
			return true, err
		}
		f.at += int64(n)
		if err := f.begin(f.buf[end:n]); err != nil {
			return true, err
		}
		moved = moved || n > 0
		if err == io.EOF {
			f.rest, f.buf = nil, nil
		} else if err != nil {
			return moved, fmt.Errorf("uncompress: %w", err)
		}
	}
	return moved, nil
}

// leave takes along the beginning of a line that ends in the next file.
func (f *follower) leave() error {
	if f.g.zip != nil {
		return nil
	}
	id, _, err := f.g.stat()
	if err != nil || id.Size <= f.at {
		return err
	}
	part := make([]byte, min(id.Size-f.at, maxLine))
	n, err := f.g.f.ReadAt(part, f.at)
	if err != nil && err != io.EOF {
		return err
	}
	return f.begin(part[:n])
}

// begin keeps the beginning of a line, up to 1 MiB.
func (f *follower) begin(part []byte) error {
	f.carry = append(f.carry, part...)
	if len(f.carry) < maxLine {
		return nil
	}
	whole := f.carry
	f.carry = nil
	return f.line(whole, f.at)
}

// lines emits b, which begins at an offset and ends with a newline or is empty.
func (f *follower) lines(b []byte, at int64) error {
	for len(b) > 0 {
		i := bytes.IndexByte(b, '\n')
		line := b[:i]
		if len(f.carry) > 0 {
			line = append(f.carry, line...)
			f.carry = nil
		}
		at += int64(i + 1)
		if err := f.line(line, at); err != nil {
			return err
		}
		b = b[i+1:]
	}
	return nil
}

// line emits one line, behind which the file goes on at an offset.
func (f *follower) line(b []byte, at int64) error {
	next := Position{}
	if f.g != nil {
		next = Position{Dev: f.g.id.Dev, Ino: f.g.id.Ino, Offset: at}
	}
	f.failed = f.emit(b, next)
	return f.failed
}
