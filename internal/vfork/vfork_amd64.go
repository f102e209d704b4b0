//go:build !novfork

package vfork

import "unsafe"

// Supported says whether Start works on this kind of machine, if the kernel has clone3.
const Supported = true

const (
	sysSigprocmask = 14
	sysPrlimit     = 302
)

// clone makes the process and, in it, takes the steps.
func clone(p *Program, first *Step) (r uintptr)

// call is one system call, without telling the scheduler.
func call(trap, a1, a2, a3, a4 uintptr) (r uintptr)

// start is never interrupted: from the first call on all signals are blocked.
//
//go:nosplit
func start(p *Program, first *Step) uintptr {
	const setMask, maskSize = 2, 8
	call(sysSigprocmask, setMask, uintptr(unsafe.Pointer(&p.all)), uintptr(unsafe.Pointer(&p.Mask)), maskSize)
	r := clone(p, first)
	call(sysSigprocmask, setMask, uintptr(unsafe.Pointer(&p.Mask)), 0, maskSize)
	return r
}

func readNoFile() bool {
	const noFile = 7
	return call(sysPrlimit, 0, noFile, 0, uintptr(unsafe.Pointer(&NoFile))) == 0
}
