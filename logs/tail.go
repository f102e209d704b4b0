package logs

import (
	"bytes"
	"fmt"
	"io"
	"slices"
)

const (
	readBlock = 64 << 10
	maxTail   = 16 << 20 // bytes that Tail holds at most; fewer lines are returned when they are longer
)

// Position is a place in a log: where Tail ended and Follow goes on. The zero
// Position is the beginning of the log, of its oldest file.
type Position struct {
	Dev, Ino uint64 // of the file, whatever its name is by now
	Offset   int64  // bytes
}

// Excerpt is the end of a log.
type Excerpt struct {
	Lines      [][]byte // whole lines without their newlines, oldest first
	Unfinished []byte   // what is there already of the next line
	End        Position // after Lines: Follow from here gives the next line whole
}

// Tail returns the last n lines of the log at path, from the current and the
// rotated files, read backwards as far as needed. A log that does not exist has
// no lines. It holds 16 MiB at most: of longer lines it returns fewer than n.
func Tail(path string, n int) (Excerpt, error) {
	t := tail{want: max(n, 0)}
	if err := walk(path, t.visit); err != nil {
		return Excerpt{}, fmt.Errorf("read log %s: %w", path, err)
	}
	return t.excerpt(), nil
}

type tail struct {
	want     int
	newlines int
	size     int      // bytes in blocks
	blocks   [][]byte // the newest first
	first    int      // blocks of the newest file
	end      Position
	files    int
}

func (t *tail) enough() bool { return t.newlines > t.want || t.size >= maxTail }

func (t *tail) add(block []byte) {
	t.blocks = append(t.blocks, block)
	t.size += len(block)
	t.newlines += bytes.Count(block, []byte{'\n'})
}

func (t *tail) visit(g *segment, _ int) (more bool, err error) {
	id, _, err := g.stat()
	if err != nil {
		return false, err
	}
	if g.zip != nil {
		err = t.unpack(g)
	} else {
		err = t.backwards(g, id.Size)
	}
	if t.files++; t.files == 1 {
		t.end = Position{Dev: id.Dev, Ino: id.Ino, Offset: id.Size}
		t.first = len(t.blocks)
	}
	return !t.enough(), err
}

func (t *tail) backwards(g *segment, size int64) error {
	for at := size; at > 0 && !t.enough(); {
		n := min(at, readBlock)
		at -= n
		block := make([]byte, n)
		k, err := g.f.ReadAt(block, at)
		if err != nil && err != io.EOF { // EOF: truncated meanwhile, with keep: 0
			return err
		}
		t.add(block[:k])
	}
	return nil
}

func (t *tail) unpack(g *segment) error {
	var blocks [][]byte
	for size := 0; ; {
		block := make([]byte, readBlock)
		n, err := io.ReadFull(g.zip, block)
		blocks = append(blocks, block[:n])
		if size += n; size > maxTail {
			size -= len(blocks[0])
			blocks = blocks[1:]
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF && n > 0 {
			break
		}
		if err != nil {
			return fmt.Errorf("uncompress: %w", err)
		}
	}
	for _, b := range slices.Backward(blocks) {
		if t.enough() {
			break
		}
		t.add(b)
	}
	return nil
}

func (t *tail) excerpt() Excerpt {
	newest := 0
	for _, b := range t.blocks[:t.first] {
		newest += len(b)
	}
	slices.Reverse(t.blocks)
	all := bytes.Join(t.blocks, nil)
	whole := bytes.LastIndexByte(all, '\n') + 1
	x := Excerpt{Unfinished: all[whole:], End: t.end}
	x.End.Offset -= int64(min(len(x.Unfinished), newest))
	for rest := all[:whole]; len(rest) > 0 && len(x.Lines) < t.want; {
		body := rest[:len(rest)-1]
		start := bytes.LastIndexByte(body, '\n') + 1
		if start == 0 && t.size >= maxTail && len(x.Lines) > 0 {
			break // its beginning was not read
		}
		x.Lines = append(x.Lines, body[start:])
		rest = rest[:start]
	}
	slices.Reverse(x.Lines)
	return x
}
