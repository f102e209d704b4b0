// Package proctest writes the smallest programs there are, so that a test or a
// benchmark measures starting and reaping and not the loading of a libc.
package proctest

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// Instructions of a program, by architecture and kind.
var code = map[string]struct{ machine, exit, pause []byte }{
	"amd64": {
		machine: []byte{62, 0},
		// mov $60,%eax; xor %edi,%edi; syscall
		exit: []byte{0xb8, 60, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05},
		// mov $34,%eax; syscall; jmp back
		pause: []byte{0xb8, 34, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xf7},
	},
	"arm64": {
		machine: []byte{183, 0},
		// mov x8,#93; mov x0,#0; svc #0
		exit: []byte{0xa8, 0x0b, 0x80, 0xd2, 0x00, 0x00, 0x80, 0xd2, 0x01, 0x00, 0x00, 0xd4},
		// ppoll(0, 0, 0, 0): mov x8,#73; mov x0..x3,#0; svc #0; b back
		pause: []byte{
			0x28, 0x09, 0x80, 0xd2, 0x00, 0x00, 0x80, 0xd2, 0x01, 0x00, 0x80, 0xd2, 0x02, 0x00, 0x80, 0xd2,
			0x03, 0x00, 0x80, 0xd2, 0x01, 0x00, 0x00, 0xd4, 0xfa, 0xff, 0xff, 0x17,
		},
	},
}

// Exit writes a program that exits 0 at once, and returns its path.
func Exit(tb testing.TB) string {
	tb.Helper()
	return write(tb, "exit", func(arch string) []byte { return code[arch].exit })
}

// Pause writes a program that does nothing until a signal ends it.
func Pause(tb testing.TB) string {
	tb.Helper()
	return write(tb, "pause", func(arch string) []byte { return code[arch].pause })
}

func write(tb testing.TB, name string, text func(string) []byte) string {
	tb.Helper()
	arch := runtime.GOARCH
	if text(arch) == nil {
		tb.Fatalf("no tiny program for %s: add its instructions", arch)
	}
	path := filepath.Join(tb.TempDir(), name)
	if err := os.WriteFile(path, elf(code[arch].machine, text(arch)), 0o755); err != nil {
		tb.Fatal(err)
	}
	return path
}

// elf is a static 64-bit executable of one loaded segment: the headers and the
// text behind them.
func elf(machine, text []byte) []byte {
	const base, head, phead = 0x400000, 64, 56
	le := binary.LittleEndian
	b := append([]byte{0x7f, 'E', 'L', 'F', 2, 1, 1}, make([]byte, 9)...)
	b = le.AppendUint16(b, 2) // ET_EXEC
	b = append(b, machine...)
	b = le.AppendUint32(b, 1)
	b = le.AppendUint64(b, base+head+phead) // entry
	b = le.AppendUint64(b, head)            // program header
	b = le.AppendUint64(b, 0)
	b = le.AppendUint32(b, 0)
	for _, n := range []uint16{head, phead, 1, 0, 0, 0} {
		b = le.AppendUint16(b, n)
	}
	size := uint64(head + phead + len(text))
	b = le.AppendUint32(b, 1) // PT_LOAD
	b = le.AppendUint32(b, 5) // read, execute
	for _, n := range []uint64{0, base, base, size, size, 0x10000} {
		b = le.AppendUint64(b, n)
	}
	return append(b, text...)
}
