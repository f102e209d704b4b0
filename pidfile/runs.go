package pidfile

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Run identifies one process that a daemon has started. A pid alone does not:
// it is the same process only if it is the same boot and /proc says that it
// began between Began and Started.
type Run struct {
	Slot    string
	Run     uint64
	PID     int
	Began   time.Duration // CLOCK_BOOTTIME just before the fork and
	Started time.Duration // just after it

	// What the next daemon has to know before it has read anything else.
	Signal int           // of the graceful stop
	Grace  time.Duration // until SIGKILL
	Scope  uint64        // whom the signal is for: 0 = the process, 1 = its group, 2 = all of the run
	Lease  *Lease        // nil: the slot is this host's own
	Tag    string        // the engine's, without white space, up to maxTag bytes: what the process was started from
	Serial string        // what its QSUPER_RUN_ID ends in, without white space; "" = not known
	UID    int           // whom it was started as

	// Of the stop under way.
	Deadline  time.Duration // CLOCK_BOOTTIME: end of its grace; 0: there is no stop
	Signalled bool          // the signal has been sent
	Held      bool          // it will not be: a better moment is being waited for
}

// Lease is what the next daemon has to know of an exclusive slot that several hosts
// share: it must not run for longer than this host has it.
type Lease struct {
	Token uint64
	Until time.Duration // CLOCK_BOOTTIME, recorded in whole milliseconds
	Fence time.Duration // likewise
}

// Runs is the record of what runs: one file with a line of fixed length for
// each slot, so that a start costs one pwrite and no open, rename or sync. It is
// there for the next daemon of the same boot; after a crash of the host there is
// nothing to find, so nothing has to reach the disk. A line that was cut off by
// the death of its writer does not match its checksum and is ignored.
type Runs struct {
	f     *os.File
	index map[string]int64 // line of a slot; line 0 names the boot
	free  []int64
	next  int64

	before, table uint64 // inodes of the record of the daemon before, 0 = none, and of this one
}

const (
	runsName = "runs/table"
	lineLen  = 512
	maxSlot  = 160 // bytes; 128 of a consumer's name, a slash, a number
	maxTag   = 64

	maxSerial = 32
	// What earlier releases wrote: shorter lines, without Serial and what follows it, or
	// without Deadline and what follows it.
	oldLineLen  = 384
	oldFields   = 9
	laterFields = 11
	newFields   = 14
)

// OpenRuns opens the record in a state directory that the caller owns. It returns
// what another daemon of this boot left there, alive or not, and keeps those
// lines until Put or Forget.
func OpenRuns(dir string) (*Runs, []Run, error) {
	path := filepath.Join(dir, runsName)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, nil, fmt.Errorf("create record of runs: %w", err)
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return nil, nil, fmt.Errorf("read boot id: %w", err)
	}
	head := line(append([]byte("qsuper runs, boot "), bytes.TrimSpace(boot)...))
	left, err := survivors(path, head)
	if err != nil {
		return nil, nil, fmt.Errorf("read record of runs: %w", err)
	}
	// Beside the old one and then in its place: dying here must not lose who lives.
	f, err := os.OpenFile(path+".new", os.O_RDWR|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("create record of runs: %w", err)
	}
	r := &Runs{f: f, index: map[string]int64{}, next: 1, before: inode(path), table: inode(f.Name())}
	_, err = f.WriteAt(head[:], 0)
	for _, run := range left {
		err = errors.Join(err, r.Put(run))
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("write record of runs: %w", err), f.Close())
	}
	return r, left, nil
}

// inode is the number of a file; 0 = it is not there.
func inode(path string) uint64 {
	var st unix.Stat_t
	if unix.Lstat(path, &st) != nil {
		return 0
	}
	return st.Ino
}

// survivors are the runs of a record that begins with head, of whatever version.
func survivors(path string, head [lineLen]byte) ([]Run, error) {
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	length := 0
	if bytes.HasPrefix(old, head[:]) {
		length = lineLen
	} else if bytes.HasPrefix(old, append(head[:oldLineLen-1:oldLineLen-1], '\n')) {
		length = oldLineLen
	} else {
		return nil, nil
	}
	var left []Run
	for old = old[length:]; len(old) >= length; old = old[length:] {
		if run, ok := parse(old[:length]); ok {
			left = append(left, run)
		}
	}
	return left, nil
}

