package trace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync/atomic"
)

// Limit is the size of a file in bytes at which it is put aside; with the one that
// was put aside before there are never more than two of them.
const Limit = 8 << 20

// waiting is how many records may wait for a slow disk.
const waiting = 256

// Former is where the file before path is kept.
func Former(path string) string { return path + ".1" }

// Log writes records. Note never waits: what cannot be written is counted.
type Log struct {
	path   string
	limit  int64
	notes  chan *Record
	missed atomic.Uint64 // since the last record that was written
	tell   func(error)   // called when writing begins to fail

	file   *os.File
	size   int64
	failed bool
}

// New opens nothing: Run does. tell is called from Run.
func New(path string, limit int64, tell func(error)) *Log {
	return &Log{path: path, limit: limit, notes: make(chan *Record, waiting), tell: tell}
}

// Note takes a record, which nobody changes any more. A nil Log takes none.
func (l *Log) Note(r *Record) {
	if l == nil {
		return
	}
	select {
	case l.notes <- r:
	default:
		l.missed.Add(1)
	}
}

// Run writes until ctx is done, and then what has been noted before.
func (l *Log) Run(ctx context.Context) {
	defer l.close()
	for {
		select {
		case r := <-l.notes:
			l.write(r)
		case <-ctx.Done():
			for {
				select {
				case r := <-l.notes:
					l.write(r)
				default:
					return
				}
			}
		}
	}
}

func (l *Log) write(r *Record) {
	r.Missed = l.missed.Swap(0)
	line, err := r.line()
	if err == nil {
		err = l.append(line)
	}
	if err != nil {
		l.missed.Add(r.Missed + 1)
		if !l.failed {
			l.tell(fmt.Errorf("keep the decision log: %w", err))
		}
	}
	l.failed = err != nil
}

// append writes a whole line or nothing.
func (l *Log) append(line []byte) error {
	if err := l.room(len(line)); err != nil {
		return err
	}
	n, err := l.file.Write(line)
	if err != nil {
		if n > 0 {
			err = errors.Join(err, l.file.Truncate(l.size))
		}
		l.close() // whoever repairs the disk may have taken the file away
		return err
	}
	l.size += int64(n)
	return nil
}

// room makes sure that a file is open which takes n bytes more, as far as one that is
// begun anew does.
func (l *Log) room(n int) error {
	if l.file == nil {
		if err := l.open(); err != nil {
			return err
		}
	}
	if l.size == 0 || l.size+int64(n) <= l.limit {
		return nil
	}
	l.close()
	if err := os.Rename(l.path, Former(l.path)); err != nil {
		return err
	}
	return l.open()
}

// open goes on with the file that is there. A line that the death of an engine has
// cut off is ended.
func (l *Log) open() error {
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	size, err := f.Seek(0, io.SeekEnd)
	last := []byte{'\n'}
	if err == nil && size > 0 {
		_, err = f.ReadAt(last, size-1)
	}
	if err == nil && last[0] != '\n' {
		_, err = f.Write([]byte{'\n'})
		size++
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	l.file, l.size = f, size
	return nil
}

func (l *Log) close() {
	if l.file != nil {
		if err := l.file.Close(); err != nil && !errors.Is(err, fs.ErrClosed) {
			l.tell(err)
		}
		l.file = nil
	}
}
