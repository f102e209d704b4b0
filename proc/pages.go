package proc

import (
	"bufio"
	"bytes"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ReleaseText has the kernel forget which pages of the program's own file this
// process has looked at. A start touches nearly all of it, tables of every
// package included, and a daemon at rest needs little; what is needed comes back
// from the page cache, without reading a disk. Only mappings of the executable
// that cannot be written and never were are touched, so nothing can be lost.
func ReleaseText() {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		return
	}
	for _, m := range clean(smaps, exe) {
		// It is a hint: what goes wrong costs memory only.
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, m.from, m.to-m.from, unix.MADV_DONTNEED)
	}
}

type mapping struct{ from, to uintptr }

// clean lists the mappings of a file that cannot be written and have no page of
// their own.
func clean(smaps []byte, exe string) (list []mapping) {
	pageSize := uintptr(os.Getpagesize())
	var at mapping
	open := false
	for lines := bufio.NewScanner(bytes.NewReader(smaps)); lines.Scan(); {
		line := lines.Text()
		if name, value, ok := strings.Cut(line, ":"); ok && !strings.Contains(name, " ") {
			if open && (name == "Anonymous" || name == "Swap") && strings.TrimSpace(value) != "0 kB" {
				open = false
			}
			if open && name == "VmFlags" {
				list = append(list, at)
			}
			continue
		}
		at, open = header(line, exe)
		open = open && at.from%pageSize == 0
	}
	return list
}

// header reads the first line of a mapping: 00400000-01a2b000 r-xp … /path.
func header(line, exe string) (m mapping, ok bool) {
	fields := strings.Fields(line)
	if len(fields) < 6 || strings.Contains(fields[1], "w") || !strings.HasSuffix(line, " "+exe) {
		return m, false
	}
	from, to, _ := strings.Cut(fields[0], "-")
	low, err1 := strconv.ParseUint(from, 16, strconv.IntSize)
	high, err2 := strconv.ParseUint(to, 16, strconv.IntSize)
	return mapping{uintptr(low), uintptr(high)}, err1 == nil && err2 == nil && low < high
}