// Put records a run in place of the slot's last one.
func (r *Runs) Put(run Run) error {
	if len(run.Slot) > maxSlot {
		return fmt.Errorf("record run of %s: the name is longer than %d bytes", run.Slot, maxSlot)
	}
	i, ok := r.index[run.Slot]
	if !ok {
		if n := len(r.free); n > 0 {
			i, r.free = r.free[n-1], r.free[:n-1]
		} else {
			i = r.next
			r.next++
		}
		r.index[run.Slot] = i
	}
	var b [lineLen]byte
	s := append(b[:0], run.Slot...)
	for _, n := range [...]uint64{run.Run, uint64(run.PID), uint64(run.Began), uint64(run.Started), uint64(run.Signal), uint64(run.Grace), run.Scope} {
		s = strconv.AppendUint(append(s, ' '), n, 10)
	}
	s = append(append(s, ' ', '.'), run.Tag[:min(len(run.Tag), maxTag)]...) // the dot stands for an empty one
	s = append(append(s, ' ', '.'), run.Serial[:min(len(run.Serial), maxSerial)]...)
	for _, n := range [...]uint64{uint64(run.UID), uint64(run.Deadline), number(run.Signalled), number(run.Held)} {
		s = strconv.AppendUint(append(s, ' '), n, 10)
	}
	if l := run.Lease; l != nil {
		s = strconv.AppendUint(append(s, ' '), l.Token, 36)
		s = strconv.AppendUint(append(s, ':'), uint64(l.Until.Milliseconds()), 36)
		s = strconv.AppendUint(append(s, ':'), uint64(l.Fence.Milliseconds()), 36)
	}
	s = strconv.AppendUint(append(s, ' '), uint64(crc32.ChecksumIEEE(s)), 16)
	b = line(s)
	if _, err := r.f.WriteAt(b[:], i*lineLen); err != nil {
		return fmt.Errorf("record run of %s: %w", run.Slot, err)
	}
	return nil
}

// Forget gives the line of a slot to another. There is no need to call it when a run
// ends: a line whose process is gone says nothing. But a slot must never have two: the
// next daemon would take what runs in it for the leftovers of the older one.
func (r *Runs) Forget(slot string) {
	i, ok := r.index[slot]
	if !ok {
		return
	}
	empty := line(nil)
	if _, err := r.f.WriteAt(empty[:], i*lineLen); err != nil {
		return // the line stays the slot's
	}
	delete(r.index, slot)
	r.free = append(r.free, i)
}

// Close closes the file.
func (r *Runs) Close() error { return r.f.Close() }

func line(s []byte) (b [lineLen]byte) {
	for i := copy(b[:lineLen-1], s); i < lineLen-1; i++ {
		b[i] = ' '
	}
	b[lineLen-1] = '\n'
	return b
}

func number(yes bool) uint64 {
	if yes {
		return 1
	}
	return 0
}

func parse(b []byte) (Run, bool) {
	b = bytes.TrimSpace(b)
	i := bytes.LastIndexByte(b, ' ')
	if i < 0 {
		return Run{}, false
	}
	sum, err := strconv.ParseUint(string(b[i+1:]), 16, 32)
	f := bytes.Fields(b[:i])
	var leased *Lease
	if err == nil && len(f) == newFields+1 {
		leased, err = parseLease(string(f[newFields]))
		f = f[:newFields]
	}
	if err != nil || uint32(sum) != crc32.ChecksumIEEE(b[:i]) || len(f) != oldFields && len(f) != laterFields && len(f) != newFields {
		return Run{}, false
	}
	var n [newFields]uint64
	for k, text := range f {
		if k == 0 || k == 8 || k == 9 { // those that are no numbers
			continue
		}
		if n[k], err = strconv.ParseUint(string(text), 10, 63); err != nil {
			return Run{}, false
		}
	}
	run := Run{
		Slot: string(f[0]), Run: n[1], PID: int(n[2]), Began: time.Duration(n[3]), Started: time.Duration(n[4]),
		Signal: int(n[5]), Grace: time.Duration(n[6]), Scope: n[7], Tag: string(f[8][1:]),
		UID: int(n[10]), Deadline: time.Duration(n[11]), Signalled: n[12] == 1, Held: n[13] == 1,
	}
	if len(f) > oldFields {
		run.Serial = string(f[9][1:])
	}
	run.Lease = leased
	return run, true
}

func parseLease(text string) (*Lease, error) {
	parts := strings.Split(text, ":")
	if len(parts) != 3 {
		return nil, errors.New("a lease has three parts")
	}
	var n [3]uint64
	for i, p := range parts {
		var err error
		if n[i], err = strconv.ParseUint(p, 36, 64); err != nil {
			return nil, err
		}
	}
	return &Lease{Token: n[0], Until: time.Duration(n[1]) * time.Millisecond, Fence: time.Duration(n[2]) * time.Millisecond}, nil
}
