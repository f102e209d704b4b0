package main

import (
	"encoding/binary"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// kind says what a child reports; native/tiny.h has the same list.
type kind uint32

const (
	started kind = 1 // value: the workload's tag
	ended   kind = 2 // about to exit because it was asked to
	begun   kind = 3 // a writer begins
	written kind = 4 // a writer's output has been taken; value: bytes
)

const recordSize = 24

// record is one report of one child.
type record struct {
	at    int64 // CLOCK_MONOTONIC in ns, taken by the child itself
	pid   int
	kind  kind
	value uint64
}

// report is the file that all children of a session append to. Nobody is woken
// by an append, so looking at it now and then disturbs no measurement.
type report struct {
	file *os.File
	read int64 // bytes already decoded
}

func createReport(path string) (*report, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return nil, err
	}
	return &report{file: f}, nil
}

// next returns the records that were appended since the last call.
func (r *report) next() ([]record, error) {
	var out []record
	buf := make([]byte, 1024*recordSize)
	for {
		n, err := r.file.ReadAt(buf, r.read)
		n -= n % recordSize
		out = append(out, decode(buf[:n])...)
		r.read += int64(n)
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return out, err
		}
	}
}

func decode(b []byte) []record {
	out := make([]record, 0, len(b)/recordSize)
	for ; len(b) >= recordSize; b = b[recordSize:] {
		out = append(out, record{
			at:    int64(binary.NativeEndian.Uint64(b)),
			pid:   int(binary.NativeEndian.Uint32(b[8:])),
			kind:  kind(binary.NativeEndian.Uint32(b[12:])),
			value: binary.NativeEndian.Uint64(b[16:]),
		})
	}
	return out
}

// monotonic is the clock of the records, in ns.
func monotonic() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(err) // the kernel has no such answer for this clock
	}
	return ts.Nano()
}
