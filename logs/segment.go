package logs

import (
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// identity tells a finished log file from every other: an inode number alone is
// soon used again.
type identity struct {
	Dev, Ino uint64
	Size     int64 // bytes
	MTime    int64 // nanoseconds since 1970
}

func identify(st *unix.Stat_t) identity {
	return identity{Dev: st.Dev, Ino: st.Ino, Size: st.Size, MTime: st.Mtim.Nano()}
}

// mark is a gzip extra field (RFC 1952, 2.3.1.1) that names the original.
func (id identity) mark() []byte {
	b := []byte{'q', 's', 32, 0}
	for _, v := range []uint64{id.Dev, id.Ino, uint64(id.Size), uint64(id.MTime)} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return b
}

func readMark(b []byte) (id identity) {
	if len(b) == 36 && b[0] == 'q' && b[1] == 's' {
		v := func(i int) uint64 { return binary.LittleEndian.Uint64(b[4+8*i:]) }
		id = identity{Dev: v(0), Ino: v(1), Size: int64(v(2)), MTime: int64(v(3))}
	}
	return id
}

// segment is one open file of a log.
type segment struct {
	f      *os.File
	id     identity     // when it was opened; of a compressed one, of its original
	zip    *gzip.Reader // nil: plain
	packed identity     // of the compressed file itself
	kept   bool         // by who visits: walk does not close it
}

// openForRead opens a regular file and nothing else, not through a symbolic
// link either: names in a log directory may have been made by others.
func openForRead(path string) (*os.File, identity, error) {
	fd, _, err := openIn(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, false)
	if err != nil {
		return nil, identity{}, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	var st unix.Stat_t
	if err = unix.Fstat(fd, &st); err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = errors.New("not a regular file")
	}
	if err != nil {
		return nil, identity{}, errors.Join(fmt.Errorf("open %s: %w", path, err), unix.Close(fd))
	}
	// Blocking for the os package: regular files have no place in a poller.
	if err := unix.SetNonblock(fd, false); err != nil {
		return nil, identity{}, errors.Join(fmt.Errorf("open %s: %w", path, err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), path), identify(&st), nil
}

func openPlain(path string) (*segment, error) {
	f, id, err := openForRead(path)
	if err != nil {
		return nil, err
	}
	return &segment{f: f, id: id}, nil
}

func openPacked(path string) (*segment, error) {
	f, id, err := openForRead(path)
	if err != nil {
		return nil, err
	}
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), f.Close())
	}
	return &segment{f: f, zip: z, packed: id, id: readMark(z.Extra)}, nil
}

func (g *segment) close() { _ = g.f.Close() } // only read

// stat is the identity the file has now.
func (g *segment) stat() (id identity, links uint64, err error) {
	if g.zip != nil {
		return g.id, 1, nil
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(g.f.Fd()), &st); err != nil {
		return id, 0, fmt.Errorf("stat %s: %w", g.f.Name(), err)
	}
	return identify(&st), uint64(st.Nlink), nil
}

// is tells whether other holds the same output as g.
func (g *segment) is(other *segment) bool {
	switch {
	case g.zip != nil && other.zip != nil:
		return g.packed.Dev == other.packed.Dev && g.packed.Ino == other.packed.Ino
	case g.zip == nil && other.zip == nil:
		return g.id.Dev == other.id.Dev && g.id.Ino == other.id.Ino
	}
	a, _, errA := g.stat()
	b, _, errB := other.stat()
	return errA == nil && errB == nil && a == b
}

// open opens the k-th file of a log, 0 being the current one; the plain or the
// compressed one. A file that does not exist is fs.ErrNotExist.
func open(path string, k int, packed bool) (*segment, error) {
	switch {
	case k == 0 && packed:
		return nil, fs.ErrNotExist
	case k == 0:
		return openPlain(path)
	case packed:
		return openPacked(rotated(path, k) + ".gz")
	}
	return openPlain(rotated(path, k))
}

// holes is how many names in a row must be missing until there are no more files: a
// rotation at work makes one, and while we look at the next there may be another.
const holes = 4

// walk calls visit for the files of a log from the newest to the oldest, each
// once, also while they are being rotated: names only move away from the walk,
// so that a file may be met twice but not missed. It ends when visit says so.
// All files stay open until then, which keeps their inodes from being reused;
// then those are closed that were not kept.
func walk(path string, visit func(g *segment, k int) (more bool, err error)) error {
	var seen []*segment
	defer func() {
		for _, g := range seen {
			if !g.kept {
				g.close()
			}
		}
	}()
	missing := 0
	for k := 0; missing < holes; k++ {
		missing++
		for _, packed := range []bool{false, true} {
			g, err := open(path, k, packed)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return err
			}
			missing = 0
			seen = append(seen, g)
			if again(seen) {
				continue
			}
			if more, err := visit(g, k); err != nil || !more {
				return err
			}
		}
	}
	return nil
}

func again(seen []*segment) bool {
	last := seen[len(seen)-1]
	for _, g := range seen[:len(seen)-1] {
		if last.is(g) {
			return true
		}
	}
	return false
}

// reader reads a whole file from offset on.
func (g *segment) reader(offset int64) (io.Reader, error) {
	if g.zip == nil {
		return io.NewSectionReader(g.f, offset, 1<<62), nil
	}
	if _, err := io.CopyN(io.Discard, g.zip, offset); err != nil && err != io.EOF {
		return nil, fmt.Errorf("read %s: %w", g.f.Name(), err)
	}
	return g.zip, nil
}
