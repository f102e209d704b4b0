package logs

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"
)

// successor opens the file after the one being read, when that is finished. It
// is lost when the file is neither the current one nor a rotated one any more
// and there is something newer.
func (f *follower) successor() (next *segment, lost bool, err error) {
	var st unix.Stat_t
	err = unix.Lstat(f.path, &st)
	here := err == nil
	if here && f.g.zip == nil && st.Ino == f.g.id.Ino && st.Dev == f.g.id.Dev {
		return nil, false, nil
	}
	if err != nil && err != unix.ENOENT && err != unix.ENOTDIR {
		return nil, false, err
	}
	// An empty file at the path proves nothing: who moved the old one away may
	// have made it, and the writer has not noticed yet.
	begun := here && st.Size > 0
	k, err := f.find()
	if err != nil {
		return nil, false, err
	}
	if k < 0 {
		return nil, begun, nil
	}
	if k == 1 && !begun {
		return nil, false, nil
	}
	for _, packed := range []bool{false, true} {
		next, err = open(f.path, k-1, packed)
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, false, err
		}
	}
	if next == nil {
		return nil, false, nil // between two renames: seen at the next look
	}
	// Still at the same place: then what was opened is what follows.
	if now, err := f.find(); err != nil || now != k {
		next.close()
		return nil, false, err
	}
	return next, false, nil
}

// find is the number of the file being read among the rotated ones, -1 when it
// is none of them.
func (f *follower) find() (int, error) {
	missing := 0
	for k := 1; missing < holes; k++ {
		missing++
		for _, packed := range []bool{false, true} {
			g, err := open(f.path, k, packed)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return -1, err
			}
			missing = 0
			same := f.g.is(g)
			g.close()
			if same {
				return k, nil
			}
		}
	}
	return -1, nil
}

// skip goes on after gone, which is nowhere any more, and says that something
// may be missing when that is likely.
func (f *follower) skip(gone identity) error {
	f.drop()
	place, err := f.oldest(gone)
	if err == nil && place > 0 {
		err = f.line([]byte("qsuper: lines may be missing here: they were rotated away before they could be read"), f.at)
	}
	return err
}

// oldest goes on with the oldest file that is newer than gone, and returns its
// number. When there is none, the first that comes will be it.
func (f *follower) oldest(gone identity) (place int, err error) {
	f.after = gone
	var found *segment
	err = walk(f.path, func(g *segment, k int) (bool, error) {
		// The current file is newer in any case; times tell the others apart, in
		// steps of some milliseconds.
		if k > 0 && g.id.MTime <= gone.MTime {
			return false, nil
		}
		if found != nil {
			found.kept = false
		}
		g.kept, found, place = true, g, k
		return true, nil
	})
	if found == nil {
		return 0, err
	}
	if err != nil {
		found.close()
		return 0, err
	}
	return place, f.use(found, 0)
}
