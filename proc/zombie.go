package proc

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"strconv"
	"time"
)

// zombieStatus is the wait status of a process that has exited and that its
// parent has not reaped yet, which may take some init processes seconds. The
// kernel shows it, in field 52 of proc(5), to those that may trace the process,
// and a 0 to all others: what cannot be told from that is not known.
func (p *Process) zombieStatus() (status int32, ok bool) {
	dir := "/proc/" + strconv.Itoa(p.PID)
	line, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return 0, false
	}
	s, ok := parseStat(p.PID, line)
	if !ok || s.state != 'Z' || s.started+time.Second/userHZ < p.Began || s.started > p.Started {
		return 0, false
	}
	line = bytes.TrimSpace(line)
	status = int32(atoi(line[bytes.LastIndexByte(line, ' ')+1:]))
	if status != 0 {
		return status, true
	}
	// Asks for the same right. There is no program any more to which it could lead.
	_, err = os.Readlink(dir + "/exe")
	return 0, errors.Is(err, fs.ErrNotExist)
}
