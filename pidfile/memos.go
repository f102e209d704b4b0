package pidfile

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// Memos are what a daemon remembers of its slots beside their runs, for the next one
// of the same boot should it be killed: one file with a block for each slot, so that
// one pwrite is all it costs. Like Runs it need not reach the disk.
type Memos struct {
	f     *os.File
	head  []byte
	index map[string]int64 // block of a slot, from 0
	free  []int64
	next  int64
	buf   []byte
}

const (
	memosName = "runs/memos"
	memosHead = 4096     // bytes before the first block
	memoBlock = 12 << 10 // bytes; what is not written takes no space

	// MaxMemo bounds one of them, in bytes.
	MaxMemo = memoBlock - maxSlot - 64
)

// OpenMemos opens the file that belongs to a record of runs, and returns what the
// daemon before has left there. Nothing is left by one that has written another
// record, of whatever version.
func OpenMemos(dir string, runs *Runs) (*Memos, map[string][]byte, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return nil, nil, fmt.Errorf("read boot id: %w", err)
	}
	head := func(table uint64) []byte {
		return fmt.Appendf(nil, "qsuper memos 1, boot %s, table %d\n", bytes.TrimSpace(boot), table)
	}
	f, err := os.OpenFile(filepath.Join(dir, memosName), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("open memos: %w", err)
	}
	m := &Memos{f: f, head: head(runs.table), index: map[string]int64{}}
	found := make([]byte, len(head(runs.before)))
	if n, _ := f.ReadAt(found, 0); runs.before == 0 || n < len(found) || !bytes.Equal(found, head(runs.before)) {
		if err := m.Clear(); err != nil {
			return nil, nil, errors.Join(err, f.Close())
		}
		return m, nil, nil
	}
	left, err := m.read()
	if err == nil {
		_, err = f.WriteAt(m.head, 0)
	}
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("read memos: %w", err), f.Close())
	}
	return m, left, nil
}

func (m *Memos) read() (map[string][]byte, error) {
	st, err := m.f.Stat()
	if err != nil {
		return nil, err
	}
	left, block := map[string][]byte{}, make([]byte, memoBlock)
	for ; memosHead+m.next*memoBlock < st.Size(); m.next++ {
		n, _ := m.f.ReadAt(block, memosHead+m.next*memoBlock) // the last one may be short
		slot, memo, ok := parseMemo(block[:n])
		if !ok {
			m.free = append(m.free, m.next)
			continue
		}
		m.index[slot] = m.next
		left[slot] = memo
	}
	return left, nil
}

// parseMemo reads a block: slot, length and checksum in a line, and the memo after it.
func parseMemo(block []byte) (slot string, memo []byte, ok bool) {
	head, rest, ok := bytes.Cut(block, []byte{'\n'})
	words := bytes.Fields(head)
	if !ok || len(words) != 3 {
		return "", nil, false
	}
	size, err := strconv.ParseUint(string(words[1]), 10, 32)
	sum, sumErr := strconv.ParseUint(string(words[2]), 16, 32)
	if err != nil || sumErr != nil || size > uint64(len(rest)) {
		return "", nil, false
	}
	memo = bytes.Clone(rest[:size])
	return string(words[0]), memo, uint32(sum) == checksum(words[0], memo)
}

func checksum[S string | []byte](slot S, memo []byte) uint32 {
	return crc32.Update(crc32.ChecksumIEEE([]byte(slot)), crc32.IEEETable, memo)
}

// Put keeps a memo in place of the slot's last one.
func (m *Memos) Put(slot string, memo []byte) error {
	if len(slot) > maxSlot || len(memo) > MaxMemo {
		return fmt.Errorf("keep a memo of %s: it has %d bytes, more than %d", slot, len(memo), MaxMemo)
	}
	i, ok := m.index[slot]
	if !ok {
		if n := len(m.free); n > 0 {
			i, m.free = m.free[n-1], m.free[:n-1]
		} else {
			i = m.next
			m.next++
		}
		m.index[slot] = i
	}
	b := append(append(m.buf[:0], slot...), ' ')
	b = append(strconv.AppendInt(b, int64(len(memo)), 10), ' ')
	b = append(strconv.AppendUint(b, uint64(checksum(slot, memo)), 16), '\n')
	b = append(b, memo...)
	m.buf = b
	if _, err := m.f.WriteAt(b, memosHead+i*memoBlock); err != nil {
		return fmt.Errorf("keep a memo of %s: %w", slot, err)
	}
	return nil
}

// Forget gives the block of a slot to another.
func (m *Memos) Forget(slot string) {
	if i, ok := m.index[slot]; ok {
		delete(m.index, slot)
		m.free = append(m.free, i)
		_, _ = m.f.WriteAt([]byte{'\n'}, memosHead+i*memoBlock) // at worst the next daemon knows of a slot that is gone
	}
}

// Clear forgets all: nobody is to go on from here.
func (m *Memos) Clear() error {
	m.index, m.free, m.next = map[string]int64{}, nil, 0
	err := m.f.Truncate(0)
	if err == nil {
		_, err = m.f.WriteAt(m.head, 0)
	}
	if err != nil {
		return fmt.Errorf("clear memos: %w", err)
	}
	return nil
}

// Close closes the file.
func (m *Memos) Close() error { return m.f.Close() }
