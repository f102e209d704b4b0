// Package vfork starts a process that does what a list of system calls says.
//
// Between its fork and its exec a process runs in the memory of its parent, where
// no Go code may run: its goroutine would be there twice. Package syscall solves
// that with a lock over all forks and a pipe to tell the result by. Here the child
// goes through a prepared list in a few lines of assembly that touch no memory, and
// leaves what has failed where the parent, which stands still until then, reads
// it. So threads fork at the same time, as long as whatever they open is close-on-exec
// from the beginning.
package vfork

import "unsafe"

// NoFile is the limit of open files, soft and hard, that this program was started
// with. Package syscall raises the soft one when it is initialized, which is after
// this package: of the packages whose imports are ready the one whose path sorts
// first is next, and this one imports nothing.
var NoFile [2]uint64

var _ = readNoFile()

// Args are those of clone3(2), version 2 of the structure.
type Args struct {
	Flags, PidFD, ChildTID, ParentTID, ExitSignal, Stack, StackSize, TLS, SetTID, SetTIDSize, Cgroup uint64
}

// Step is one system call. It has succeeded when its result r is as expected:
// r-Least <= Span, in unsigned arithmetic; see Any, Exactly and Failure.
type Step struct {
	Trap        uintptr
	Args        [6]uintptr
	Least, Span uintptr
}

// maxErrno is the largest error that a system call returns, as its negative.
const maxErrno = 4095

// Any gives a step that must not fail.
func Any(trap uintptr, args ...uintptr) Step { return step(0, ^uintptr(maxErrno), trap, args) }

// Exactly gives a step whose result must be r.
func Exactly(r, trap uintptr, args ...uintptr) Step { return step(r, 0, trap, args) }

// Failure gives a step that must fail.
func Failure(trap uintptr, args ...uintptr) Step {
	return step(^uintptr(maxErrno-1), maxErrno-1, trap, args)
}

func step(least, span, trap uintptr, args []uintptr) Step {
	s := Step{Trap: trap, Least: least, Span: span}
	copy(s.Args[:], args)
	return s
}

// Program is a process to be started. What its steps point to must lie on the heap
// and be kept alive until Start returns.
type Program struct {
	Args  Args
	Steps []Step // the last becomes another program, or exits
	// Mask has the signals that the thread which called Start has blocked: a step
	// gives them back to the child, in which all are blocked until then.
	Mask uint64

	all    uint64 // signals
	failed *Step
	result uintptr
}

// Start makes the process. The caller continues when the last step has been taken,
// or one has failed: at is its index then, and errno its error, 0 if it was none
// that was unexpected. The process has exited with status 127 then, and is there to
// be reaped. Without one, as it could not be made, pid is 0 and errno says why.
func (p *Program) Start() (pid, at int, errno uintptr) {
	p.all = ^uint64(0)
	p.failed = nil
	r := start(p, &p.Steps[0])
	switch {
	case -r <= maxErrno:
		return 0, -1, -r
	case p.failed == nil:
		return int(r), -1, 0
	case -p.result <= maxErrno:
		errno = -p.result
	}
	return int(r), int((uintptr(unsafe.Pointer(p.failed)) - uintptr(unsafe.Pointer(&p.Steps[0]))) / unsafe.Sizeof(Step{})), errno
}
